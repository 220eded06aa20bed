//! How a job is carried out. No result depends on it, so it may change at any time, and a running worker follows it within
//! a heartbeat.

use serde::{Deserialize, Serialize};

use super::{CheckpointEvery, Priority};
use crate::ids::RequestId;
use crate::metrics::Ranking;

/// How a job is carried out. Only the coordinator writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// The sweep that wanted the job first, for logs; empty in orders from before it was known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sweep: String,
    /// The distance between checkpoints that the plan asks for.
    #[serde(default)]
    pub checkpoint_every: CheckpointEvery,
    /// A finished job's last checkpoint is deleted, so that no longer training can go on from it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drops_last_checkpoint: bool,
    /// The metric that displays show while the job runs.
    pub ranking: Ranking,
    #[serde(flatten)]
    pub steering: Steering,
}

/// What was requested of a job since it was planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Steering {
    #[serde(skip_serializing_if = "Wish::is_train")]
    pub wish: Wish,
    /// The job ends for now after this many epochs, and at once if it has more. It never ends before its first one,
    /// because it would have no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The distance between checkpoints, instead of the plan's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_instead: Option<CheckpointEvery>,
    /// Its priority, instead of the plan's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// What attempts up to this one have done is no longer wanted: the job is trained anew.
    #[serde(skip_serializing_if = "is_zero")]
    pub anew_after: u32,
    /// A job that failed for good with an attempt up to this one is tried again, from its last checkpoint.
    #[serde(skip_serializing_if = "is_zero")]
    pub retried_after: u32,
    /// The newest request that changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<RequestId>,
}

/// What is wanted of a job now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    #[default]
    Train,
    /// Nobody works on it; it keeps its checkpoints.
    Pause,
    /// Nobody works on it again.
    Cancel,
}

impl Wish {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_train(&self) -> bool {
        *self == Self::Train
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A change of how one job is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum JobChange {
    Pause,
    /// Takes a pause, a cancellation and a limit back, and tries a job again that failed for good.
    Resume,
    /// Nobody works on it again; what it has so far is not kept as a result.
    Cancel,
    /// Ends it as soon as it has a result, which is kept together with its checkpoint.
    StopEarly,
    /// Ends it after this many epochs; `None` takes the limit back.
    Limit {
        epochs: Option<u32>,
    },
    /// Stores checkpoints at this distance; `None` leaves it to the plan again.
    CheckpointEvery {
        every: Option<CheckpointEvery>,
    },
    /// Trains it before all that wait and have a lower priority; `None` leaves it to the plan again.
    Priority {
        priority: Option<Priority>,
    },
    /// Gives it the highest priority. Earlier versions asked for it so.
    First,
    /// Trains it from the start again.
    TrainAnew,
}

impl JobChange {
    /// True if `later` makes this change pointless, so that only one of them can be granted.
    pub fn is_superseded_by(self, later: Self) -> bool {
        match (self, later) {
            (
                Self::Pause | Self::Resume | Self::Cancel,
                Self::Pause | Self::Resume | Self::Cancel | Self::TrainAnew,
            )
            | (
                Self::StopEarly | Self::Limit { .. },
                Self::StopEarly | Self::Limit { .. } | Self::Resume | Self::Cancel | Self::TrainAnew,
            )
            | (Self::First, Self::Pause | Self::Cancel | Self::Priority { .. })
            | (Self::Priority { .. }, Self::Priority { .. } | Self::First)
            | (Self::TrainAnew, Self::Cancel)
            | (Self::CheckpointEvery { .. }, Self::CheckpointEvery { .. }) => self != later,
            (
                Self::Pause
                | Self::Resume
                | Self::Cancel
                | Self::StopEarly
                | Self::Limit { .. }
                | Self::CheckpointEvery { .. }
                | Self::Priority { .. }
                | Self::First
                | Self::TrainAnew,
                _,
            ) => false,
        }
    }

    /// The change in words, such as "pause".
    pub fn in_words(self) -> String {
        match self {
            Self::Pause => "pause".to_owned(),
            Self::Resume => "resume".to_owned(),
            Self::Cancel => "cancel".to_owned(),
            Self::StopEarly => "stop early".to_owned(),
            Self::Limit { epochs: Some(epochs) } => format!("stop after epoch {epochs}"),
            Self::Limit { epochs: None } => "train to the last epoch".to_owned(),
            Self::CheckpointEvery { every: Some(every) } => format!("store a checkpoint every {every}"),
            Self::CheckpointEvery { every: None } => {
                "store checkpoints as often as the sweep says".to_owned()
            }
            Self::Priority { priority: Some(priority) } => format!("give priority {priority}"),
            Self::Priority { priority: None } => "give the priority that the sweep says".to_owned(),
            Self::First => "train first".to_owned(),
            Self::TrainAnew => "train anew".to_owned(),
        }
    }
}

impl Execution {
    /// How a new job is carried out.
    pub fn new(checkpoint_every: CheckpointEvery, ranking: Ranking) -> Self {
        let (sweep, steering) = (String::new(), Steering::default());
        Self { sweep, checkpoint_every, drops_last_checkpoint: false, ranking, steering }
    }

    /// The distance between checkpoints.
    pub fn checkpoint_every(&self) -> CheckpointEvery {
        self.steering.checkpoint_instead.unwrap_or(self.checkpoint_every)
    }

    /// What another plan says, together with what was requested of the job so far.
    #[must_use]
    pub fn planned_as(&self, plan: &Self) -> Self {
        Self { steering: self.steering, sweep: self.sweep.clone(), ..plan.clone() }
    }
}

impl Steering {
    /// Whether a job that has finished `epochs` epochs ends for now.
    pub fn ends_after(&self, epochs: u32) -> bool {
        self.limit.is_some_and(|limit| epochs >= limit.max(1))
    }

    /// True if nothing is requested of the job now. What was requested of earlier attempts does not count.
    pub fn is_plain(&self) -> bool {
        let Self {
            wish,
            limit,
            checkpoint_instead,
            priority,
            anew_after: _,
            retried_after: _,
            changed_by: _,
        } = self;
        wish.is_train() && limit.is_none() && checkpoint_instead.is_none() && priority.is_none()
    }

    /// What is requested of a job that takes the place of another one, of which `other` was requested, on request `by`.
    #[must_use]
    pub fn in_place_of(self, other: &Self, by: RequestId) -> Self {
        let Self { wish, limit, checkpoint_instead, priority, .. } = *other;
        Self { wish, limit, checkpoint_instead, priority, changed_by: Some(by), ..self }
    }

    /// What is requested of a job after `change` on request `by`. `attempts` is how often it was claimed so far.
    #[must_use]
    pub fn changed(self, change: JobChange, by: RequestId, attempts: u32) -> Self {
        let mut next = Self { changed_by: Some(by), ..self };
        match change {
            JobChange::Pause => next.wish = Wish::Pause,
            JobChange::Resume => (next.wish, next.limit, next.retried_after) = (Wish::Train, None, attempts),
            JobChange::Cancel => next.wish = Wish::Cancel,
            JobChange::StopEarly => next.limit = Some(0),
            JobChange::Limit { epochs } => next.limit = epochs,
            JobChange::CheckpointEvery { every } => next.checkpoint_instead = every,
            JobChange::Priority { priority } => next.priority = priority,
            JobChange::First => next.priority = Some(Priority::MOST),
            JobChange::TrainAnew => {
                (next.wish, next.limit, next.anew_after) = (Wish::Train, None, attempts);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::metrics::Goal;

    fn execution() -> Execution {
        Execution::new(CheckpointEvery::Epoch, Ranking { metric: "f1".into(), goal: Goal::Max })
    }

    #[test]
    fn changes_add_up_and_can_be_taken_back() {
        let by = RequestId::new(Uuid::from_u128(1));
        let changed = |changes: &[JobChange]| {
            changes.iter().fold(Steering::default(), |steering, change| steering.changed(*change, by, 3))
        };
        let paused = changed(&[JobChange::Pause, JobChange::Limit { epochs: Some(4) }]);
        assert_eq!((paused.wish, paused.limit, paused.changed_by), (Wish::Pause, Some(4), Some(by)));
        assert!(paused.ends_after(4) && paused.ends_after(5) && !paused.ends_after(3));
        let resumed = paused.changed(JobChange::Resume, by, 3);
        assert_eq!(Steering { changed_by: None, retried_after: 0, ..resumed }, Steering::default());
        let early = changed(&[JobChange::StopEarly]);
        assert!(early.ends_after(1) && !early.ends_after(0), "never without a result");
        let anew = changed(&[JobChange::Cancel, JobChange::TrainAnew]);
        assert_eq!((anew.wish, anew.anew_after), (Wish::Train, 3));
    }

    #[test]
    fn what_was_requested_of_a_job_holds_for_the_one_in_its_place() {
        let [first, edit] = [1, 2].map(|n| RequestId::new(Uuid::from_u128(n)));
        let stop = JobChange::Limit { epochs: Some(4) };
        let before = Steering::default().changed(JobChange::TrainAnew, first, 3).changed(stop, first, 3);
        assert!(!before.is_plain() && Steering { limit: None, ..before }.is_plain());
        let known = Steering::default().changed(JobChange::Cancel, first, 0);
        let next = known.in_place_of(&before, edit);
        assert_eq!((next.wish, next.limit, next.changed_by), (Wish::Train, Some(4), Some(edit)));
        assert_eq!(next.anew_after, 0, "its attempts are its own");
    }

    #[test]
    fn a_later_run_does_not_take_a_request_back() {
        let by = RequestId::new(Uuid::from_u128(1));
        let seldom = JobChange::CheckpointEvery { every: Some("9 steps".parse().unwrap()) };
        let plan = Execution { checkpoint_every: "5 minutes".parse().unwrap(), ..execution() };
        let steering = Steering::default().changed(seldom, by, 3);
        let replanned = Execution { steering, ..execution() }.planned_as(&plan);
        assert_eq!(replanned.checkpoint_every().to_string(), "9 steps");
        let steering = steering.changed(JobChange::CheckpointEvery { every: None }, by, 3);
        assert_eq!(Execution { steering, ..replanned }.checkpoint_every().to_string(), "5 minutes");
    }

    #[test]
    fn an_execution_without_requests_is_stored_as_before_there_were_any() {
        let text = serde_json::to_string(&execution()).unwrap();
        assert_eq!(text, r#"{"checkpoint_every":"epoch","ranking":{"metric":"f1","goal":"max"}}"#);
        assert_eq!(serde_json::from_str::<Execution>(&text).unwrap(), execution());
        let by = RequestId::new(Uuid::from_u128(1));
        let steered =
            Execution { steering: Steering::default().changed(JobChange::Pause, by, 0), ..execution() };
        let text = serde_json::to_string(&steered).unwrap();
        assert_eq!(serde_json::from_str::<Execution>(&text).unwrap(), steered, "{text}");
        let last = JobChange::Priority { priority: Some(Priority::LEAST) };
        let steered = Execution { steering: steered.steering.changed(last, by, 0), ..steered };
        let text = serde_json::to_string(&steered).unwrap();
        assert_eq!(serde_json::from_str::<Execution>(&text).unwrap(), steered, "{text}");
        assert_eq!(steered.steering.changed(JobChange::Priority { priority: None }, by, 0).priority, None);
    }

    #[test]
    fn contradictions_are_told_from_repetitions() {
        assert!(JobChange::Pause.is_superseded_by(JobChange::Resume));
        assert!(JobChange::StopEarly.is_superseded_by(JobChange::Limit { epochs: Some(9) }));
        assert!(!JobChange::Pause.is_superseded_by(JobChange::Pause));
        assert!(!JobChange::Pause.is_superseded_by(JobChange::First));
        let [low, high] = [-5, 5].map(|n| JobChange::Priority { priority: Priority::new(n).ok() });
        assert!(
            low.is_superseded_by(high)
                && !low.is_superseded_by(low)
                && !low.is_superseded_by(JobChange::Pause)
        );
        assert!(!JobChange::Cancel.is_superseded_by(JobChange::StopEarly));
    }
}
