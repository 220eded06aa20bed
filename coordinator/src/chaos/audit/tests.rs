//! Clean books pass; each way to doctor them is found.

use std::time::Duration;

use shared::ids::{Attempt, WorkerId};
use shared::result::{BlobRef, DeviceRecord, SplitResult};
use uuid::Uuid;

use super::*;

const JOB: JobId = JobId::new(Uuid::nil());

fn token(attempt: u32, name: &str) -> Token {
    Token { attempt: Attempt(attempt), owner: WorkerId::new(name, Uuid::nil()) }
}

fn blob(sha256: &str) -> BlobRef {
    BlobRef { name: sha256.to_owned(), sha256: sha256.to_owned(), size: 1 }
}

fn split(sha256: &str) -> SplitResult {
    SplitResult { probabilities: blob(sha256), samples_digest: String::new(), score: None }
}

fn result(by: &Token) -> JobResult {
    JobResult {
        v: JobResult::VERSION,
        job: JOB,
        dataset_digest: String::new(),
        trainer_revision: 1,
        epochs: Vec::new(),
        best_epoch: 1,
        validation: split("v"),
        test: Some(split("t")),
        model: blob("m"),
        train_seconds: 1.0,
        device: DeviceRecord {
            device: "cpu".into(),
            model: String::new(),
            memory: None,
            uuid: None,
            cpu_capability: String::new(),
            threads: 1,
            host: String::new(),
        },
        worker: by.owner.clone(),
        attempt: by.attempt,
    }
}

fn record(state: JobState, attempts: u32) -> JobRecord {
    JobRecord { state, attempts, ..JobRecord::pending() }
}

fn checkpoint(epoch: u32) -> Checkpoint {
    Checkpoint { epoch, step: 0, blob: blob(&format!("c{epoch}")) }
}

fn running(by: &Token) -> JobRecord {
    let progress = shared::books::Progress::default();
    record(JobState::Running { token: by.clone(), beat: 0, progress }, by.attempt.0)
}

fn done(by: &Token) -> JobRecord {
    record(JobState::Done { token: by.clone() }, by.attempt.0)
}

fn seen(revision: u64, record: JobRecord) -> Sighting {
    Sighting { at: Duration::from_secs(revision), job: JOB, revision, record }
}

/// A play in order: claimed, lost, taken over, done.
struct Play {
    expected: BTreeMap<JobId, Output>,
    books: BTreeMap<JobId, Page>,
    sightings: Vec<Sighting>,
    damaged: Vec<Damaged>,
}

impl Play {
    fn clean() -> Self {
        let (first, second) = (token(1, "a"), token(2, "b"));
        let output = Output { validation: "v".into(), test: Some("t".into()), model: "m".into() };
        let page = Page {
            record: Some(done(&second)),
            result: Some(result(&second)),
            damaged: None,
            stored: Some(output.clone()),
        };
        let sightings = vec![
            seen(1, JobRecord::pending()),
            seen(2, running(&first)),
            seen(3, running(&second)),
            seen(4, done(&second)),
        ];
        Self { expected: [(JOB, output)].into(), books: [(JOB, page)].into(), sightings, damaged: Vec::new() }
    }

    fn page(&mut self) -> &mut Page {
        self.books.get_mut(&JOB).unwrap()
    }

    fn violations(&self) -> Vec<Violation> {
        audit(&self.expected, &self.books, &self.sightings, &self.damaged)
    }
}

/// Doctoring clean books in this way leads to exactly one violation, which says `words`.
fn doctored(words: &str, doctor: impl FnOnce(&mut Play)) {
    let mut play = Play::clean();
    doctor(&mut play);
    let violations = play.violations();
    assert_eq!(violations.len(), 1, "{words}: {violations:?}");
    assert!(violations[0].what.contains(words), "{words}: {violations:?}");
}

#[test]
fn clean_books_pass() {
    assert_eq!(Play::clean().violations(), []);
}

#[test]
fn a_job_that_is_missing_or_open_or_failed_is_found() {
    doctored("do not know", |play| play.books.clear());
    doctored("does not ask", |play| {
        let page = play.page().clone();
        play.books.insert(JobId::new(Uuid::max()), page);
    });
    let open = |record: JobRecord| {
        move |play: &mut Play| {
            *play.page() = Page { record: Some(record), result: None, ..play.page().clone() };
        }
    };
    doctored("not done: pending", open(JobRecord::pending()));
    doctored("not done: running", open(running(&token(1, "a"))));
    doctored("not done: failed", open(record(JobState::Failed { reason: "x".into() }, 1)));
}

#[test]
fn a_result_that_is_lost_unreadable_or_of_another_attempt_is_found() {
    doctored("without a result", |play| play.page().result = None);
    doctored("cannot be read", |play| play.page().damaged = Some("blob v is damaged".into()));
    doctored("is that of a-", |play| play.page().result = Some(result(&token(1, "a"))));
}

#[test]
fn a_result_without_the_move_to_done_is_found() {
    let mut play = Play::clean();
    play.page().record = Some(running(&token(2, "b")));
    let said: Vec<String> = play.violations().into_iter().map(|violation| violation.what).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("not done") && said[1].contains("without being done"), "{said:?}");
}

#[test]
fn other_bits_are_found_wherever_they_are() {
    let other =
        |change: fn(&mut JobResult)| move |play: &mut Play| change(play.page().result.as_mut().unwrap());
    doctored("validation", other(|result| result.validation = split("x")));
    doctored("test", other(|result| result.test = Some(split("x"))));
    doctored("test", other(|result| result.test = None));
    doctored("model", other(|result| result.model = blob("x")));
    doctored("run folder holds other", |play| play.page().stored.as_mut().unwrap().model = "x".into());
    doctored("run folder does not", |play| play.page().stored = None);
}

#[test]
fn a_record_that_goes_back_is_found() {
    doctored("and then running", |play| play.sightings.push(seen(5, running(&token(3, "c")))));
    doctored("and then done", |play| play.sightings.push(seen(5, done(&token(3, "c")))));
    doctored("came after", |play| play.sightings[3].revision = 3);
    doctored("attempts after", |play| play.sightings[3].record.attempts = 1);
}

#[test]
fn damage_that_nobody_mentions_is_found() {
    let damage = |play: &mut Play| {
        let checkpoint = checkpoint(3);
        for sighting in &mut play.sightings[1..3] {
            sighting.record.checkpoints.push(checkpoint.clone());
        }
        play.damaged.push(Damaged { job: JOB, token: token(1, "a"), checkpoint });
    };
    doctored("epoch 3", damage);
    let mut play = Play::clean();
    damage(&mut play);
    play.sightings[3].record.notes.push("the checkpoint of epoch 3 is unusable".into());
    assert_eq!(play.violations(), []);
    // The worker that was killed had a newer one on its own disk.
    let mut play = Play::clean();
    damage(&mut play);
    play.sightings[2].record.checkpoints.push(checkpoint(4));
    assert_eq!(play.violations(), []);
}
