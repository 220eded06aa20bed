//! Which workers are drained, by what happened to their jobs.

use std::time::Duration;

use shared::blob::BlobRef;
use shared::books::{Checkpoint, Claim, Progress};
use shared::ids::WorkerId;
use uuid::Uuid;

use super::*;

/// The records of a few jobs, and the standings that follow from them.
#[derive(Default)]
struct TestBooks {
    health: WorkerHealth,
    records: BTreeMap<JobId, JobRecord>,
    revision: u64,
    changes: Vec<(String, Standing)>,
}

fn job(n: u128) -> JobId {
    JobId::new(Uuid::from_u128(n))
}

impl TestBooks {
    fn record(&self, n: u128) -> JobRecord {
        self.records.get(&job(n)).cloned().unwrap_or_else(JobRecord::pending)
    }

    fn book(&mut self, n: u128, record: JobRecord) {
        self.revision += 1;
        let before = self.records.get(&job(n));
        self.changes.extend(self.health.record_changed(job(n), self.revision, before, &record));
        self.records.insert(job(n), record);
    }

    fn take(&mut self, n: u128, worker: &str) -> Token {
        let life = u128::from(self.revision) << 96; // The first 32 bits tell lives apart.
        let me = WorkerId::new(worker, Uuid::from_u128(life));
        let silent = Duration::from_mins(1);
        let Claim::Take { token, record } = self.record(n).claim(&me, silent, silent) else {
            panic!("not taken")
        };
        self.book(n, record);
        token
    }

    fn fail(&mut self, n: u128, worker: &str) {
        let token = self.take(n, worker);
        let failed = self.record(n).failed(&token, "no memory", &[], self.revision).unwrap();
        self.book(n, failed);
    }

    fn epoch(&mut self, n: u128, worker: &str) -> Token {
        let token = self.take(n, worker);
        let record = self.record(n);
        let epoch = record.saved_epochs() + 1;
        let blob = BlobRef { name: "c".into(), sha256: String::new(), size: 1 };
        let progress = Progress { epoch, score: Some(40.0), ..Progress::default() };
        let next =
            record.checkpointed(&token, Checkpoint { epoch, step: 0, blob, origin: None }, progress).unwrap();
        self.book(n, next);
        token
    }

    fn finish(&mut self, n: u128, worker: &str) {
        let token = self.epoch(n, worker);
        let done = self.record(n).done(&token, None).unwrap();
        self.book(n, done);
    }

    fn of(&self, worker: &str) -> &Standing {
        self.health.histories.get(worker).map_or(&Standing::Trusted, |history| &history.standing)
    }
}

#[test]
fn a_worker_on_which_different_jobs_fail_that_go_on_elsewhere_is_drained() {
    let mut books = TestBooks::default();
    books.fail(1, "bad");
    assert_eq!(*books.of("bad"), Standing::Trusted, "one job tells nothing");
    books.fail(2, "bad");
    assert!(matches!(books.of("bad"), Standing::Probation { incidents } if incidents.len() == 2));
    books.epoch(1, "good");
    assert!(matches!(books.of("bad"), Standing::Probation { .. }));
    books.epoch(2, "good");
    assert!(matches!(books.of("bad"), Standing::Drained { incidents } if incidents.len() == 2));
    assert_eq!(books.health.out(), BTreeSet::from(["bad".to_owned()]));
    assert_eq!(books.changes.len(), 2, "each change is told once");
    assert_eq!(books.health.unwritten().len(), 1);
    let standing = books.of("bad").clone();
    books.health.standing_changed(books.revision + 1, &WorkerRecord::new("bad", standing));
    assert_eq!(books.health.unwritten(), []);
    books.revision += 1;
    let trusted = WorkerRecord::new("bad", Standing::Trusted);
    books.health.standing_changed(books.revision, &trusted);
    assert_eq!(books.health.unwritten().len(), 1, "another coordinator does not know why it was drained");
    let trusted = WorkerRecord { by: Some("ada".to_owned()), ..trusted };
    books.health.standing_changed(books.revision, &trusted);
    assert_eq!((books.of("bad"), books.health.unwritten()), (&Standing::Trusted, vec![]));
    books.epoch(1, "good");
    assert_eq!(*books.of("bad"), Standing::Trusted, "what it did before counts no more");
    books.fail(3, "bad");
    books.fail(4, "bad");
    assert!(matches!(books.of("bad"), Standing::Probation { .. }), "what it does now does");
}

#[test]
fn jobs_that_fail_everywhere_drain_nobody() {
    let mut books = TestBooks::default();
    for n in 1..=2 {
        books.fail(n, "a");
    }
    assert!(matches!(books.of("a"), Standing::Probation { .. }));
    for n in 1..=2 {
        books.fail(n, "b");
        assert!(matches!(books.record(n).state, JobState::Parked { .. }));
    }
    assert_eq!((books.of("a"), books.of("b")), (&Standing::Trusted, &Standing::Trusted));
    books.fail(3, "a");
    assert_eq!(*books.of("a"), Standing::Trusted, "what was dismissed does not count again");
}

#[test]
fn a_finished_job_drops_all_charges() {
    let mut books = TestBooks::default();
    books.fail(1, "a");
    books.finish(2, "a");
    books.epoch(1, "b");
    books.fail(3, "a");
    books.epoch(3, "b");
    assert_eq!(*books.of("a"), Standing::Trusted);
}

#[test]
fn repeating_what_was_already_done_proves_nothing() {
    let mut books = TestBooks::default();
    for n in 1..=2 {
        books.epoch(n, "a");
        books.fail(n, "a");
        let lost = JobRecord { checkpoints: Vec::new(), ..books.record(n) };
        books.book(n, lost); // Its checkpoint was damaged.
        books.epoch(n, "b");
    }
    assert!(matches!(books.of("a"), Standing::Probation { .. }), "epoch 1 went well on both");
}

#[test]
fn a_worker_that_dies_at_once_is_drained_later_than_one_that_fails() {
    let mut books = TestBooks::default();
    for n in 1..=3 {
        books.take(n, "bad");
        books.take(n, "good"); // The owner was silent for a lease.
        books.epoch(n, "good");
        let drained = matches!(books.of("bad"), Standing::Drained { .. });
        assert_eq!(drained, n == 3, "after {n} jobs");
    }
    let mut books = TestBooks::default();
    for n in 1..=3 {
        books.take(n, "sometimes off");
        books.epoch(n, "good");
        books.epoch(10 + n, "sometimes off");
    }
    assert_eq!(*books.of("sometimes-off"), Standing::Trusted, "it finishes epochs in between");
}

#[test]
fn a_death_is_one_incident_however_many_jobs_it_cost() {
    let mut books = TestBooks::default();
    let (me, silent) = (WorkerId::new("quick", Uuid::nil()), Duration::from_mins(1));
    for n in 1..=5 {
        let Claim::Take { record, .. } = books.record(n).claim(&me, silent, silent) else {
            panic!("not taken")
        };
        books.book(n, record);
    }
    for n in 1..=5 {
        books.epoch(n, "good");
    }
    assert_eq!(*books.of("quick"), Standing::Trusted);
    assert_eq!(books.health.histories["quick"].incidents.len(), 1);
}

#[test]
fn a_worker_that_takes_itself_out_is_believed_and_may_come_back() {
    let mut health = WorkerHealth::default();
    health.standing_changed(1, &WorkerRecord::new("a", Standing::Unfit { reason: "no GPU".into() }));
    assert_eq!(health.out().len(), 1);
    assert_eq!(health.unwritten(), []);
    health.standing_changed(2, &WorkerRecord::new("a", Standing::Trusted));
    assert!(health.out().is_empty());
}
