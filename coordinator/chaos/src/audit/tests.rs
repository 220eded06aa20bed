//! Valid input passes, and every way to tamper with it is found.

use std::time::Duration;

use shared::blob::BlobRef;
use shared::device::DeviceRecord;
use shared::ids::{Attempt, WorkerId};
use shared::job::Inputs;
use shared::log::JobLog;
use shared::metrics::Metrics;
use shared::result::{MODEL, Predictions, TEST, VALIDATION};
use uuid::Uuid;

use super::*;

const JOB: JobId = JobId::new(Uuid::nil());

fn token(attempt: u32, name: &str) -> Token {
    Token { attempt: Attempt(attempt), owner: WorkerId::new(name, Uuid::nil()) }
}

fn blob(sha256: &str) -> BlobRef {
    BlobRef { name: sha256.to_owned(), sha256: sha256.to_owned(), size: 1 }
}

fn digests(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(name, sha256)| ((*name).to_owned(), (*sha256).to_owned())).collect()
}

fn set(sha256: &str) -> Predictions {
    let (probabilities, samples_digest) = (blob(sha256), String::new());
    Predictions { probabilities, samples_digest, samples: None, macro_f1: None }
}

fn result(by: &Token) -> JobResult {
    JobResult {
        v: JobResult::VERSION,
        job: JOB,
        trainer: shared::empty::trainer(),
        inputs: Inputs::default(),
        metrics: Metrics::default(),
        history: Vec::new(),
        best_epoch: None,
        stopped_after: None,
        predictions: [(VALIDATION, "v"), (TEST, "t")]
            .map(|(name, sha256)| (name.to_owned(), set(sha256)))
            .into(),
        artifacts: [(MODEL.to_owned(), blob("m"))].into(),
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
        software: None,
        worker: by.owner.clone(),
        attempt: by.attempt,
        times: None,
        log: JobLog::default(),
        peak_memory: None,
    }
}

fn record(state: JobState, attempts: u32) -> JobRecord {
    JobRecord { state, attempts, ..JobRecord::pending() }
}

fn checkpoint(epoch: u32) -> Checkpoint {
    Checkpoint { epoch, step: 0, blob: blob(&format!("c{epoch}")), origin: None }
}

fn running(by: &Token) -> JobRecord {
    let progress = shared::books::Progress::default();
    record(JobState::Running { token: by.clone(), beat: 0, progress }, by.attempt.0)
}

fn done(by: &Token) -> JobRecord {
    record(JobState::Done { token: by.clone(), stopped_after: None }, by.attempt.0)
}

fn seen(revision: u64, record: JobRecord) -> Observation {
    Observation { at: Duration::from_secs(revision), job: JOB, revision, record }
}

/// A sound run: claimed, lost, taken over, done.
struct Input {
    expected: BTreeMap<JobId, Output>,
    states: BTreeMap<JobId, FinalState>,
    observations: Vec<Observation>,
    damaged: Vec<Damaged>,
}

impl Input {
    fn sound() -> Self {
        let (first, second) = (token(1, "a"), token(2, "b"));
        let output = Output {
            probabilities: digests(&[(VALIDATION, "v"), (TEST, "t")]),
            artifacts: digests(&[(MODEL, "m")]),
        };
        let state = FinalState {
            record: Some(done(&second)),
            result: Some(result(&second)),
            unreadable: None,
            stored: Some(output.clone()),
        };
        let observations = vec![
            seen(1, JobRecord::pending()),
            seen(2, running(&first)),
            seen(3, running(&second)),
            seen(4, done(&second)),
        ];
        Self {
            expected: [(JOB, output)].into(),
            states: [(JOB, state)].into(),
            observations,
            damaged: Vec::new(),
        }
    }

    fn state(&mut self) -> &mut FinalState {
        self.states.get_mut(&JOB).unwrap()
    }

    fn violations(&self) -> Vec<Violation> {
        audit(&self.expected, &self.states, &self.observations, &self.damaged)
    }
}

/// Tampering with a valid run in this way gives exactly one violation, whose text contains `words`.
#[track_caller]
fn tampered(words: &str, tamper: impl FnOnce(&mut Input)) {
    let mut input = Input::sound();
    tamper(&mut input);
    let violations = input.violations();
    assert_eq!(violations.len(), 1, "{words}: {violations:?}");
    assert!(violations[0].what.contains(words), "{words}: {violations:?}");
}

#[test]
fn a_sound_run_passes() {
    assert_eq!(Input::sound().violations(), []);
}

#[test]
fn a_job_that_is_missing_or_open_or_failed_is_found() {
    tampered("no record of it", |input| input.states.clear());
    tampered("not part of the sweep", |input| {
        let state = input.state().clone();
        input.states.insert(JobId::new(Uuid::max()), state);
    });
    let open = |record: JobRecord| {
        move |input: &mut Input| {
            *input.state() = FinalState { record: Some(record), result: None, ..input.state().clone() };
        }
    };
    tampered("not done: pending", open(JobRecord::pending()));
    tampered("not done: running", open(running(&token(1, "a"))));
    tampered("not done: failed", open(record(JobState::Failed { reason: "x".into() }, 1)));
}

#[test]
fn a_result_that_is_lost_unreadable_or_of_another_attempt_is_found() {
    tampered("has no result", |input| input.state().result = None);
    tampered("cannot be read", |input| input.state().unreadable = Some("blob v is damaged".into()));
    tampered("written by a-", |input| input.state().result = Some(result(&token(1, "a"))));
}

#[test]
fn a_result_without_the_move_to_done_is_found() {
    let mut input = Input::sound();
    input.state().record = Some(running(&token(2, "b")));
    let said: Vec<String> = input.violations().into_iter().map(|violation| violation.what).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("not done") && said[1].contains("but is not done"), "{said:?}");
}

fn replace(result: &mut JobResult, name: &str) {
    result.predictions.insert(name.to_owned(), set("x"));
}

#[test]
fn different_bits_are_found_wherever_they_are() {
    let other =
        |change: fn(&mut JobResult)| move |input: &mut Input| change(input.state().result.as_mut().unwrap());
    tampered("validation", other(|result| replace(result, VALIDATION)));
    tampered("test", other(|result| replace(result, TEST)));
    tampered("test", other(|result| drop(result.predictions.remove(TEST))));
    tampered("train", other(|result| replace(result, "train")));
    tampered("model", other(|result| drop(result.artifacts.insert(MODEL.to_owned(), blob("x")))));
    tampered("model", other(|result| result.artifacts.clear()));
    tampered("run folder's files differ", |input| {
        input.state().stored.as_mut().unwrap().artifacts = digests(&[(MODEL, "x")]);
    });
    tampered("missing from the run folder", |input| input.state().stored = None);
}

#[test]
fn a_record_that_goes_back_is_found() {
    tampered("then running", |input| input.observations.push(seen(5, running(&token(3, "c")))));
    tampered("then done", |input| input.observations.push(seen(5, done(&token(3, "c")))));
    tampered("came after", |input| input.observations[3].revision = 3);
    tampered("count of attempts", |input| input.observations[3].record.attempts = 1);
}

#[test]
fn damage_without_a_note_is_found() {
    let damage = |input: &mut Input| {
        let checkpoint = checkpoint(3);
        for observation in &mut input.observations[1..3] {
            observation.record.checkpoints.push(checkpoint.clone());
        }
        input.damaged.push(Damaged { job: JOB, token: token(1, "a"), checkpoint });
    };
    tampered("epoch 3", damage);
    let mut input = Input::sound();
    damage(&mut input);
    input.observations[3].record.notes.push("the checkpoint of epoch 3 is unusable".into());
    assert_eq!(input.violations(), []);
    // The killed worker had a newer one on its disk.
    let mut input = Input::sound();
    damage(&mut input);
    input.observations[2].record.checkpoints.push(checkpoint(4));
    assert_eq!(input.violations(), []);
}
