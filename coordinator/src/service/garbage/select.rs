//! What in the store nothing refers to any more. Pure.
//!
//! Kept: of a job in flight its last two checkpoints, of a finished one its best model and its probabilities, every pack
//! and every file of weights. All else is garbage once it is old: an upload whose uploader died, a checkpoint that fell
//! out while no coordinator looked, a result that came too late.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::bus::{Bucket, Inventory};

/// What is younger may belong to a write that is still on its way.
const OLD: Duration = Duration::from_hours(1);

/// What the books name, by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Checkpoints of all records.
    pub(super) checkpoints: BTreeSet<String>,
    /// Blobs of all results and plans.
    pub(super) results: BTreeSet<String>,
    /// Ids of the jobs that have a result, as they begin the names of their blobs.
    pub(super) done: BTreeSet<String>,
}

/// What may go from a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Garbage {
    pub(super) objects: Vec<String>,
    pub(super) uploads: Vec<String>,
}

/// Chooses from `inventory`, taken at `now` (server time in nanoseconds since the Unix epoch).
pub(super) fn select(bucket: Bucket, inventory: &Inventory, named: &Named, now: i128) -> Garbage {
    let old = |written: i128| now - written >= OLD.as_nanos() as i128;
    let unnamed = |name: &String| match bucket {
        Bucket::Checkpoints => !named.checkpoints.contains(name),
        // Blobs of a job without a result may yet be named by one; those of the others never.
        Bucket::Results => {
            let job = name.split('.').next().unwrap_or_default();
            named.done.contains(job) && !named.results.contains(name)
        }
        Bucket::Packs | Bucket::Weights => false,
    };
    let objects = inventory.objects.iter().filter(|object| old(object.written_nanos));
    let uploads = inventory.uploads.iter().filter(|upload| old(upload.written_nanos));
    Garbage {
        objects: objects.map(|object| object.name.clone()).filter(|name| unnamed(name)).collect(),
        uploads: uploads.map(|upload| upload.id.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use shared::bus::{Stored, Upload};

    use super::*;

    const HOUR: i128 = 3_600_000_000_000;

    fn inventory() -> Inventory {
        let stored =
            |name: &str, hours: i128| Stored { name: name.into(), size: 1, written_nanos: hours * HOUR };
        let upload = |id: &str, hours: i128| Upload { id: id.into(), written_nanos: hours * HOUR };
        Inventory {
            bytes: 0,
            objects: vec![stored("a.1.x", 0), stored("a.2.x", 0), stored("b.model.x", 0), stored("b.1.x", 9)],
            uploads: vec![upload("dead", 0), upload("going-on", 9)],
        }
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_named_or_young_stays() {
        let named = Named { checkpoints: set(&["a.2.x"]), ..Named::default() };
        let garbage = select(Bucket::Checkpoints, &inventory(), &named, 9 * HOUR + HOUR / 2);
        assert_eq!(garbage.objects, ["a.1.x", "b.model.x"]);
        assert_eq!(garbage.uploads, ["dead"]);
    }

    #[test]
    fn results_go_only_when_their_job_has_another() {
        let named = Named { results: set(&["b.model.y"]), done: set(&["b"]), ..Named::default() };
        let garbage = select(Bucket::Results, &inventory(), &named, 9 * HOUR);
        assert_eq!(garbage.objects, ["b.model.x"], "job a may yet be committed with its blobs");
    }

    #[test]
    fn packs_and_weights_stay_and_a_clock_that_leapt_back_makes_nothing_old() {
        for bucket in [Bucket::Packs, Bucket::Weights] {
            assert!(select(bucket, &inventory(), &Named::default(), 99 * HOUR).objects.is_empty());
        }
        let leapt = select(Bucket::Checkpoints, &inventory(), &Named::default(), -5 * HOUR);
        assert_eq!(leapt, Garbage::default());
    }
}
