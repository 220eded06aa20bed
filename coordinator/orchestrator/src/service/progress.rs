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
        let saved = record.saved_epochs();
        let (state, epoch) = match &record.state {
            JobState::Pending => (Stage::Open, saved),
            JobState::Running { progress, .. } => (Stage::Open, progress.epoch.max(saved)),
            JobState::Done { stopped_after, .. } => (Stage::Done, stopped_after.unwrap_or(epochs)),
            JobState::Failed { reason } | JobState::Parked { reason } => {
                (Stage::Failed { why: reason.clone() }, saved)
            }
        };
        Self { state, epoch, epochs }
    }

    pub(super) fn is_left_to_do(&self) -> bool {
        match self.state {
            Stage::Open | Stage::Failed { .. } | Stage::Paused => true,
            Stage::Cancelled | Stage::Done => false,
        }
    }
}
