//! Whether a job can be carried out differently, and what that does to its record. Pure.

use super::{JobRecord, JobState};
use crate::protocol::{JobChange, Steering, Wish};

/// What became of a change of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarriedOut {
    /// The books say it, now or already; this is what is requested of the job since.
    Done(Steering),
    /// It cannot be made, and why.
    Refused(String),
}

impl JobRecord {
    /// Why `change` cannot be made to this job, of which `steering` was requested before. `None` if it can.
    pub fn refusal(&self, change: JobChange, steering: &Steering) -> Option<String> {
        let stopped_after = match &self.state {
            JobState::Done { stopped_after, .. } => *stopped_after,
            JobState::Pending | JobState::Running { .. } => return self.refusal_while_open(change, steering),
            JobState::Failed { .. } | JobState::Parked { .. } => match change {
                JobChange::TrainAnew | JobChange::Resume => return None,
                JobChange::Pause
                | JobChange::Cancel
                | JobChange::StopEarly
                | JobChange::Limit { .. }
                | JobChange::CheckpointEvery { .. }
                | JobChange::Priority { .. }
                | JobChange::First => return Some("it has failed".to_owned()),
            },
        };
        match (change, stopped_after) {
            (JobChange::TrainAnew, _) | (JobChange::Resume | JobChange::Limit { epochs: None }, Some(_)) => {
                None
            }
            (JobChange::Limit { epochs: Some(epochs) }, Some(after)) if epochs > after => None,
            (_, Some(after)) => Some(format!("it has ended after epoch {after}")),
            (_, None) => Some("it is done".to_owned()),
        }
    }

    fn refusal_while_open(&self, change: JobChange, steering: &Steering) -> Option<String> {
        let is_running = matches!(self.state, JobState::Running { .. });
        match change {
            JobChange::Resume if steering.wish == Wish::Train && steering.limit.is_none() => {
                Some("it is neither paused nor cancelled, and has no limit".to_owned())
            }
            JobChange::First if is_running => Some("a worker trains it already".to_owned()),
            JobChange::TrainAnew if self.attempts == 0 => Some("nobody has trained it yet".to_owned()),
            JobChange::Pause
            | JobChange::Resume
            | JobChange::Cancel
            | JobChange::StopEarly
            | JobChange::Limit { .. }
            | JobChange::CheckpointEvery { .. }
            | JobChange::Priority { .. }
            | JobChange::First
            | JobChange::TrainAnew => None,
        }
    }

    /// What the record must become, given what is requested of the job. `None` if it stays, also because a worker holds
    /// it, which follows by itself.
    pub fn following(&self, steering: &Steering) -> Option<Self> {
        if let Some(anew) = self.anew(steering.anew_after) {
            return Some(anew);
        }
        match &self.state {
            JobState::Done { stopped_after: Some(epochs), .. }
                if steering.wish == Wish::Train && !steering.ends_after(*epochs) =>
            {
                self.gone_on()
            }
            JobState::Failed { .. } | JobState::Parked { .. } if self.attempts <= steering.retried_after => {
                let note = format!("tried again on request; before, it was {}", self.state.describe());
                Some(self.reopened().with_note(note))
            }
            JobState::Done { .. }
            | JobState::Pending
            | JobState::Running { .. }
            | JobState::Failed { .. }
            | JobState::Parked { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::tests::{running, token};
    use super::*;
    use crate::ids::RequestId;

    fn steering(changes: &[JobChange], attempts: u32) -> Steering {
        let by = RequestId::new(Uuid::nil());
        changes.iter().fold(Steering::default(), |steering, change| steering.changed(*change, by, attempts))
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_reason() {
        let (me, plain) = (token(1, "a"), Steering::default());
        let held = running(&me);
        let done = held.done(&me, None).unwrap();
        let early = held.done(&me, Some(4)).unwrap();
        let refused = |record: &JobRecord, change| record.refusal(change, &plain).unwrap_or_default();
        assert_eq!(refused(&done, JobChange::Pause), "it is done");
        assert_eq!(refused(&done, JobChange::TrainAnew), "");
        assert_eq!(refused(&early, JobChange::Pause), "it has ended after epoch 4");
        assert_eq!(refused(&early, JobChange::Limit { epochs: Some(4) }), "it has ended after epoch 4");
        assert_eq!(refused(&early, JobChange::Limit { epochs: Some(5) }), "");
        assert_eq!(refused(&held, JobChange::First), "a worker trains it already");
        assert_eq!(refused(&JobRecord::pending(), JobChange::TrainAnew), "nobody has trained it yet");
        assert!(refused(&held, JobChange::Resume).contains("neither paused"));
        let paused = steering(&[JobChange::Pause], 1);
        assert_eq!(held.refusal(JobChange::Resume, &paused), None);
    }

    #[test]
    fn a_record_follows_once() {
        let me = token(1, "a");
        let early = running(&me).done(&me, Some(4)).unwrap();
        assert_eq!(early.following(&steering(&[JobChange::StopEarly], 1)), None);
        let on = early.following(&steering(&[JobChange::Limit { epochs: Some(9) }], 1)).unwrap();
        assert_eq!(on.state, JobState::Pending);
        assert_eq!(on.following(&steering(&[JobChange::Limit { epochs: Some(9) }], 1)), None);
        let anew = early.following(&steering(&[JobChange::TrainAnew], 1)).unwrap();
        assert_eq!((&anew.state, anew.checkpoints.len()), (&JobState::Pending, 0));
        assert_eq!(anew.following(&steering(&[JobChange::TrainAnew], 1)), None);
    }

    #[test]
    fn a_job_that_failed_for_good_is_tried_again_once() {
        let failed = JobRecord {
            attempts: 3,
            state: JobState::Failed { reason: "no memory".into() },
            ..JobRecord::pending()
        };
        assert_eq!(failed.refusal(JobChange::Resume, &Steering::default()), None);
        let again = steering(&[JobChange::Resume], 3);
        let open = failed.following(&again).unwrap();
        assert_eq!((&open.state, open.attempts), (&JobState::Pending, 3));
        assert!(open.notes[0].contains("failed: no memory"), "{:?}", open.notes);
        let failed_again = JobRecord { attempts: 4, ..failed };
        assert_eq!(failed_again.following(&again), None);
    }
}
