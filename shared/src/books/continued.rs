//! A job that goes on where another one has got to that is trained alike, but for another number of epochs. Pure.

use super::{Checkpoint, History, JobRecord, JobState, Origin};
use crate::ids::Attempt;
use crate::metrics::Point;

impl JobRecord {
    /// The newest checkpoint of this job from which a training of `epochs` epochs can go on that is otherwise the same.
    pub fn checkpoint_within(&self, epochs: u32) -> Option<&Checkpoint> {
        self.checkpoints.iter().rev().find(|checkpoint| checkpoint.place() <= (epochs, 0))
    }

    /// Whether other records may name the checkpoint of this job, too: it never gets a newer one. Those of a job that may
    /// train on are deleted when it has newer ones, so others need copies.
    pub fn lends_checkpoints(&self) -> bool {
        match &self.state {
            JobState::Done { stopped_after, .. } => stopped_after.is_none(),
            JobState::Pending
            | JobState::Running { .. }
            | JobState::Failed { .. }
            | JobState::Parked { .. } => false,
        }
    }

    /// Whether nobody has worked on the job yet, and it goes on from no other one.
    pub fn is_untouched(&self) -> bool {
        self.state == JobState::Pending && self.attempts == 0 && self.checkpoints.is_empty()
    }

    /// The record of a new job that goes on from a checkpoint of `origin`, which has `told` this. Like any record, it keeps
    /// the newest reports only.
    pub fn going_on_from(checkpoint: &Checkpoint, origin: Origin, told: History) -> Self {
        let note = format!(
            "goes on from {checkpoint} of job {}, which is the same but for its number of epochs",
            origin.job
        );
        // The checkpoint of `origin` may itself come from another job: its content names that one.
        let origin = checkpoint.origin.unwrap_or(origin);
        let checkpoint = Checkpoint { origin: Some(origin), ..checkpoint.clone() };
        let points = told.reports.into_iter().map(|reported| reported.point);
        let points: Vec<Point> = points.filter(|point| point.place() <= checkpoint.place()).collect();
        let mut record = Self::pending();
        record.history.dropped = told.dropped;
        record.checkpoints.push(checkpoint);
        record.reported(Attempt(0), points).with_note(note)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::tests::{running, token};
    use super::*;
    use crate::blob::BlobRef;
    use crate::books::{MOST_REPORTS, Progress};
    use crate::ids::JobId;
    use crate::metrics::Metrics;

    fn checkpoint(epoch: u32, step: u32) -> Checkpoint {
        let blob = BlobRef { name: format!("c{epoch}"), sha256: String::new(), size: 1 };
        Checkpoint { epoch, step, blob, origin: None }
    }

    fn point(epoch: u32) -> Point {
        Point { epoch, step: 0, seconds: 1.0, metrics: Metrics::default().with("score", 1.0) }
    }

    #[test]
    fn the_newest_checkpoint_that_is_not_too_new_is_gone_on_from() {
        let me = token(1, "a");
        let held =
            [checkpoint(3, 0), checkpoint(3, 7)].into_iter().fold(running(&me), |record, checkpoint| {
                record.checkpointed(&me, checkpoint, Progress::default()).unwrap()
            });
        let place = |epochs| held.checkpoint_within(epochs).map(Checkpoint::place);
        assert_eq!([2, 3, 4].map(place), [None, Some((3, 0)), Some((3, 7))]);
    }

    fn told(epochs: u32) -> History {
        History::of(Attempt(3), (1..=epochs).map(point).collect())
    }

    #[test]
    fn a_long_history_makes_no_large_record() {
        let origin = Origin { job: JobId::new(Uuid::from_u128(1)), epochs: 15_000 };
        let record = JobRecord::going_on_from(&checkpoint(15_000, 0), origin, told(15_000));
        let History { dropped, reports, .. } = &record.history;
        assert_eq!((reports.len(), *dropped as usize), (MOST_REPORTS, 15_000 - MOST_REPORTS));
        assert_eq!(reports.last().map(|last| (last.attempt, last.point.epoch)), Some((Attempt(0), 15_000)));
        let next = JobRecord::going_on_from(&checkpoint(15_000, 0), origin, record.history.clone());
        assert_eq!(next.history, record.history, "what was dropped before is still known to be missing");
    }

    #[test]
    fn a_chain_of_jobs_names_the_one_that_made_the_checkpoint() {
        let id = |n| JobId::new(Uuid::from_u128(n));
        let (first, second) = (Origin { job: id(1), epochs: 2 }, Origin { job: id(2), epochs: 4 });
        let record = JobRecord::going_on_from(&checkpoint(2, 0), first, told(3));
        assert_eq!((record.saved_epochs(), record.history.reports.len(), record.attempts), (2, 2, 0));
        assert!(record.notes[0].contains("goes on from epoch 2 of job"), "{:?}", record.notes);
        let next = JobRecord::going_on_from(&record.checkpoints[0], second, History::default());
        assert_eq!(next.checkpoints[0].origin, Some(first));
        assert!(JobRecord::pending().is_untouched() && !next.is_untouched());
        assert!(next.begun_anew().checkpoints.is_empty());
    }
}
