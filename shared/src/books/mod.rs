//! The books: one record per job, the only truth about it. Moves are pure; the bus applies them by compare-and-swap.
//!
//! The fence of every move is (attempt, owner), held inside the record: acknowledgements and delivery counts of the
//! queue decide nothing.

mod claim;

pub use claim::Claim;

use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, WorkerId};
use crate::result::BlobRef;

/// Failures of the training itself after which a job is given up.
pub const MAX_FAILURES: usize = 3;

/// Owners lost in a row, without one finished epoch between, after which a job is given up.
pub const MAX_LOSSES: u32 = 5;

/// How many checkpoints of a job are kept while it runs.
pub const KEPT_CHECKPOINTS: usize = 2;

/// One job's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    pub v: u32,
    pub state: JobState,
    /// Claims so far.
    pub attempts: u32,
    /// Owners lost in a row without a finished epoch between.
    pub losses: u32,
    /// Errors of the training that count against the job, oldest first.
    pub failures: Vec<Failure>,
    /// Newest last, at most [`KEPT_CHECKPOINTS`].
    pub checkpoints: Vec<Checkpoint>,
    /// What happened to it that a reader should know, such as a damaged checkpoint.
    pub notes: Vec<String>,
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
    /// Given up; the last failure says why.
    Failed { reason: String },
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

/// A stored checkpoint: the training can go on after `epoch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub epoch: u32,
    pub blob: BlobRef,
}

/// One failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub token: Token,
    pub error: String,
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
            Self::Done { .. } | Self::Failed { .. } => true,
        }
    }

    /// One word and, where there is one, the holder.
    pub fn describe(&self) -> String {
        match self {
            Self::Pending => "pending".to_owned(),
            Self::Running { token, .. } => format!("running on {token}"),
            Self::Done { token } => format!("done by {token}"),
            Self::Failed { reason } => format!("failed: {reason}"),
        }
    }
}

impl JobRecord {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;

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
        }
    }

    /// Finished epochs that survive the loss of the worker.
    pub fn saved_epochs(&self) -> u32 {
        self.checkpoints.last().map_or(0, |checkpoint| checkpoint.epoch)
    }

    /// A sign of life.
    pub fn beat(&self, by: &Token) -> Result<Self, Fenced> {
        let (beat, progress) = self.held(by)?;
        let state =
            JobState::Running { token: by.clone(), beat: beat.saturating_add(1), progress: progress.clone() };
        Ok(Self { state, ..self.clone() })
    }

    /// An epoch is finished and its checkpoint is durable. Older checkpoints beyond the kept ones fall out.
    pub fn checkpointed(
        &self,
        by: &Token,
        checkpoint: Checkpoint,
        progress: Progress,
    ) -> Result<Self, Fenced> {
        let (beat, _) = self.held(by)?;
        let mut next = self.clone();
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

    /// The training itself failed; after [`MAX_FAILURES`] the job is given up.
    pub fn failed(&self, by: &Token, error: &str) -> Result<Self, Fenced> {
        self.held(by)?;
        let mut next = self.clone();
        next.failures.push(Failure { token: by.clone(), error: error.to_owned() });
        next.state = if next.failures.len() >= MAX_FAILURES {
            JobState::Failed { reason: error.to_owned() }
        } else {
            JobState::Pending
        };
        Ok(next)
    }

    /// Something happened that a reader should know; the holder goes on.
    pub fn noted(&self, by: &Token, note: String) -> Result<Self, Fenced> {
        let mut next = self.beat(by)?;
        next.notes.push(note);
        Ok(next)
    }

    /// Asked for again after it was given up: a clean slate that keeps the checkpoints and the count of attempts.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Self { state: JobState::Pending, losses: 0, failures: Vec::new(), ..self.clone() }
    }

    fn held(&self, by: &Token) -> Result<(u64, &Progress), Fenced> {
        match &self.state {
            JobState::Running { token, beat, progress } if token == by => Ok((*beat, progress)),
            JobState::Running { .. }
            | JobState::Pending
            | JobState::Done { .. }
            | JobState::Failed { .. } => Err(Fenced { token: by.clone(), now: self.state.describe() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    pub(super) fn token(attempt: u32, name: &str) -> Token {
        Token { attempt: Attempt(attempt), owner: WorkerId::new(name, Uuid::nil()) }
    }

    pub(super) fn running(by: &Token) -> JobRecord {
        let state = JobState::Running { token: by.clone(), beat: 0, progress: Progress::default() };
        JobRecord { state, attempts: by.attempt.0, ..JobRecord::pending() }
    }

    fn checkpoint(epoch: u32) -> Checkpoint {
        Checkpoint { epoch, blob: BlobRef { name: format!("c{epoch}"), sha256: String::new(), size: 1 } }
    }

    #[test]
    fn only_the_holder_moves_a_record() {
        let (me, zombie) = (token(2, "b"), token(1, "a"));
        let record = running(&me);
        assert!(record.beat(&me).is_ok());
        for outcome in [
            record.beat(&zombie),
            record.done(&zombie),
            record.released(&zombie),
            record.failed(&zombie, "x"),
            record.checkpointed(&zombie, checkpoint(1), Progress::default()),
            record.noted(&zombie, "x".into()),
            JobRecord::pending().done(&me),
        ] {
            assert!(outcome.is_err());
        }
        let same_attempt_other_life = Token { owner: WorkerId::new("b", Uuid::max()), ..me.clone() };
        assert!(record.beat(&same_attempt_other_life).is_err());
    }

    #[test]
    fn the_newest_two_checkpoints_are_kept_and_wipe_the_losses() {
        let me = token(1, "a");
        let mut record = JobRecord { losses: 3, ..running(&me) };
        for epoch in 1..=3 {
            record = record.checkpointed(&me, checkpoint(epoch), Progress::default()).unwrap();
        }
        assert_eq!(record.checkpoints, [checkpoint(2), checkpoint(3)]);
        assert_eq!((record.losses, record.saved_epochs()), (0, 3));
        assert!(record.done(&me).unwrap().checkpoints.is_empty());
    }

    #[test]
    fn the_third_failure_gives_up_and_reopening_forgives() {
        let me = token(1, "a");
        let mut record = running(&me);
        for n in 1..=MAX_FAILURES {
            assert!(!record.state.is_final());
            record =
                JobRecord { state: running(&me).state, ..record }.failed(&me, &format!("error {n}")).unwrap();
        }
        assert_eq!(record.state, JobState::Failed { reason: "error 3".into() });
        let again = record.reopened();
        assert_eq!((again.state, again.failures.len(), again.attempts), (JobState::Pending, 0, 1));
    }

    #[test]
    fn records_read_back_as_written() {
        let me = token(7, "gpu0");
        let record = running(&me).checkpointed(&me, checkpoint(4), Progress::default()).unwrap();
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<JobRecord>(&text).unwrap(), record);
    }
}
