//! Decides what a sweep does next: turns an event into effects. Pure: no clock, no runtime, no bus. [`crate::service`]
//! carries the effects out.

pub mod cost;
pub mod crash;
pub mod notice;
pub mod worker_health;

use std::collections::{BTreeMap, BTreeSet};

use shared::books::{JobRecord, JobState, Standing, WorkerRecord};
use shared::ids::{JobId, WorkerId};

pub use notice::Notice;
use worker_health::WorkerHealth;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A record was written, by anyone.
    RecordChanged { job: JobId, revision: u64, record: JobRecord },
    /// A worker's standing was written, by anyone.
    StandingChanged(WorkerRecord),
    /// A finished job's result is now in the run folder.
    Stored(JobId),
    /// A finished job's result could not be fetched; it will be fetched again later.
    NotStored(JobId),
    /// It is time to make good what was lost on the way.
    Reconcile,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Queue the job; harmless if it is already queued.
    Enqueue(JobId),
    /// Fetch the result and its probabilities into the run folder.
    Fetch(JobId),
    /// Delete a checkpoint that no record refers to any more.
    DropCheckpoint(String),
    /// Write a worker's standing.
    WriteStanding(WorkerRecord),
    /// Change a job's record, unless somebody else changes it first.
    Swap { job: JobId, revision: u64, next: JobRecord },
    /// Tell the user.
    Tell(Notice),
}

/// One job as the coordinator sees it.
#[derive(Debug, Clone, PartialEq)]
struct Job {
    /// The newest record seen; `None` before the first one.
    seen: Option<Seen>,
    phase: Phase,
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    revision: u64,
    record: JobRecord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Done; its result is being fetched.
    Fetching,
    /// Done; its result must be fetched again.
    ToFetch,
    Stored,
    Failed,
}

/// The jobs of one sweep and their states.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    jobs: BTreeMap<JobId, Job>,
    health: WorkerHealth,
}

/// How many jobs are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub pending: usize,
    pub running: usize,
    pub done: usize,
    /// Failed for good, on one worker or on several.
    pub failed: usize,
    /// Attempts that ended with an error of the training.
    pub failures: usize,
    /// Workers lost since their jobs' last checkpoints.
    pub losses: usize,
    /// How often a job was deferred because of the server, the network or a disk.
    pub deferrals: usize,
}

impl Tally {
    pub fn total(&self) -> usize {
        self.pending + self.running + self.done + self.failed
    }
}

impl Engine {
    /// An engine for `jobs`. The results of those in `stored` are in the run folder from an earlier run.
    pub fn new(jobs: impl IntoIterator<Item = JobId>, stored: &dyn Fn(JobId) -> bool) -> Self {
        let job = |id| {
            let phase = if stored(id) { Phase::Stored } else { Phase::Open };
            (id, Job { seen: None, phase })
        };
        Self { jobs: jobs.into_iter().map(job).collect(), health: WorkerHealth::default() }
    }

    /// Handles an event and returns what to do. Records of other sweeps' jobs are ignored.
    pub fn apply(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::RecordChanged { job, revision, record } => self.record_changed(job, revision, record),
            Event::StandingChanged(record) => self.standing_changed(&record),
            Event::Stored(job) => self.fetched(job, Phase::Stored),
            Event::NotStored(job) => self.fetched(job, Phase::ToFetch),
            Event::Reconcile => self.reconcile(),
        }
    }

    /// True when every job is stored or failed for good.
    pub fn is_finished(&self) -> bool {
        let ended = |job: &Job| matches!(job.phase, Phase::Stored | Phase::Failed);
        self.jobs.values().all(ended)
    }

    /// Names of the workers that get no more jobs.
    pub fn workers_out(&self) -> BTreeSet<String> {
        self.health.out()
    }

    /// The newest record of a job.
    pub fn record(&self, job: JobId) -> Option<&JobRecord> {
        self.jobs.get(&job)?.seen.as_ref().map(|seen| &seen.record)
    }

    /// The jobs that this worker holds.
    pub fn held_by(&self, worker: &WorkerId) -> Vec<JobId> {
        let holds = |job: &Job| match job.seen.as_ref().map(|seen| &seen.record.state) {
            Some(JobState::Running { token, .. }) => &token.owner == worker,
            Some(
                JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. },
            )
            | None => false,
        };
        self.jobs.iter().filter(|(_, job)| holds(job)).map(|(&id, _)| id).collect()
    }

    /// Jobs that still need training, each with its finished epochs.
    pub fn open_jobs(&self) -> Vec<(JobId, u32)> {
        let open = self.jobs.iter().filter(|(_, job)| job.phase == Phase::Open);
        open.map(|(&id, job)| (id, job.seen.as_ref().map_or(0, |seen| seen.record.saved_epochs()))).collect()
    }

    /// Jobs that failed for good, each with its record and the reason.
    pub fn failures(&self) -> impl Iterator<Item = (JobId, &JobRecord, &str)> {
        self.jobs.iter().filter_map(|(&id, job)| {
            let record = &job.seen.as_ref()?.record;
            Some((id, record, record.state.failure()?))
        })
    }

    /// Jobs by state. A job without a record is pending.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for job in self.jobs.values() {
            if let Some(Seen { record, .. }) = &job.seen {
                tally.failures += record.failures.len();
                tally.losses += record.losses as usize;
                tally.deferrals += record.deferrals as usize;
            }
            match job.seen.as_ref().map(|seen| &seen.record.state) {
                None if job.phase == Phase::Stored => tally.done += 1,
                None | Some(JobState::Pending) => tally.pending += 1,
                Some(JobState::Running { .. }) => tally.running += 1,
                Some(JobState::Done { .. }) => tally.done += 1,
                Some(JobState::Failed { .. } | JobState::Parked { .. }) => tally.failed += 1,
            }
        }
        tally
    }

    fn record_changed(&mut self, id: JobId, revision: u64, record: JobRecord) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return Vec::new() };
        if job.seen.as_ref().is_some_and(|seen| seen.revision >= revision) {
            return Vec::new(); // A new watch repeats what is already known.
        }
        let before = job.seen.as_ref().map(|seen| &seen.record);
        let mut effects = dropped(before, &record);
        effects.extend(notice::between(id, before, &record).into_iter().map(Effect::Tell));
        let changes = self.health.record_changed(id, revision, before, &record);
        match (&record.state, job.phase) {
            (JobState::Done { .. }, Phase::Open | Phase::Failed) => {
                job.phase = Phase::Fetching;
                effects.push(Effect::Fetch(id));
            }
            (JobState::Done { .. }, Phase::Fetching | Phase::ToFetch | Phase::Stored) => {}
            (JobState::Failed { .. } | JobState::Parked { .. }, _) => job.phase = Phase::Failed,
            (JobState::Pending | JobState::Running { .. }, _) => job.phase = Phase::Open,
        }
        job.seen = Some(Seen { revision, record });
        let drains = changes.iter().any(|(_, standing)| standing.refusal().is_some());
        for (name, standing) in changes {
            effects.extend(told(&name, &standing));
            effects.push(Effect::WriteStanding(WorkerRecord::new(&name, standing)));
        }
        let jobs: Vec<JobId> = if drains { self.jobs.keys().copied().collect() } else { vec![id] };
        effects.extend(jobs.into_iter().filter_map(|id| self.excuse(id)));
        effects
    }

    fn standing_changed(&mut self, record: &WorkerRecord) -> Vec<Effect> {
        let known = self.health.out().contains(&record.name);
        self.health.standing_changed(&record.name, &record.standing);
        if known || record.standing.refusal().is_none() {
            return Vec::new();
        }
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        let excused = jobs.into_iter().filter_map(|id| self.excuse(id));
        told(&record.name, &record.standing).into_iter().chain(excused).collect()
    }

    /// Takes back the failures of a job on workers that get no more jobs.
    fn excuse(&mut self, id: JobId) -> Option<Effect> {
        let job = self.jobs.get_mut(&id)?;
        let Seen { revision, record } = job.seen.as_ref()?;
        let next = record.excused(&self.health.out())?;
        if !next.state.is_final() {
            job.phase = Phase::Open; // Before the books show it, so that the sweep does not end in the meantime.
        }
        Some(Effect::Swap { job: id, revision: *revision, next })
    }

    /// Handles the end of a result's fetch. By then the job may have been asked to be trained again.
    fn fetched(&mut self, id: JobId, phase: Phase) -> Vec<Effect> {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.phase == Phase::Fetching) {
            job.phase = phase;
        }
        Vec::new()
    }

    /// Queue messages are hints and may get lost (a stale acknowledgement removes one), so every open job is queued
    /// again. The server refuses those that are still in the queue.
    fn reconcile(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (&id, job) in &mut self.jobs {
            match job.phase {
                Phase::Open => effects.push(Effect::Enqueue(id)),
                Phase::ToFetch => {
                    job.phase = Phase::Fetching;
                    effects.push(Effect::Fetch(id));
                }
                Phase::Fetching | Phase::Stored | Phase::Failed => {}
            }
        }
        let unwritten = self.health.unwritten().into_iter();
        effects.extend(
            unwritten.map(|(name, standing)| Effect::WriteStanding(WorkerRecord::new(&name, standing))),
        );
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        effects.extend(jobs.into_iter().filter_map(|id| self.excuse(id)));
        effects
    }
}

/// What to tell the user about a worker's new standing.
fn told(name: &str, standing: &Standing) -> Option<Effect> {
    let worker = name.to_owned();
    match standing {
        Standing::Trusted => None,
        Standing::Probation { incidents } => {
            Some(Effect::Tell(Notice::Suspected { worker, incidents: incidents.clone() }))
        }
        Standing::Drained { .. } | Standing::Unfit { .. } => {
            let reason = standing.refusal()?;
            Some(Effect::Tell(Notice::Drained { worker, reason }))
        }
    }
}

/// Checkpoints that the newer record no longer refers to.
fn dropped(before: Option<&JobRecord>, after: &JobRecord) -> Vec<Effect> {
    let Some(before) = before else { return Vec::new() };
    before
        .checkpoints
        .iter()
        .filter(|old| after.checkpoints.iter().all(|kept| kept.blob.name != old.blob.name))
        .map(|old| Effect::DropCheckpoint(old.blob.name.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
