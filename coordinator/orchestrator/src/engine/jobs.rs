//! The jobs of one sweep as the coordinator sees them, with totals that every change keeps up to date. Pure.

use std::collections::{BTreeMap, BTreeSet};

use shared::books::{JobRecord, JobState};
use shared::ids::{JobId, WorkerId};
use shared::protocol::{Priority, Steering, Wish};

/// One job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Job {
    /// The newest record seen; `None` before the first one.
    pub(super) seen: Option<Seen>,
    pub(super) phase: Phase,
    /// What was requested of it.
    pub(super) steering: Steering,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) revision: u64,
    pub(super) record: JobRecord,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Done; its result is being fetched.
    Fetching,
    /// Done; its result must be fetched again.
    ToFetch,
    Stored,
    /// Done, but its result cannot be used, for this reason.
    Refused(String),
    Failed,
}

/// What a job needs of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// No message: it has ended, nobody should work on it, or its record has yet to be opened again.
    Nothing,
    /// A worker. It has finished so many epochs, and perhaps another priority was requested for it than the plan's.
    Worker { finished_epochs: u32, priority: Option<Priority> },
    /// A worker holds it; its message is for the case that this one dies.
    Cover,
}

/// How many jobs are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub pending: usize,
    pub running: usize,
    /// Waiting, but not to be trained now, on request.
    pub paused: usize,
    pub done: usize,
    /// Failed for good, on one worker or on several; or done with a result that cannot be used.
    pub failed: usize,
    /// Without a result, and not to be trained any more, on request.
    pub cancelled: usize,
    /// Attempts that ended with an error of the training.
    pub failures: usize,
    /// Workers lost since their jobs' last checkpoints.
    pub losses: usize,
    /// How often a job was deferred because of the server, the network or a disk.
    pub deferrals: usize,
}

impl Tally {
    pub fn total(&self) -> usize {
        self.ended() + self.open()
    }

    /// Jobs that need no more work.
    pub fn ended(&self) -> usize {
        self.done + self.failed + self.cancelled
    }

    /// Jobs that still need training.
    pub fn open(&self) -> usize {
        self.pending + self.running + self.paused
    }

    /// The part of the totals to which this job belongs.
    fn of(&mut self, job: &Job) -> &mut usize {
        match (job.seen.as_ref().map(|seen| &seen.record.state), job.steering.wish) {
            (None, _) if job.phase == Phase::Stored => &mut self.done,
            (None | Some(JobState::Pending), Wish::Train) => &mut self.pending,
            (None | Some(JobState::Pending), Wish::Pause) => &mut self.paused,
            (None | Some(JobState::Pending), Wish::Cancel) => &mut self.cancelled,
            (Some(JobState::Running { .. }), _) => &mut self.running,
            (Some(JobState::Done { .. }), _) if matches!(job.phase, Phase::Refused(_)) => &mut self.failed,
            (Some(JobState::Done { .. }), _) => &mut self.done,
            (Some(JobState::Failed { .. } | JobState::Parked { .. }), _) => &mut self.failed,
        }
    }
}

/// All jobs of a sweep.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Jobs {
    by_id: BTreeMap<JobId, Job>,
    tally: Tally,
    /// Jobs that are neither stored nor failed nor cancelled.
    unended: usize,
    running: BTreeSet<JobId>,
    /// Those whose needs have changed since somebody asked.
    shifted: Vec<JobId>,
}

impl Job {
    fn new(phase: Phase) -> Self {
        Self { seen: None, phase, steering: Steering::default() }
    }

    fn is_running(&self) -> bool {
        matches!(&self.seen, Some(Seen { record, .. }) if matches!(record.state, JobState::Running { .. }))
    }

    /// Stored or refused, failed for good, or cancelled and held by nobody.
    fn is_ended(&self) -> bool {
        match self.phase {
            Phase::Stored | Phase::Refused(_) | Phase::Failed => true,
            Phase::Open => self.steering.wish == Wish::Cancel && self.seen.is_some() && !self.is_running(),
            Phase::Fetching | Phase::ToFetch => false,
        }
    }

    /// Whether somebody should train it now.
    pub(super) fn is_wanted(&self) -> bool {
        self.phase == Phase::Open && self.steering.wish == Wish::Train
    }

    pub(super) fn need(&self) -> Need {
        if !self.is_wanted() {
            return Need::Nothing;
        }
        match self.seen.as_ref().map(|seen| (&seen.record.state, seen.record.saved_epochs())) {
            None => Need::Worker { finished_epochs: 0, priority: self.steering.priority },
            Some((JobState::Pending, finished_epochs)) => {
                Need::Worker { finished_epochs, priority: self.steering.priority }
            }
            Some((JobState::Running { .. }, _)) => Need::Cover,
            Some((JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. }, _)) => {
                Need::Nothing
            }
        }
    }
}

impl Jobs {
    /// Takes a job, unless it is there already.
    pub(super) fn add(&mut self, id: JobId, phase: Phase) {
        if !self.by_id.contains_key(&id) {
            let job = Job::new(phase);
            self.count_in(id, &job);
            self.by_id.insert(id, job);
            self.shifted.push(id);
        }
    }

    pub(super) fn remove(&mut self, id: JobId) {
        if let Some(job) = self.by_id.remove(&id) {
            self.count_out(id, &job);
            self.shifted.push(id);
        }
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.by_id.get(&id)
    }

    /// Changes a job. `None` if the sweep does not have it.
    pub(super) fn change<T>(&mut self, id: JobId, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        let mut job = self.by_id.remove(&id)?;
        self.count_out(id, &job);
        let need = job.need();
        let outcome = change(&mut job);
        if job.need() != need {
            self.shifted.push(id);
        }
        self.count_in(id, &job);
        self.by_id.insert(id, job);
        Some(outcome)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = JobId> {
        self.by_id.keys().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.by_id.iter().map(|(&id, job)| (id, job))
    }

    pub(super) fn contains(&self, id: JobId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn shift_all(&mut self) {
        self.shifted = self.by_id.keys().copied().collect();
    }

    /// The jobs whose needs have changed since the last call.
    pub(super) fn shifted(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.shifted)
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    pub(super) fn are_ended(&self) -> bool {
        self.unended == 0
    }

    /// The jobs that this worker holds.
    pub(super) fn held_by(&self, worker: &WorkerId) -> Vec<JobId> {
        let holds = |id: &&JobId| match self.record(**id).map(|record| &record.state) {
            Some(JobState::Running { token, .. }) => &token.owner == worker,
            Some(
                JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. },
            )
            | None => false,
        };
        self.running.iter().filter(holds).copied().collect()
    }

    pub(super) fn record(&self, id: JobId) -> Option<&JobRecord> {
        self.by_id.get(&id)?.seen.as_ref().map(|seen| &seen.record)
    }

    fn count_in(&mut self, id: JobId, job: &Job) {
        *self.tally.of(job) += 1;
        self.unended += usize::from(!job.is_ended());
        if job.is_running() {
            self.running.insert(id);
        }
        if let Some(Seen { record, .. }) = &job.seen {
            self.tally.failures += record.failures.len();
            self.tally.losses += record.losses as usize;
            self.tally.deferrals += record.deferrals as usize;
        }
    }

    fn count_out(&mut self, id: JobId, job: &Job) {
        *self.tally.of(job) -= 1;
        self.unended -= usize::from(!job.is_ended());
        self.running.remove(&id);
        if let Some(Seen { record, .. }) = &job.seen {
            self.tally.failures -= record.failures.len();
            self.tally.losses -= record.losses as usize;
            self.tally.deferrals -= record.deferrals as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::books::Claim;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn totals_follow_every_change() {
        let id = |n| JobId::new(Uuid::from_u128(n));
        let mut jobs = Jobs::default();
        for n in 0..3 {
            jobs.add(id(n), Phase::Open);
            jobs.change(id(n), |job| {
                job.seen = Some(Seen { revision: 0, record: JobRecord::pending() });
            });
        }
        jobs.add(id(0), Phase::Stored);
        assert_eq!(jobs.tally(), Tally { pending: 3, ..Tally::default() }, "a known job stays as it is");
        let me = WorkerId::new("cpu0", Uuid::nil());
        let Claim::Take { token, record } =
            JobRecord::pending().claim(&me, std::time::Duration::ZERO, std::time::Duration::ZERO)
        else {
            panic!("not taken")
        };
        let see = |record: &JobRecord| Some(Seen { revision: 1, record: record.clone() });
        jobs.change(id(0), |job| job.seen = see(&record));
        jobs.change(id(1), |job| job.steering.wish = Wish::Pause);
        jobs.change(id(2), |job| job.steering.wish = Wish::Cancel);
        assert_eq!(jobs.tally(), Tally { running: 1, paused: 1, cancelled: 1, ..Tally::default() });
        assert_eq!((jobs.held_by(&me), jobs.are_ended()), (vec![id(0)], false));
        jobs.change(id(0), |job| job.steering.wish = Wish::Cancel);
        assert_eq!(jobs.tally().running, 1, "until its worker has stopped");
        let done = record.done(&token, None).unwrap();
        jobs.change(id(0), |job| (job.seen, job.phase) = (see(&done), Phase::Stored));
        jobs.remove(id(1));
        assert_eq!(jobs.tally(), Tally { done: 1, cancelled: 1, ..Tally::default() });
        assert!(jobs.are_ended() && jobs.held_by(&me).is_empty());
    }
}
