//! A holder that hands its job back: unharmed, because something is in the way, or to be trained anew. Pure.

use serde::{Deserialize, Serialize};

use super::journal::in_brief;
use super::{Fenced, JobRecord, JobState, Move, Token};

/// Why a holder hands a job back unharmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// The worker was asked to end.
    Stopping,
    /// A user drained the worker, and wanted the job handed back at once.
    Drained,
    /// A user paused the job.
    Paused,
    /// A user cancelled the job.
    Cancelled,
    /// The job waited for its turn on the worker's device, and was not to wait any longer, or the worker was to train
    /// nothing for now.
    NotBegun,
    /// The worker could not start a training.
    Unable,
    /// The books were restored from a backup that was made while the job was held.
    Restored,
    /// A later version of this program knows why.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stopping => "the worker was asked to end",
            Self::Drained => "the worker was drained",
            Self::Paused => "the job was paused",
            Self::Cancelled => "the job was cancelled",
            Self::NotBegun => "the worker had not begun it",
            Self::Unable => "the worker could not start a training",
            Self::Restored => "the books were restored from a backup",
            Self::Unknown => "for a reason that a later version knows",
        })
    }
}

impl JobRecord {
    /// The holder hands the job back unharmed; it continues elsewhere from its last checkpoint.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn released(&self, by: &Token, why: Release) -> Result<Self, Fenced> {
        self.handed_back(by, Move::Released { why })
    }

    /// The holder hands the job back because of the server, the network or a disk. This counts as neither loss nor
    /// failure.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn deferred(&self, by: &Token, why: String) -> Result<Self, Fenced> {
        let next = self.handed_back(by, Move::Deferred { why: in_brief(&why) })?;
        Ok(Self { deferrals: self.deferrals.saturating_add(1), ..next.with_note(why) })
    }

    /// The holder hands the job back, and drops everything that it has so far: it is trained anew.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn dropped(&self, by: &Token) -> Result<Self, Fenced> {
        Ok(self.handed_back(by, Move::Dropped)?.begun_anew())
    }

    fn handed_back(&self, by: &Token, how: Move) -> Result<Self, Fenced> {
        self.held(by)?;
        Ok(Self { state: JobState::Pending, ..self.clone() }.moved(by.attempt, how))
    }
}
