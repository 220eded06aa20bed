//! How far a job has come, as its record says.

use serde::Serialize;
use shared::books::{JobRecord, JobState};

/// How far a job has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobProgress {
    #[serde(flatten)]
    pub state: Stage,
    /// Finished epochs, of `epochs`.
    pub epoch: u32,
    pub epochs: u32,
}

/// What is to become of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Stage {
    /// It waits, or a worker trains it.
    Open,
    /// The next run tries it again.
    Failed {
        why: String,
    },
    /// On request.
    Paused,
    Cancelled,
    /// It has a result, perhaps because it ended early on request.
    Done,
}

impl JobProgress {
    pub(super) fn of(record: &JobRecord, epochs: u32) -> Self {
        let state = match &record.state {
            JobState::Pending | JobState::Running { .. } => Stage::Open,
            JobState::Done { .. } => Stage::Done,
            JobState::Failed { reason } | JobState::Parked { reason } => {
                Stage::Failed { why: reason.clone() }
            }
        };
        Self { state, epoch: finished_epochs(record, epochs), epochs }
    }

    /// True if it is left to do for a run that begins now, which tries failed jobs again. For the one that conducts the
    /// sweep already they have ended.
    pub(super) fn is_left_to_do(&self) -> bool {
        match self.state {
            Stage::Open | Stage::Failed { .. } | Stage::Paused => true,
            Stage::Cancelled | Stage::Done => false,
        }
    }
}

/// How many epochs of a job are finished, of `epochs`.
pub fn finished_epochs(record: &JobRecord, epochs: u32) -> u32 {
    match &record.state {
        JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. } => record.saved_epochs(),
        // The checkpoint of the last one may be on its way.
        JobState::Running { progress, .. } => progress.epoch.max(record.saved_epochs()),
        JobState::Done { stopped_after, .. } => stopped_after.unwrap_or(epochs),
    }
}

#[cfg(test)]
mod tests {
    use shared::blob::BlobRef;
    use shared::books::{Checkpoint, Progress, Token};
    use shared::ids::{Attempt, WorkerId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn epochs_count_that_are_trained_or_saved() {
        let token = || Token { attempt: Attempt(1), owner: WorkerId::new("a", Uuid::nil()) };
        let blob = BlobRef { name: "c3".to_owned(), sha256: String::new(), size: 1 };
        let checkpoints = vec![Checkpoint { epoch: 3, step: 0, blob, origin: None }];
        let finished = |state| {
            let record = JobRecord { state, checkpoints: checkpoints.clone(), ..JobRecord::pending() };
            finished_epochs(&record, 12)
        };
        let running = |epoch| {
            let progress = Progress { epoch, ..Progress::default() };
            JobState::Running { token: token(), beat: 0, progress }
        };
        assert_eq!(finished(JobState::Pending), 3);
        assert_eq!(finished(running(4)), 4);
        assert_eq!(finished(running(0)), 3, "it was claimed a moment ago");
        assert_eq!(finished(JobState::Failed { reason: String::new() }), 3);
        assert_eq!(finished(JobState::Done { token: token(), stopped_after: Some(5) }), 5);
        assert_eq!(finished(JobState::Done { token: token(), stopped_after: None }), 12);
    }
}
