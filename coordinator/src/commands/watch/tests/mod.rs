//! Tests of the screen: what it shows, and what keys do.

mod keys;
mod screens;
mod told;

use std::collections::BTreeMap;

use serde_json::json;
use shared::books::{Checkpoint, History, JobRecord, JobState, LogTail, Progress, Reported, Token};
use shared::bus::{BookEntry, Change, Fed};
use shared::device::DeviceRecord;
use shared::ids::{Attempt, JobId, RequestId, WorkerId};
use shared::job::Inputs;
use shared::log::JobLog;
use shared::metrics::{Metrics, Point};
use shared::protocol::{CheckpointEvery, Drains, JobChange, Presence, Priority, Readiness, SweepRecord};
use shared::result::JobResult;
use shared::trainer::TrainerKind;
use uuid::Uuid;

use super::message::{Action, Key, Message};
use super::model::{Model, Rights};
use orchestrator::sweep::plan::{EnsembleRule, Filter, Plan, PlannedJob, Query, Requested};

const SECOND: i128 = 1_000_000_000;
const EPOCHS: u32 = 12;

fn id(n: usize) -> JobId {
    JobId::new(Uuid::from_u128((n as u128 + 1) << 96))
}

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name, Uuid::nil())
}

/// A sweep of so many jobs of the empty trainer, half of them in each of two groups.
fn plan(jobs: usize) -> Plan {
    let job = |n: usize| {
        let settings = json!({
            "seed": n / 2, "epochs": EPOCHS, "epoch_ms": 1000, "gain": 1.0, "fail_in_epoch": null, "classes": 0,
            "samples": 8,
        });
        let (serde_json::Value::Object(settings), serde_json::Value::Object(params)) =
            (settings, json!({ "seed": n / 2 }))
        else {
            panic!("both are objects")
        };
        let group = if n.is_multiple_of(2) { "weak" } else { "strong" };
        PlannedJob {
            id: id(n),
            group: group.to_owned(),
            also_in: Vec::new(),
            params: params.into(),
            settings: settings.into(),
        }
    };
    let weak = Filter::from([("group".to_owned(), vec![json!("weak")])]);
    let ensemble = |name: &str, query| EnsembleRule {
        name: name.to_owned(),
        members: vec![query],
        size: 2,
        paper: None,
    };
    let mut all = Vec::new();
    (0..jobs).for_each(|n| job(n).append_to(&mut all));
    Plan {
        name: "demo".to_owned(),
        trainer: shared::empty::trainer(),
        ranking: shared::empty::Empty.ranking(),
        dataset: None,
        dataset_digest: None,
        checkpoint_every: CheckpointEvery::default(),
        keep_checkpoints: true,
        priority: Priority::NORMAL,
        jobs: all,
        ensembles: vec![
            ensemble("Weak", Query::All { filter: weak.clone() }),
            ensemble("Best two", Query::Top { k: 2, filter: Filter::new() }),
        ],
        tables: Vec::new(),
        weights: Vec::new(),
        requested: Requested::default(),
        notes: Vec::new(),
    }
}

fn point(epoch: u32) -> Point {
    let value = f64::from(epoch);
    let metrics = Metrics::default().with("score", value).with("loss", 2.0 / value);
    Point { epoch, step: 0, seconds: 1.0, metrics }
}

/// A job that has reported so many epochs, and is in this state.
fn record(state: JobState, epochs: u32) -> JobRecord {
    let attempt = Attempt(1);
    let reports = (1..=epochs).map(|epoch| Reported { attempt, point: point(epoch) }).collect();
    let lines: Vec<String> = (1..=epochs).map(|epoch| format!("epoch {epoch} took 1.0 s")).collect();
    let log = (!lines.is_empty()).then(|| LogTail::of(attempt, 0, &lines));
    JobRecord {
        state,
        attempts: 1,
        saved_score: (epochs > 0).then(|| f64::from(epochs)),
        checkpoints: (epochs > 0)
            .then(|| serde_json::from_value::<Checkpoint>(checkpoint(epochs)).unwrap())
            .into_iter()
            .collect(),
        history: History { dropped: 0, reports, log },
        ..JobRecord::pending()
    }
}

fn checkpoint(epoch: u32) -> serde_json::Value {
    let digest = "a".repeat(64);
    json!({ "epoch": epoch, "blob": { "name": "c", "sha256": digest, "size": 1 } })
}

fn token(name: &str) -> Token {
    Token { attempt: Attempt(1), owner: worker(name) }
}

fn running(name: &str, epochs: u32) -> JobRecord {
    let progress = Progress { epoch: epochs, score: Some(f64::from(epochs)), epoch_seconds: Some(1.0) };
    record(JobState::Running { token: token(name), beat: 1, progress }, epochs)
}

fn failed(epochs: u32) -> JobRecord {
    record(JobState::Failed { reason: "failed 3 times: out of memory".to_owned() }, epochs)
}

fn done(name: &str) -> JobRecord {
    let log = record(JobState::Pending, EPOCHS).history.log;
    let history = History { log, ..History::default() };
    JobRecord { history, ..record(JobState::Done { token: token(name), stopped_after: None }, 0) }
}

fn result(n: usize, name: &str, score: f64) -> JobResult {
    JobResult {
        v: JobResult::VERSION,
        job: id(n),
        trainer: shared::empty::trainer(),
        inputs: Inputs::default(),
        metrics: Metrics::default().with("score", score),
        history: (1..=EPOCHS).map(point).collect(),
        best_epoch: None,
        stopped_after: None,
        predictions: BTreeMap::default(),
        artifacts: BTreeMap::default(),
        train_seconds: 12.0,
        device: device(name),
        software: None,
        worker: worker(name),
        attempt: Attempt(1),
        times: None,
        log: JobLog::default(),
        peak_memory: None,
    }
}

fn device(host: &str) -> DeviceRecord {
    DeviceRecord {
        device: "cpu".to_owned(),
        model: String::new(),
        memory: None,
        uuid: None,
        cpu_capability: String::new(),
        threads: 1,
        host: host.to_owned(),
    }
}

/// A screen, and what was told so far.
struct World {
    model: Model,
    revision: u64,
}

impl World {
    /// A sweep of so many jobs, of which nothing is known but the plan.
    fn of(jobs: usize) -> Self {
        let mut model = Model::new(plan(jobs), "nats://head:4222".to_owned(), Rights::Steer, 0);
        let entered = SweepRecord {
            v: SweepRecord::VERSION,
            name: "demo".to_owned(),
            plan: shared::blob::BlobRef::of("plan.demo", b"{}"),
            generation: 0,
            changed_by: None,
        };
        let fed = Fed { revision: 1, written_nanos: 0, change: Change::Sweep(entered) };
        model.update(Message::Book(Box::new(fed)));
        Self { model, revision: 1 }
    }

    /// Sixteen jobs in all states, and four workers.
    fn busy() -> Self {
        let mut world = Self::of(16);
        for n in 0..16 {
            let record = match n {
                0 => Some(running("cpu0", 7)),
                1 => Some(running("cpu1", 3)),
                2 => Some(running("node7-gpu0", 1)),
                3..=5 => Some(done("cpu0")),
                6 => Some(failed(2)),
                _ => None,
            };
            if (3..6).contains(&n) {
                world.result(result(n, "cpu0", 50.0 + n as f64));
            }
            world.record(n, record.unwrap_or_else(JobRecord::pending));
        }
        world.steer(8, JobChange::First);
        world.steer(9, JobChange::Pause);
        world.steer(10, JobChange::Cancel);
        world.present();
        world.model.update(Message::Tick(std::time::Duration::from_secs(75)));
        world
    }

    fn book(&mut self, change: Change) -> Vec<Action> {
        self.revision += 1;
        let fed = Fed { revision: self.revision, written_nanos: 60 * SECOND, change };
        self.model.update(Message::Book(Box::new(fed)))
    }

    fn record(&mut self, n: usize, record: JobRecord) -> Vec<Action> {
        let (revision, written_nanos) = (self.revision + 1, 60 * SECOND);
        let entry = BookEntry { job: id(n), record, revision, written_nanos };
        self.book(Change::Record(Box::new(entry)))
    }

    fn result(&mut self, result: JobResult) {
        self.book(Change::Result(Box::new(result)));
    }

    fn steer(&mut self, n: usize, change: JobChange) {
        let place = self.model.jobs.place(id(n)).unwrap();
        let steering = self.model.jobs.get(place).steering.changed(change, RequestId::new(Uuid::nil()), 1);
        self.model.update(Message::Steered([(id(n), steering)].into()));
    }

    /// The server answers, and four workers are there.
    fn present(&mut self) {
        let present = |name: &str, host: &str, device: &str, job: Option<usize>| Presence {
            worker: worker(name),
            host: host.to_owned(),
            device: device.to_owned(),
            job: job.map(id),
            trainers: Vec::new(),
            readiness: Readiness::Ready,
        };
        let workers = vec![
            present("cpu0", "head", "cpu", Some(0)),
            present("cpu1", "head", "cpu", Some(1)),
            present("node7-gpu0", "node7", "cuda:0, NVIDIA H200", Some(2)),
            present("node7-gpu1", "node7", "cuda:1, NVIDIA H200", None),
        ];
        self.model.update(Message::Present { workers, drains: Drains::default() });
    }

    fn press(&mut self, key: Key) -> Vec<Action> {
        self.model.update(Message::Key(key))
    }

    /// Types these characters, with `⏎` for Enter.
    fn type_in(&mut self, text: &str) -> Vec<Action> {
        let key = |c| if c == '⏎' { Key::Enter } else { Key::Char(c) };
        text.chars().flat_map(|c| self.press(key(c))).collect()
    }
}
