//! Decides what a sweep does next: turns an event into effects. Pure: no clock, no runtime, no bus. [`crate::service`]
//! carries the effects out.

pub mod crash;
mod effect;
mod event;
mod jobs;
pub mod requests;
pub mod worker_health;

use std::collections::BTreeSet;

use shared::books::{CarriedOut, History, JobRecord, JobState, Standing, WorkerRecord};
use shared::ids::{Attempt, JobId, RequestId, WorkerId};
use shared::protocol::{Request, Steering, Wish};

pub use effect::Effect;
pub use event::{Event, Fate, PlanChange};
use jobs::{Job, Jobs, Phase, Seen};
pub use jobs::{Need, Tally};
use requests::{Requests, Step};
use worker_health::WorkerHealth;

/// The jobs of one sweep and their states.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    jobs: Jobs,
    health: WorkerHealth,
    requests: Requests,
}

impl Engine {
    /// An engine for `jobs`. The results of those in `stored` are in the run folder from an earlier run.
    pub fn new(ids: impl IntoIterator<Item = JobId>, stored: &dyn Fn(JobId) -> bool) -> Self {
        let mut jobs = Jobs::default();
        for id in ids {
            jobs.add(id, if stored(id) { Phase::Stored } else { Phase::Open });
        }
        let (health, requests) = (WorkerHealth::default(), Requests::default());
        Self { jobs, health, requests }
    }

    /// What was requested of jobs before the coordinator started, as their orders say. All that was answered at revisions
    /// up to `until` is in there.
    #[must_use]
    pub fn steered(mut self, steered: impl IntoIterator<Item = (JobId, Steering)>, until: u64) -> Self {
        self.requests = Requests::after(until);
        for (id, steering) in steered {
            self.jobs.change(id, |job| job.steering = steering);
        }
        self
    }

    /// Handles an event and returns what to do. Records of other sweeps' jobs are ignored.
    pub fn apply(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::RecordChanged { job, revision, record } => self.record_changed(job, revision, record),
            Event::StandingChanged { revision, record } => self.standing_changed(revision, &record),
            Event::Stored(job) => self.fetched(job, Phase::Stored),
            Event::NotStored(job) => self.fetched(job, Phase::ToFetch),
            Event::Refused { job, why } => self.fetched(job, Phase::Refused(why)),
            Event::Requested { revision, request } => self.requested(revision, request),
            Event::RequestGone(request) => {
                let steps = self.requests.gone(request, &|job| self.jobs.contains(job));
                in_effect(steps)
            }
            Event::CarriedOut { request, job, outcome } => self.carried_out(request, job, outcome),
            Event::PlanChanged { request, outcome } => self.plan_changed(request, outcome),
            Event::Learned(change) => self.change_jobs(change).0,
            Event::Reconcile => self.reconcile(),
        }
    }

    /// True when every job is stored, failed for good or cancelled, and every request is answered.
    pub fn is_finished(&self) -> bool {
        self.jobs.are_ended() && !self.requests.are_open()
    }

    /// Names of the workers that get no more jobs.
    pub fn workers_out(&self) -> BTreeSet<String> {
        self.health.out()
    }

    /// What becomes of a result that was just fetched. On the way, the job may have been withdrawn, or asked to be trained
    /// again.
    pub fn fate(&self, job: JobId, attempt: Attempt) -> Fate {
        let Some(job) = self.jobs.get(job) else { return Fate::Unwanted };
        let is_newest = |record: &JobRecord| match &record.state {
            JobState::Done { token, .. } => token.attempt == attempt,
            JobState::Pending
            | JobState::Running { .. }
            | JobState::Failed { .. }
            | JobState::Parked { .. } => false,
        };
        match &job.phase {
            Phase::Fetching if job.seen.as_ref().is_some_and(|seen| is_newest(&seen.record)) => Fate::Wanted,
            Phase::Open | Phase::Fetching | Phase::ToFetch | Phase::Failed => Fate::Outdated,
            Phase::Stored | Phase::Refused(_) => Fate::Unwanted,
        }
    }

    /// The newest record of a job.
    pub fn record(&self, job: JobId) -> Option<&JobRecord> {
        self.jobs.record(job)
    }

    /// The jobs whose needs have changed since the last call.
    pub fn shifted(&mut self) -> Vec<JobId> {
        self.jobs.shifted()
    }

    /// All jobs count as shifted, because something about the sweep has changed.
    pub fn shift_all(&mut self) {
        self.jobs.shift_all();
    }

    /// Whether the sweep has this job.
    pub fn has(&self, job: JobId) -> bool {
        self.jobs.contains(job)
    }

    /// What a job needs of the queue.
    pub fn need(&self, job: JobId) -> Need {
        self.jobs.get(job).map_or(Need::Nothing, Job::need)
    }

    /// The jobs that this worker holds.
    pub fn held_by(&self, worker: &WorkerId) -> Vec<JobId> {
        self.jobs.held_by(worker)
    }

    /// Jobs that still need training, each with its finished epochs.
    pub fn open_jobs(&self) -> Vec<(JobId, u32)> {
        let open = self.jobs.iter().filter(|(_, job)| job.is_wanted());
        open.map(|(id, job)| (id, job.seen.as_ref().map_or(0, |seen| seen.record.saved_epochs()))).collect()
    }

    /// Jobs that failed for good, or whose result cannot be used, each with its record and the reason.
    pub fn failures(&self) -> impl Iterator<Item = (JobId, &JobRecord, &str)> {
        self.jobs.iter().filter_map(|(id, job)| {
            let record = &job.seen.as_ref()?.record;
            let reason = match &job.phase {
                Phase::Refused(why) => why,
                Phase::Open | Phase::Fetching | Phase::ToFetch | Phase::Stored | Phase::Failed => {
                    record.state.failure()?
                }
            };
            Some((id, record, reason))
        })
    }

    /// Jobs by state. A job without a record is pending.
    pub fn tally(&self) -> Tally {
        self.jobs.tally()
    }

    fn record_changed(&mut self, id: JobId, revision: u64, record: JobRecord) -> Vec<Effect> {
        let Some(job) = self.jobs.get(id) else { return Vec::new() };
        if job.seen.as_ref().is_some_and(|seen| seen.revision >= revision) {
            return Vec::new(); // A new watch repeats what is already known.
        }
        let before = job.seen.as_ref().map(|seen| &seen.record);
        let mut effects = dropped(before, &record);
        let changes = self.health.record_changed(id, revision, before, &record);
        effects.extend(self.jobs.change(id, |job| job.saw(id, revision, record)).into_iter().flatten());
        let drains = changes.iter().any(|(_, standing)| standing.refusal().is_some());
        for (name, standing) in changes {
            effects.extend(drained(&name, &standing));
            effects.push(Effect::WriteStanding(WorkerRecord::new(&name, standing)));
        }
        effects.extend(self.follow(id));
        let jobs: Vec<JobId> = if drains { self.jobs.ids().collect() } else { vec![id] };
        effects.extend(jobs.into_iter().filter_map(|id| self.excuse(id)));
        effects
    }

    fn standing_changed(&mut self, revision: u64, record: &WorkerRecord) -> Vec<Effect> {
        let known = self.health.out().contains(&record.name);
        self.health.standing_changed(revision, record);
        if known || record.standing.refusal().is_none() {
            return Vec::new();
        }
        let jobs: Vec<JobId> = self.jobs.ids().collect();
        let excused = jobs.into_iter().filter_map(|id| self.excuse(id));
        drained(&record.name, &record.standing).into_iter().chain(excused).collect()
    }

    fn requested(&mut self, revision: u64, request: Request) -> Vec<Effect> {
        in_effect(self.requests.requested(revision, request, &|job| self.jobs.contains(job)))
    }

    fn carried_out(&mut self, request: RequestId, id: JobId, outcome: CarriedOut) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let CarriedOut::Done(steering) = &outcome {
            self.jobs.change(id, |job| job.steering = *steering);
            match steering.wish {
                Wish::Train => effects.push(Effect::Enqueue(id)), // It may have left the queue.
                Wish::Pause | Wish::Cancel => {}
            }
            effects.extend(self.follow(id));
        }
        effects.extend(in_effect(self.requests.carried_out(request, id, outcome)));
        effects
    }

    /// Takes the jobs of a changed plan.
    fn plan_changed(&mut self, request: RequestId, outcome: Result<PlanChange, String>) -> Vec<Effect> {
        let (mut effects, outcome) = match outcome {
            Ok(change) => {
                let (effects, remarks) = self.change_jobs(change);
                (effects, Ok(remarks))
            }
            Err(why) => (Vec::new(), Err(why)),
        };
        effects.extend(in_effect(self.requests.plan_changed(request, outcome)));
        effects
    }

    /// Jobs that were withdrawn are no longer followed: their results are not wanted.
    fn change_jobs(
        &mut self,
        PlanChange { added, withdrawn, steered, remarks }: PlanChange,
    ) -> (Vec<Effect>, Vec<String>) {
        let mut effects = Vec::new();
        for id in withdrawn {
            self.jobs.remove(id);
        }
        for id in added {
            self.jobs.add(id, Phase::Open);
            effects.push(Effect::Enqueue(id));
        }
        for (id, steering) in steered {
            self.jobs.change(id, |job| job.steering = steering);
            effects.extend(self.follow(id));
        }
        (effects, remarks)
    }

    /// Takes back the failures of a job on workers that get no more jobs.
    fn excuse(&mut self, id: JobId) -> Option<Effect> {
        let Seen { revision, record } = self.jobs.get(id)?.seen.as_ref()?;
        let (revision, next) = (*revision, record.excused(&self.health.out())?);
        if !next.state.is_final() {
            // Before the books show it, so that the sweep does not end in the meantime.
            self.jobs.change(id, |job| job.phase = Phase::Open);
        }
        Some(Effect::Swap { job: id, revision, next })
    }

    /// Brings a record into line with what is requested of its job.
    fn follow(&mut self, id: JobId) -> Vec<Effect> {
        let Some(job) = self.jobs.get(id) else { return Vec::new() };
        let Some(Seen { revision, record }) = &job.seen else { return Vec::new() };
        let Some(next) = record.following(&job.steering) else { return Vec::new() };
        let mut effects = vec![Effect::Swap { job: id, revision: *revision, next }];
        if job.phase == Phase::Stored {
            effects.push(Effect::SetAside(id));
        }
        // Before the books show it, so that the sweep does not end in the meantime.
        self.jobs.change(id, |job| job.phase = Phase::Open);
        effects
    }

    /// Handles the end of a result's fetch. By then the job may have been asked to be trained again.
    fn fetched(&mut self, id: JobId, phase: Phase) -> Vec<Effect> {
        if self.jobs.get(id).is_some_and(|job| job.phase == Phase::Fetching) {
            self.jobs.change(id, |job| job.phase = phase);
        }
        Vec::new()
    }

    /// Queue messages are hints and may get lost (a stale acknowledgement removes one), so every open job is queued
    /// again. The server refuses those that are still in the queue.
    fn reconcile(&mut self) -> Vec<Effect> {
        let wanted = self.jobs.iter().filter(|(_, job)| job.is_wanted());
        let mut effects: Vec<Effect> = wanted.map(|(id, _)| Effect::Enqueue(id)).collect();
        let to_fetch = self.jobs.iter().filter(|(_, job)| job.phase == Phase::ToFetch);
        for id in to_fetch.map(|(id, _)| id).collect::<Vec<_>>() {
            self.jobs.change(id, |job| job.phase = Phase::Fetching);
            effects.push(Effect::Fetch(id));
        }
        let unwritten = self.health.unwritten().into_iter();
        effects.extend(
            unwritten.map(|(name, standing)| Effect::WriteStanding(WorkerRecord::new(&name, standing))),
        );
        let out = self.health.out();
        let deviates = |job: &Job| {
            let Some(Seen { record, .. }) = &job.seen else { return false };
            record.excused(&out).is_some() || record.following(&job.steering).is_some()
        };
        let deviating = self.jobs.iter().filter(|(_, job)| deviates(job));
        for id in deviating.map(|(id, _)| id).collect::<Vec<_>>() {
            effects.extend(self.excuse(id));
            // A run that only followed another one has left it to that one.
            effects.extend(self.follow(id));
        }
        effects.extend(in_effect(self.requests.again()));
        effects
    }
}

impl Job {
    /// Takes a newer record.
    fn saw(&mut self, id: JobId, revision: u64, mut record: JobRecord) -> Vec<Effect> {
        let mut effects = Vec::new();
        if matches!(record.state, JobState::Done { stopped_after: None, .. }) {
            // There may be many such jobs. Their history is never needed again.
            record.history = History::default();
            record.journal.shrink();
        }
        if self.phase == Phase::Stored && !matches!(record.state, JobState::Done { .. }) {
            effects.push(Effect::SetAside(id));
        }
        match (&record.state, &self.phase) {
            (JobState::Done { .. }, Phase::Open | Phase::Failed | Phase::Refused(_)) => {
                self.phase = Phase::Fetching;
                effects.push(Effect::Fetch(id));
            }
            (JobState::Done { .. }, Phase::Fetching | Phase::ToFetch | Phase::Stored)
            | (JobState::Pending, Phase::Open) => {}
            (JobState::Failed { .. } | JobState::Parked { .. }, _) => self.phase = Phase::Failed,
            (
                JobState::Pending,
                Phase::Fetching | Phase::ToFetch | Phase::Stored | Phase::Refused(_) | Phase::Failed,
            ) => {
                self.phase = Phase::Open;
                effects.push(Effect::Enqueue(id)); // It was opened again, and left the queue when it ended.
            }
            (JobState::Running { .. }, _) => self.phase = Phase::Open,
        }
        self.seen = Some(Seen { revision, record });
        effects
    }
}

fn drained(name: &str, standing: &Standing) -> Option<Effect> {
    Some(Effect::Drained { worker: name.to_owned(), reason: standing.refusal()? })
}

/// What new steps of requests ask for.
fn in_effect(steps: Vec<Step>) -> Vec<Effect> {
    steps.into_iter().map(Effect::from).collect()
}

impl From<Step> for Effect {
    fn from(step: Step) -> Self {
        match step {
            Step::CarryOut { request, job, change } => Self::CarryOut { request, job, change },
            Step::ChangePlan { request, demand } => Self::ChangePlan { request, demand },
            Step::Answer { request, answer } => Self::Answer { request, answer },
            Step::Learn(request) => Self::Learn(request),
        }
    }
}

/// Checkpoints that the newer record no longer refers to. Those that a job has from another one, or may have lent, also to
/// jobs of other sweeps, are collected when no record names them any more.
fn dropped(before: Option<&JobRecord>, after: &JobRecord) -> Vec<Effect> {
    let Some(before) = before.filter(|before| !before.lends_checkpoints()) else { return Vec::new() };
    before
        .checkpoints
        .iter()
        .filter(|old| old.origin.is_none())
        .filter(|old| after.checkpoints.iter().all(|kept| kept.blob.name != old.blob.name))
        .map(|old| Effect::DropCheckpoint(old.blob.name.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
