//! What a job's record has been through: each claim, how each attempt ended, and each retry, with the server's time. Pure.
//!
//! No time is read here. Whoever writes a record dates the moves that it has just made ([`JobRecord::dated`]).

use serde::{Deserialize, Serialize};

use super::{Checkpoint, JobRecord, Origin, is_zero};
use crate::ids::Attempt;
use crate::result::Times;

/// How many moves a record keeps, which are about 20 attempts; the oldest are dropped.
pub const MOST_MOVES: usize = 40;

/// How many characters of an error or a reason a move keeps. The record's failures and notes have more of them.
const LONGEST: usize = 200;

/// The moves of a job's record, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Journal {
    /// How many moves were dropped because there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u32,
    pub moves: Vec<Moved>,
}

/// One move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// When, in seconds since the Unix epoch by the server's clock; `None` if the writer did not know the server's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The attempt that moved the record; of a move of a job that nobody holds, the newest attempt before it.
    pub attempt: Attempt,
    #[serde(flatten)]
    pub what: Move,
}

/// What happened to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "move", rename_all = "snake_case")]
pub enum Move {
    /// A worker took it.
    Claimed {
        /// The worker's name ([`crate::ids::WorkerId::name`]).
        worker: String,
        /// The newest checkpoint; `None` if it begins from the start. Boxed, because there may be many moves and few of
        /// them have one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Box<Beginning>>,
    },
    /// The attempt's result was accepted. `stopped_after` is set if the job ended early, after so many epochs.
    Done {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stopped_after: Option<u32>,
    },
    /// The training failed.
    Failed { error: String },
    /// The attempt lost its worker: it was silent for so many seconds, or `None`, because it was known to be dead.
    Lost {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        silent: Option<u64>,
    },
    /// The holder handed it back unharmed.
    Released { why: Release },
    /// The holder handed it back because of the server, the network or a disk.
    Deferred { why: String },
    /// The holder handed it back without anything that it had so far, to be trained anew.
    Dropped,
    /// Its failures on these workers were taken back, because the workers were the cause.
    Excused { workers: Vec<String> },
    /// It had failed for good, and is tried again.
    Reopened,
    /// It is trained again from the start.
    TrainedAnew,
    /// It had ended early, and goes on.
    GoneOn,
    /// A later version of this program knows what.
    #[serde(other)]
    Unknown,
}

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

/// Where an attempt begins that does not begin from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// Finished epochs.
    pub epoch: u32,
    /// Finished steps of the next epoch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step: u32,
    /// The shorter or longer training that made the checkpoint, if it was another job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Journal {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// When the training began and ended whose result was accepted, if both are known.
    pub fn times(&self) -> Option<Times> {
        let is_new = |moved: &Moved| matches!(moved.what, Move::TrainedAnew | Move::Dropped);
        let begin = self.moves.iter().rposition(is_new).map_or(0, |place| place + 1);
        let moves = &self.moves[begin..];
        let claim = moves.iter().find(|moved| matches!(moved.what, Move::Claimed { .. }))?;
        let done = moves.iter().rfind(|moved| matches!(moved.what, Move::Done { .. }))?;
        Some(Times { started: claim.at?, ended: done.at? })
    }

    /// The newest claim begins from the start after all, because the job is trained anew.
    pub(super) fn beginning_anew(mut self) -> Self {
        if let Some(Moved { what: Move::Claimed { from, .. }, at, .. }) = self.moves.last_mut() {
            *from = None;
            let (at, place) = (*at, self.moves.len() - 1);
            let attempt = place.checked_sub(1).map_or(Attempt(0), |before| self.moves[before].attempt);
            self.moves.insert(place, Moved { at, attempt, what: Move::TrainedAnew });
        }
        self
    }

    /// Takes no more memory than it needs.
    pub fn shrink(&mut self) {
        self.moves.shrink_to_fit();
    }
}

impl From<&Checkpoint> for Beginning {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self { epoch: checkpoint.epoch, step: checkpoint.step, origin: checkpoint.origin }
    }
}

impl JobRecord {
    /// With one more move, whose time is not known yet.
    pub(super) fn moved(mut self, attempt: Attempt, what: Move) -> Self {
        let Journal { dropped, moves } = &mut self.journal;
        moves.push(Moved { at: None, attempt, what });
        let surplus = moves.len().saturating_sub(MOST_MOVES);
        moves.drain(..surplus);
        *dropped = dropped.saturating_add(u32::try_from(surplus).unwrap_or(u32::MAX));
        self
    }

    /// With the server's time, in seconds since the Unix epoch, for the moves that it has made since it was last dated. To
    /// be called before it is written.
    #[must_use]
    pub fn dated(mut self, now: Option<u64>) -> Self {
        for moved in self.journal.moves.iter_mut().rev().take_while(|moved| moved.at.is_none()) {
            moved.at = now;
        }
        self
    }
}

pub(super) fn in_brief(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::tests::token;
    use super::super::{Claim, Progress, Token};
    use super::*;
    use crate::blob::BlobRef;

    const LEASE: Duration = Duration::from_secs(15);

    fn claimed(record: &JobRecord, name: &str, silent: u64, now: u64) -> (Token, JobRecord) {
        match record.claim(&token(0, name).owner, Duration::from_secs(silent), LEASE) {
            Claim::Take { token, record } => (token, record.dated(Some(now))),
            other => panic!("not taken: {other:?}"),
        }
    }

    fn saved(record: &JobRecord, by: &Token, epoch: u32) -> JobRecord {
        let blob = BlobRef { name: "c".into(), sha256: String::new(), size: 1 };
        let checkpoint = Checkpoint { epoch, step: 0, blob, origin: None };
        record.checkpointed(by, checkpoint, Progress::default()).unwrap()
    }

    #[test]
    fn a_job_that_changes_hands_tells_each_move_with_its_time() {
        let (one, record) = claimed(&JobRecord::pending(), "a", 0, 10);
        let record = saved(&record, &one, 3).dated(Some(12));
        let (two, record) = claimed(&record, "b", 20, 40);
        let record = record.failed(&two, "not finite", &[], 1).unwrap().dated(Some(50));
        let (three, record) = claimed(&record, "c", 0, 55);
        let record = record.done(&three, None).unwrap().dated(Some(60));
        let from = || Some(Box::new(Beginning { epoch: 3, step: 0, origin: None }));
        let moved = |at, attempt, what| Moved { at: Some(at), attempt: Attempt(attempt), what };
        let taken = |worker: &str, from| Move::Claimed { worker: worker.into(), from };
        let told = [
            moved(10, 1, taken("a", None)),
            moved(40, 1, Move::Lost { silent: Some(20) }),
            moved(40, 2, taken("b", from())),
            moved(50, 2, Move::Failed { error: "not finite".into() }),
            moved(55, 3, taken("c", from())),
            moved(60, 3, Move::Done { stopped_after: None }),
        ];
        assert_eq!(record.journal.moves, told);
        assert_eq!(record.journal.times(), Some(Times { started: 10, ended: 60 }));
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains(r#"{"at":60,"attempt":3,"move":"done"}"#), "{text}");
        assert_eq!(serde_json::from_str::<JobRecord>(&text).unwrap(), record);
    }

    #[test]
    fn what_the_coordinator_does_is_told_too() {
        let (me, held) = claimed(&JobRecord::pending(), "a", 0, 1);
        let whats = |record: &JobRecord| -> Vec<Move> {
            record.journal.moves.iter().skip(1).map(|moved| moved.what.clone()).collect()
        };
        let early = held.done(&me, Some(4)).unwrap();
        let done = Move::Done { stopped_after: Some(4) };
        assert_eq!(whats(&early.gone_on().unwrap()), [done.clone(), Move::GoneOn]);
        let anew = early.anew(1).unwrap();
        assert_eq!(whats(&anew), [done, Move::TrainedAnew]);
        let (again, held_again) = claimed(&anew, "b", 0, 70);
        assert_eq!(held_again.journal.times(), None);
        let done_again = held_again.done(&again, None).unwrap().dated(Some(80));
        assert_eq!(done_again.journal.times(), Some(Times { started: 70, ended: 80 }));
        assert_eq!(whats(&held.dropped(&me).unwrap()), [Move::Dropped]);
        let failed = held.failed(&me, "e", &[], 1).unwrap();
        let excused = failed.excused(&BTreeSet::from(["a".to_owned()])).unwrap();
        let failure = Move::Failed { error: "e".into() };
        assert_eq!(whats(&excused), [failure.clone(), Move::Excused { workers: vec!["a".into()] }]);
        assert_eq!(whats(&failed.reopened()), [failure, Move::Reopened]);
        assert_eq!(whats(&held.lost(&me).unwrap()), [Move::Lost { silent: None }]);
        let drained = held.released(&me, Release::Drained).unwrap();
        assert_eq!(whats(&drained), [Move::Released { why: Release::Drained }]);
    }

    #[test]
    fn a_claim_that_is_trained_anew_begins_from_the_start() {
        let (one, record) = claimed(&JobRecord::pending(), "a", 0, 1);
        let record = saved(&record, &one, 3).released(&one, Release::Paused).unwrap();
        let (_, record) = claimed(&record, "b", 0, 2);
        let anew = record.taken_anew(1);
        let begun = Move::Claimed { worker: "b".into(), from: None };
        let whats: Vec<&Move> = anew.journal.moves.iter().rev().map(|moved| &moved.what).take(2).collect();
        assert_eq!(whats, [&begun, &Move::TrainedAnew]);
        let (by, done) = (token(anew.attempts, "b"), anew.done(&token(anew.attempts, "b"), None));
        let done = done.unwrap_or_else(|error| panic!("{by}: {error}")).dated(Some(9));
        assert_eq!(done.journal.times(), Some(Times { started: 2, ended: 9 }));
    }

    /// Nothing is decided by a move, so one that is not known must not make a record unreadable.
    #[test]
    fn moves_of_a_later_version_are_read() {
        let text = r#"{"moves":[{"attempt":1,"move":"levitated","height":3},{"attempt":1,"move":"released","why":"bored"}]}"#;
        let journal: Journal = serde_json::from_str(text).unwrap();
        let whats: Vec<&Move> = journal.moves.iter().map(|moved| &moved.what).collect();
        assert_eq!(whats, [&Move::Unknown, &Move::Released { why: Release::Unknown }]);
    }

    #[test]
    fn only_moves_without_a_time_are_dated_and_the_oldest_are_dropped() {
        let mut record = JobRecord::pending();
        for n in 0..30 {
            let (me, held) = claimed(&record, "a", 0, n);
            record = held.deferred(&me, "x".repeat(3000)).unwrap().dated(Some(n)).dated(Some(1000));
        }
        let Journal { dropped, moves } = &record.journal;
        assert_eq!((*dropped, moves.len(), moves[0].at, moves[39].at), (20, MOST_MOVES, Some(10), Some(29)));
        let size = serde_json::to_string(&record.journal).unwrap().len();
        assert!(size < 40 * 300, "{size}");
        let unknown = record.clone().moved(Attempt(30), Move::Reopened).dated(None);
        assert_eq!(unknown.journal.moves.last().unwrap().at, None);
    }

    /// One attempt costs a record about 140 bytes.
    #[test]
    fn a_short_job_tells_little() {
        let (me, held) = claimed(&JobRecord::pending(), "gpu0", 0, 1_733_059_200);
        let done = held.done(&me, None).unwrap().dated(Some(1_733_059_201));
        let size = serde_json::to_string(&done.journal).unwrap().len();
        assert!(size < 150, "{size}");
        assert!(!serde_json::to_string(&JobRecord::pending()).unwrap().contains("journal"));
    }
}
