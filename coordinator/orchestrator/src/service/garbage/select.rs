//! Selects what nothing in the store refers to any more. Pure.
//!
//! What is kept: every checkpoint that a record names, which are the last two of a job that is not done and the last one
//! of a finished one, unless its sweep keeps none; the model and the probabilities of a finished one; the plan of each
//! sweep and those to be added to one; every pack and every file of weights. Everything else is garbage once it is old: an
//! upload whose uploader died, a checkpoint that was replaced while no coordinator ran, a result that came too late, an
//! earlier plan of a sweep, and what is left of a removed job.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::bus::{Bucket, Inventory, Stored, Upload};
use shared::ids::JobId;

/// The ages below which nothing is garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// For an upload: the time since its last bytes arrived.
    pub uploads: Duration,
    /// For a blob, because the reference to it may not be written yet.
    pub blobs: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self { uploads: Duration::from_mins(10), blobs: Duration::from_hours(1) }
    }
}

/// What the books refer to, by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Checkpoints of all records.
    pub(super) checkpoints: BTreeSet<String>,
    /// Blobs of all results and plans.
    pub(super) results: BTreeSet<String>,
    /// Jobs that have a record.
    pub(super) jobs: BTreeSet<JobId>,
    /// Jobs that have a result.
    pub(super) done: BTreeSet<JobId>,
}

/// What a blob belongs to, by the beginning of its name.
enum Owner {
    Job(JobId),
    Plan,
    Unknown,
}

impl Owner {
    fn of(blob: &str) -> Self {
        match blob.split('.').next().unwrap_or_default() {
            "plan" => Self::Plan,
            start => start.parse().map_or(Self::Unknown, Self::Job),
        }
    }
}

/// The garbage among the blobs of `inventory`, taken at `now` (server time in nanoseconds since the Unix epoch).
pub(super) fn unused_blobs<'a>(
    bucket: Bucket,
    inventory: &'a Inventory,
    named: &'a Named,
    now: i128,
    age: Duration,
) -> impl Iterator<Item = &'a Stored> {
    let unused = move |blob: &&Stored| match bucket {
        Bucket::Checkpoints => !named.checkpoints.contains(&blob.name),
        Bucket::Results => {
            let unneeded = match Owner::of(&blob.name) {
                // A later result may refer to blobs of a job that has none yet. Nothing can refer to the others.
                Owner::Job(job) => named.done.contains(&job) || !named.jobs.contains(&job),
                Owner::Plan => true,
                Owner::Unknown => false,
            };
            unneeded && !named.results.contains(&blob.name)
        }
        Bucket::Packs | Bucket::Weights => false,
    };
    inventory.objects.iter().filter(move |blob| is_old(blob.written_nanos, now, age)).filter(unused)
}

/// Uploads that nobody continues.
pub(super) fn abandoned_uploads(
    inventory: &Inventory,
    now: i128,
    age: Duration,
) -> impl Iterator<Item = &Upload> {
    inventory.uploads.iter().filter(move |upload| is_old(upload.written_nanos, now, age))
}

fn is_old(written: i128, now: i128, age: Duration) -> bool {
    now - written >= i128::try_from(age.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i128 = 3_600_000_000_000;
    const MINUTE: i128 = HOUR / 60;

    fn job(number: u128) -> JobId {
        JobId::new(uuid::Uuid::from_u128(number))
    }

    fn stored(name: &str, written_nanos: i128) -> Stored {
        Stored { name: name.into(), size: 1, written_nanos }
    }

    fn unused(bucket: Bucket, objects: Vec<Stored>, named: &Named, now: i128) -> Vec<String> {
        let inventory = Inventory { objects, ..Inventory::default() };
        let found = unused_blobs(bucket, &inventory, named, now, Ages::default().blobs);
        found.map(|blob| blob.name.clone()).collect()
    }

    #[test]
    fn checkpoints_that_are_named_or_young_stay() {
        let named = Named { checkpoints: ["named".to_owned()].into(), ..Named::default() };
        let objects = vec![stored("named", 0), stored("old", 0), stored("young", HOUR)];
        assert_eq!(unused(Bucket::Checkpoints, objects, &named, HOUR + MINUTE), ["old"]);
    }

    #[test]
    fn results_go_when_their_job_has_another_or_is_gone() {
        let name = |number: u128, rest: &str| format!("{}.{rest}", job(number));
        let named = Named {
            results: [name(1, "model.y"), "plan.demo.2".to_owned()].into(),
            jobs: [job(1), job(2)].into(),
            done: [job(1)].into(),
            ..Named::default()
        };
        let kept = [name(1, "model.y"), name(2, "model.x"), "plan.demo.2".to_owned(), "unknown.x".to_owned()];
        let gone = [name(1, "model.x"), name(3, "model.x"), "plan.demo.1".to_owned()];
        let objects = kept.iter().chain(&gone).map(|name| stored(name, 0)).collect();
        assert_eq!(unused(Bucket::Results, objects, &named, HOUR), gone, "job 2 may still be committed");
    }

    /// Case 33: an upload that nobody has continued for ten minutes.
    #[test]
    fn uploads_are_abandoned_by_their_age_alone() {
        let upload = |id: &str, written_nanos| Upload { id: id.into(), size: 1, written_nanos };
        let uploads = vec![upload("dead", 0), upload("going on", 5 * MINUTE)];
        let inventory = Inventory { uploads, ..Inventory::default() };
        let at = |now| -> Vec<&str> {
            abandoned_uploads(&inventory, now, Ages::default().uploads)
                .map(|upload| upload.id.as_str())
                .collect()
        };
        assert_eq!(at(10 * MINUTE), ["dead"]);
        assert_eq!(at(15 * MINUTE), ["dead", "going on"]);
        assert_eq!(at(-5 * HOUR), [""; 0], "the server's clock was set back");
    }

    #[test]
    fn packs_and_weights_stay_and_a_clock_that_was_set_back_makes_nothing_old() {
        for bucket in [Bucket::Packs, Bucket::Weights] {
            assert_eq!(unused(bucket, vec![stored("x", 0)], &Named::default(), 99 * HOUR), [""; 0]);
        }
        assert_eq!(unused(Bucket::Checkpoints, vec![stored("x", 0)], &Named::default(), -5 * HOUR), [""; 0]);
    }
}
