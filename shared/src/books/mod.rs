//! The books: one record per job, the only truth about it. Moves are pure; the bus applies them by compare-and-swap.
//!
//! The fence of every move is (attempt, owner), held inside the record: acknowledgements and delivery counts of the
//! queue decide nothing.

mod changes;
mod checkpoint;
mod claim;
mod continued;
mod failures;
mod history;
mod journal;
mod late;
mod release;
mod standing;

pub use changes::CarriedOut;
pub use checkpoint::{Checkpoint, KEPT_CHECKPOINTS, Origin};
pub use claim::Claim;
pub use failures::{LOG_TAIL, MAX_FAILED_WORKERS, MAX_FAILURES};
pub use history::{History, LogTail, MOST_REPORTS, Reported};
pub use journal::{Beginning, Journal, MOST_MOVES, Move, Moved, Release};
pub use late::{Late, difference};
pub use standing::{Incident, IncidentKind, Standing, WorkerRecord, incidents_in_words};

use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, WorkerId};

/// Workers lost in a row, without a checkpoint in between, after which a job fails for good.
pub const MAX_LOSSES: u32 = 5;

/// How many notes a record keeps; the oldest are dropped.
pub const MAX_NOTES: usize = 20;

/// One job's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    pub v: u32,
    pub state: JobState,
    /// Claims so far.
    pub attempts: u32,
    /// Owners lost in a row, without a checkpoint in between.
    pub losses: u32,
    /// Errors of the training that count against the job, oldest first.
    pub failures: Vec<AttemptFailure>,
    /// Newest last, at most [`KEPT_CHECKPOINTS`].
    pub checkpoints: Vec<Checkpoint>,
    /// Events that a reader should know about, such as a damaged checkpoint.
    pub notes: Vec<String>,
    /// How often it was deferred because of the server, the network or a disk. Never counts against it.
    #[serde(default, rename = "setbacks")]
    pub deferrals: u32,
    /// Attempts made before the job was last asked to be trained again: their results are no longer accepted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retried_after: u32,
    /// Attempts made before the job was last begun from the start on request: nothing of what they did is left.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub anew_after: u32,
    /// The metric that ranks jobs, at the newest checkpoint's last finished epoch. It stays when another worker takes the
    /// job over. Records from before this field have none until their next checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "saved_macro_f1")]
    pub saved_score: Option<f64>,
    /// What the training has told so far. When the job is done, its result has the reports.
    #[serde(default, skip_serializing_if = "History::is_empty")]
    pub history: History,
    /// What it has been through. Records from before this field, and those that a program from before it wrote, lack it.
    #[serde(default, skip_serializing_if = "Journal::is_empty")]
    pub journal: Journal,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A job's state. Each state carries what is true in it and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a worker.
    Pending,
    /// Held by one attempt of one worker; `beat` counts its heartbeats.
    Running { token: Token, beat: u64, progress: Progress },
    /// Its result was accepted. `stopped_after` is set if the job ended early, after so many epochs, and may go on.
    Done {
        token: Token,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stopped_after: Option<u32>,
    },
    /// Failed for good, on one worker.
    Failed { reason: String },
    /// Failed for good, on different workers. Users see one state for both, [`Self::failure`]: which of the two it is
    /// depends only on how many workers there were.
    Parked { reason: String },
}

/// The fencing token: the attempt and the worker process that may change the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub attempt: Attempt,
    pub owner: WorkerId,
}

/// How far a running job has come.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Finished epochs.
    pub epoch: u32,
    /// The metric that ranks jobs, at the last finished epoch.
    #[serde(alias = "macro_f1")]
    pub score: Option<f64>,
    /// Wall time of the last finished epoch.
    pub epoch_seconds: Option<f64>,
}

/// One failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptFailure {
    pub token: Token,
    pub error: String,
    /// The last lines that the training logged, at most [`LOG_TAIL`].
    #[serde(default)]
    pub log: Vec<String>,
    /// The record's revision before the failure. The revisions of all records form one sequence, so it shows what came
    /// first without a clock.
    #[serde(default)]
    pub mark: u64,
}

/// The holder of this token may no longer change the record.
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
    /// True for states that no worker changes.
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
            Self::Done { token, .. } => format!("done by {token}"),
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
    /// Version of this record's layout. 2: a job may be parked, and a checkpoint may lie within an epoch, which a
    /// program of version 1 would take for one after the epoch. 3: scores of any trainer.
    pub const VERSION: u32 = 3;

    /// The record of a new job.
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
            anew_after: 0,
            saved_score: None,
            history: History::default(),
            journal: Journal::default(),
        }
    }

    /// Finished epochs that survive the loss of the worker.
    pub fn saved_epochs(&self) -> u32 {
        self.checkpoints.last().map_or(0, |checkpoint| checkpoint.epoch)
    }

    /// The metric that ranks jobs, at the last finished epoch, whichever worker finished it. The progress of a running
    /// job only covers epochs that its current worker finished.
    pub fn last_score(&self) -> Option<f64> {
        match &self.state {
            JobState::Running { progress, .. } => progress.score.or(self.saved_score),
            JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
                self.saved_score
            }
        }
    }

    /// The holder's heartbeat.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn beat(&self, by: &Token) -> Result<Self, Fenced> {
        let (beat, progress) = self.held(by)?;
        let state =
            JobState::Running { token: by.clone(), beat: beat.saturating_add(1), progress: progress.clone() };
        Ok(Self { state, ..self.clone() })
    }

    /// A checkpoint is stored. Older ones beyond [`KEPT_CHECKPOINTS`] are dropped.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn checkpointed(
        &self,
        by: &Token,
        checkpoint: Checkpoint,
        progress: Progress,
    ) -> Result<Self, Fenced> {
        let (beat, _) = self.held(by)?;
        let mut next = self.clone();
        next.saved_score = progress.score.or(self.saved_score);
        next.state = JobState::Running { token: by.clone(), beat: beat.saturating_add(1), progress };
        next.losses = 0;
        next.checkpoints.push(checkpoint);
        let surplus = next.checkpoints.len().saturating_sub(KEPT_CHECKPOINTS);
        next.checkpoints.drain(..surplus);
        Ok(next)
    }

    /// The result's blobs are stored; the result is accepted together with this move. The job keeps its newest checkpoint,
    /// from which a longer training may go on ([`Self::without_checkpoints`]). A job that ends early keeps all of them and
    /// its reports, because it may go on itself.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn done(&self, by: &Token, stopped_after: Option<u32>) -> Result<Self, Fenced> {
        self.held(by)?;
        Ok(self.accepting(by, stopped_after))
    }

    /// The record with the result of `by`.
    fn accepting(&self, by: &Token, stopped_after: Option<u32>) -> Self {
        let state = JobState::Done { token: by.clone(), stopped_after };
        let mut next = Self { state, ..self.clone() };
        if stopped_after.is_none() {
            next.checkpoints.drain(..next.checkpoints.len().saturating_sub(1));
            next.history = History { log: next.history.log, ..History::default() };
        }
        next.moved(by.attempt, Move::Done { stopped_after })
    }

    /// A finished job that keeps no checkpoint. One that ended early keeps them.
    #[must_use]
    pub fn without_checkpoints(mut self) -> Self {
        if matches!(self.state, JobState::Done { stopped_after: None, .. }) {
            self.checkpoints.clear();
        }
        self
    }

    /// Without anything of what attempts so far did, and without a chance for their results.
    fn begun_anew(self) -> Self {
        let (retried_after, anew_after) = (self.attempts, self.attempts);
        let (checkpoints, history) = (Vec::new(), History::default());
        Self { checkpoints, history, saved_score: None, retried_after, anew_after, ..self }
    }

    /// Something happened that a reader should know about; the holder keeps the job.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn noted(&self, by: &Token, note: String) -> Result<Self, Fenced> {
        Ok(self.beat(by)?.with_note(note))
    }

    /// With one more note; the oldest are dropped, because a record must stay small.
    fn with_note(mut self, note: String) -> Self {
        self.notes.push(note);
        let surplus = self.notes.len().saturating_sub(MAX_NOTES);
        self.notes.drain(..surplus);
        self
    }

    /// Asked for again after it failed: its failures are cleared, its checkpoints are kept.
    #[must_use]
    pub fn reopened(&self) -> Self {
        self.opened(Move::Reopened)
    }

    /// A job that has ended, or waits, is open again without its failures.
    fn opened(&self, how: Move) -> Self {
        let next = Self { state: JobState::Pending, losses: 0, failures: Vec::new(), ..self.clone() };
        next.moved(Attempt(self.attempts), how)
    }

    /// Asked to be trained anew: nothing of what attempts up to `after` did is wanted. `None` if nothing of it is left, or
    /// a worker holds the job, which drops it by itself.
    #[must_use]
    pub fn anew(&self, after: u32) -> Option<Self> {
        match &self.state {
            JobState::Running { .. } => return None,
            JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
            }
        }
        if self.anew_after >= after {
            return None;
        }
        let next = self.opened(Move::TrainedAnew).begun_anew();
        let next = Self { anew_after: next.anew_after.max(after), ..next };
        Some(next.with_note(format!("trained anew on request; before, it was {}", self.state.describe())))
    }

    /// A job that ended early goes on from its checkpoint. `None` unless it did.
    #[must_use]
    pub fn gone_on(&self) -> Option<Self> {
        match &self.state {
            JobState::Done { stopped_after: Some(epochs), .. } => {
                // Late results of attempts so far are of a job that ended early.
                let next = Self { retried_after: self.attempts, ..self.opened(Move::GoneOn) };
                Some(next.with_note(format!("goes on after epoch {epochs} on request")))
            }
            JobState::Done { stopped_after: None, .. }
            | JobState::Pending
            | JobState::Running { .. }
            | JobState::Failed { .. }
            | JobState::Parked { .. } => None,
        }
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
