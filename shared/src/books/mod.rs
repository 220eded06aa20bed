//! The books: one record per job, the only truth about it. Moves are pure; the bus applies them by compare-and-swap.
//!
//! The fence of every move is (attempt, owner), held inside the record: acknowledgements and delivery counts of the
//! queue decide nothing.

mod claim;
mod failures;
mod late;
mod standing;

pub use claim::Claim;
pub use failures::{LOG_TAIL, MAX_FAILED_WORKERS, MAX_FAILURES};
pub use late::{Late, difference};
pub use standing::{Incident, IncidentKind, Standing, WorkerRecord, incidents_in_words};

use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, WorkerId};
use crate::result::BlobRef;

/// Workers lost in a row, without a checkpoint in between, after which a job fails for good.
pub const MAX_LOSSES: u32 = 5;

/// Notes that a record keeps; the oldest fall out.
pub const MAX_NOTES: usize = 20;

/// How many checkpoints of a job are kept while it runs.
pub const KEPT_CHECKPOINTS: usize = 2;

/// One job's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    pub v: u32,
    pub state: JobState,
    /// Claims so far.
    pub attempts: u32,
    /// Owners lost in a row without a checkpoint between.
    pub losses: u32,
    /// Errors of the training that count against the job, oldest first.
    pub failures: Vec<AttemptFailure>,
    /// Newest last, at most [`KEPT_CHECKPOINTS`].
    pub checkpoints: Vec<Checkpoint>,
    /// What happened to it that a reader should know, such as a damaged checkpoint.
    pub notes: Vec<String>,
    /// Times it was given back because of something that passes: server, network or disk. Never counts against it.
    #[serde(default, rename = "setbacks")]
    pub deferrals: u32,
    /// Attempts made before the job was last asked to be trained anew: results of those are not taken any more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retried_after: u32,
    /// Validation macro F1 of the newest checkpoint's last finished epoch, in percent: it stays when the job changes
    /// hands. Records from before this field have none until their next checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_macro_f1: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Where a job stands. Each state carries what is true in it and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a worker.
    Pending,
    /// Held by one attempt of one worker; `beat` counts its signs of life.
    Running { token: Token, beat: u64, progress: Progress },
    /// Its result was accepted.
    Done { token: Token },
    /// Failed for good, on one worker.
    Failed { reason: String },
    /// Failed for good, on different workers. Users see one state, [`Self::failure`]: which of the two it is depends on
    /// how many workers were there.
    Parked { reason: String },
}

/// The fencing token: which attempt of which worker life may move the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub attempt: Attempt,
    pub owner: WorkerId,
}

/// How far a running job is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Finished epochs.
    pub epoch: u32,
    /// Validation macro F1 of the last finished epoch, in percent.
    pub macro_f1: Option<f64>,
    /// Wall time of the last finished epoch.
    pub epoch_seconds: Option<f64>,
}

/// A stored checkpoint: the training can go on after `epoch` and `step` steps of the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Finished epochs.
    pub epoch: u32,
    /// Finished steps of the epoch after them; 0 between two epochs. Records of version 1 know no other.
    #[serde(default)]
    pub step: u32,
    pub blob: BlobRef,
}

impl Checkpoint {
    /// How far the training was, comparable.
    pub fn place(&self) -> (u32, u32) {
        (self.epoch, self.step)
    }
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.step {
            0 => write!(f, "epoch {}", self.epoch),
            step => write!(f, "epoch {} and {step} steps", self.epoch),
        }
    }
}

/// One failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptFailure {
    pub token: Token,
    pub error: String,
    /// The last lines that the training logged, at most [`LOG_TAIL`].
    #[serde(default)]
    pub log: Vec<String>,
    /// The record's revision before the failure. The revisions of all records are one sequence, so it tells what
    /// came first without any clock.
    #[serde(default)]
    pub mark: u64,
}

/// The record is no longer this token's to move.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{token} no longer holds this job: it is {now}")]
pub struct Fenced {
    pub token: Token,
    pub now: String,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.owner, self.attempt)
    }
}

impl JobState {
    /// True for states that no worker leaves.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Pending | Self::Running { .. } => false,
            Self::Done { .. } | Self::Failed { .. } | Self::Parked { .. } => true,
        }
    }

    /// The state in words, with the holder or the reason where there is one.
    pub fn describe(&self) -> String {
        match self {
            Self::Pending => "pending".to_owned(),
            Self::Running { token, .. } => format!("running on {token}"),
            Self::Done { token } => format!("done by {token}"),
            Self::Failed { reason } | Self::Parked { reason } => format!("failed: {reason}"),
        }
    }

    /// Why the job failed for good, if it did.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } | Self::Parked { reason } => Some(reason),
            Self::Pending | Self::Running { .. } | Self::Done { .. } => None,
        }
    }
}

impl JobRecord {
    /// Version of this record's layout. 2: a checkpoint may lie within an epoch, which a program of version 1 would
    /// take for one after it, and a job may be parked.
    pub const VERSION: u32 = 2;

    /// A job that nobody has touched.
    pub fn pending() -> Self {
        Self {
            v: Self::VERSION,
            state: JobState::Pending,
            attempts: 0,
            losses: 0,
            failures: Vec::new(),
            checkpoints: Vec::new(),
            notes: Vec::new(),
            deferrals: 0,
            retried_after: 0,
            saved_macro_f1: None,
        }
    }

    /// Finished epochs that survive the loss of the worker.
    pub fn saved_epochs(&self) -> u32 {
        self.checkpoints.last().map_or(0, |checkpoint| checkpoint.epoch)
    }

    /// Validation macro F1 of the last finished epoch, in percent, whichever worker finished it. The progress of a
    /// running job has only what its present worker finished, by which that worker is judged.
    pub fn last_macro_f1(&self) -> Option<f64> {
        match &self.state {
            JobState::Running { progress, .. } => progress.macro_f1.or(self.saved_macro_f1),
            JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
                self.saved_macro_f1
            }
        }
    }

    /// A sign of life.
    pub fn beat(&self, by: &Token) -> Result<Self, Fenced> {
        let (beat, progress) = self.held(by)?;
        let state =
            JobState::Running { token: by.clone(), beat: beat.saturating_add(1), progress: progress.clone() };
        Ok(Self { state, ..self.clone() })
    }

    /// A checkpoint is durable. Older checkpoints beyond the kept ones fall out.
    pub fn checkpointed(
        &self,
        by: &Token,
        checkpoint: Checkpoint,
        progress: Progress,
    ) -> Result<Self, Fenced> {
        let (beat, _) = self.held(by)?;
        let mut next = self.clone();
        next.saved_macro_f1 = progress.macro_f1.or(self.saved_macro_f1);
        next.state = JobState::Running { token: by.clone(), beat: beat.saturating_add(1), progress };
        next.losses = 0;
        next.checkpoints.push(checkpoint);
        let surplus = next.checkpoints.len().saturating_sub(KEPT_CHECKPOINTS);
        next.checkpoints.drain(..surplus);
        Ok(next)
    }

    /// The result is durable and is accepted together with this move.
    pub fn done(&self, by: &Token) -> Result<Self, Fenced> {
        self.held(by)?;
        Ok(Self { state: JobState::Done { token: by.clone() }, checkpoints: Vec::new(), ..self.clone() })
    }

    /// The holder gives the job back unharmed, to go on from the last checkpoint elsewhere.
    pub fn released(&self, by: &Token) -> Result<Self, Fenced> {
        self.held(by)?;
        Ok(Self { state: JobState::Pending, ..self.clone() })
    }

    /// The holder gives the job back because of something that passes: no budget of the job shrinks.
    pub fn deferred(&self, by: &Token, why: String) -> Result<Self, Fenced> {
        let released = self.released(by)?;
        Ok(Self { deferrals: self.deferrals.saturating_add(1), ..released.with_note(why) })
    }

    /// Something happened that a reader should know; the holder goes on.
    pub fn noted(&self, by: &Token, note: String) -> Result<Self, Fenced> {
        Ok(self.beat(by)?.with_note(note))
    }

    /// With one more note; the oldest fall out, for a record must stay small.
    fn with_note(mut self, note: String) -> Self {
        self.notes.push(note);
        let surplus = self.notes.len().saturating_sub(MAX_NOTES);
        self.notes.drain(..surplus);
        self
    }

    /// Asked for again after it failed: its failures are forgotten, its checkpoints are kept.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Self { state: JobState::Pending, losses: 0, failures: Vec::new(), ..self.clone() }
    }

    /// Asked to be trained anew, from the start, after it was done or failed. `None` while it is open: then it is
    /// trained anyway.
    #[must_use]
    pub fn retried(&self) -> Option<Self> {
        match &self.state {
            JobState::Pending | JobState::Running { .. } => return None,
            JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {}
        }
        let next = Self { checkpoints: Vec::new(), retried_after: self.attempts, ..self.reopened() };
        Some(next.with_note(format!("trained anew on request; before, it was {}", self.state.describe())))
    }

    fn held(&self, by: &Token) -> Result<(u64, &Progress), Fenced> {
        match &self.state {
            JobState::Running { token, beat, progress } if token == by => Ok((*beat, progress)),
            JobState::Running { .. }
            | JobState::Pending
            | JobState::Done { .. }
            | JobState::Failed { .. }
            | JobState::Parked { .. } => Err(Fenced { token: by.clone(), now: self.state.describe() }),
        }
    }
}

#[cfg(test)]
mod tests;
