//! A job that goes on where another one has got to that is trained alike, but for another number of epochs. Pure.

use super::{Checkpoint, JobRecord, Origin, Reported};
use crate::ids::Attempt;
use crate::metrics::Point;

impl JobRecord {
    /// The newest checkpoint of this job from which a training of `epochs` epochs can go on that is otherwise the same.
    pub fn checkpoint_within(&self, epochs: u32) -> Option<&Checkpoint> {
        self.checkpoints.iter().rev().find(|checkpoint| checkpoint.place() <= (epochs, 0))
    }

    /// The record of a new job that goes on from a checkpoint of `origin`. `reports` are those of `origin`.
    pub fn going_on_from(checkpoint: &Checkpoint, origin: Origin, reports: Vec<Point>) -> Self {
        let note = format!(
            "goes on from {checkpoint} of job {}, which is the same but for its number of epochs",
            origin.job
        );
        // The checkpoint of `origin` may itself come from another job: its content names that one.
        let origin = checkpoint.origin.unwrap_or(origin);
        let checkpoint = Checkpoint { origin: Some(origin), ..checkpoint.clone() };
        let mut record = Self::pending();
        record.history.reports = reports
            .into_iter()
            .filter(|point| point.place() <= checkpoint.place())
            .map(|point| Reported { attempt: Attempt(0), point })
            .collect();
        record.checkpoints.push(checkpoint);
        record.with_note(note)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::tests::{running, token};
    use super::*;
    use crate::blob::BlobRef;
    use crate::books::Progress;
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

    #[test]
    fn a_chain_of_jobs_names_the_one_that_made_the_checkpoint() {
        let id = |n| JobId::new(Uuid::from_u128(n));
        let (first, second) = (Origin { job: id(1), epochs: 2 }, Origin { job: id(2), epochs: 4 });
        let record = JobRecord::going_on_from(&checkpoint(2, 0), first, (1..=3).map(point).collect());
        assert_eq!((record.saved_epochs(), record.history.reports.len(), record.attempts), (2, 2, 0));
        assert!(record.notes[0].contains("goes on from epoch 2 of job"), "{:?}", record.notes);
        let next = JobRecord::going_on_from(&record.checkpoints[0], second, Vec::new());
        assert_eq!(next.checkpoints[0].origin, Some(first));
        assert!(next.begun_anew().checkpoints.is_empty());
    }
}
