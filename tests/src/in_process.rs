//! Workers in the test's own process, and sweeps of trainers that the programs themselves do not know.

use std::path::{Path, PathBuf};

use orchestrator::sweep::plan::{Plan, PlannedJob, Requested};
use serde_json::Value;
use shared::bus::Bus;
use shared::device::DeviceRecord;
use shared::ids::WorkerId;
use shared::job::{Inputs, Job, Kind, TrainerId};
use shared::metrics::{Goal, Ranking};
use shared::protocol::{CheckpointEvery, Execution, JobOrder};
use shared::settings::Settings;
use tokio::sync::watch;
use worker::agent::{Equipment, PackStore, Spool, Trainer, WeightsStore};

/// The metric by which the jobs of these trainers are compared.
pub const SCORE: &str = "score";

/// A trainer of this kind, at its first revision.
pub fn trainer(kind: &str) -> TrainerId {
    match Kind::new(kind) {
        Ok(kind) => TrainerId { kind, revision: 1 },
        Err(error) => panic!("{error}"),
    }
}

/// A job without inputs.
pub fn job(trainer: &TrainerId, settings: &[(&str, u64)]) -> Job {
    let settings = settings.iter().map(|&(name, value)| (name.to_owned(), Value::from(value)));
    Job { trainer: trainer.clone(), settings: settings.collect(), inputs: Inputs::default() }
}

/// How these jobs are carried out: a checkpoint after each epoch, the highest [`SCORE`] wins.
pub fn execution() -> Execution {
    let ranking = Ranking { metric: SCORE.to_owned(), goal: Goal::Max };
    Execution::new(CheckpointEvery::Epoch, ranking)
}

/// The order for a job.
pub fn order(job: Job) -> JobOrder {
    JobOrder::new(job, execution())
}

/// The plan of a sweep of jobs of one trainer, which read no dataset.
pub fn plan(name: &str, trainer: TrainerId, jobs: impl IntoIterator<Item = Job>) -> Plan {
    let planned = |job: Job| PlannedJob {
        id: job.id(),
        group: "all".to_owned(),
        also_in: Vec::new(),
        params: Settings::new().into(),
        settings: job.settings.into(),
    };
    let Execution { checkpoint_every, ranking, .. } = execution();
    Plan {
        priority: shared::protocol::Priority::NORMAL,
        name: name.to_owned(),
        trainer,
        ranking,
        dataset: None,
        dataset_digest: None,
        checkpoint_every,
        keep_checkpoints: true,
        jobs: jobs.into_iter().map(planned).collect(),
        ensembles: Vec::new(),
        tables: Vec::new(),
        weights: Vec::new(),
        requested: Requested::default(),
        notes: Vec::new(),
    }
}

/// The device in the results of these trainers.
pub fn device(host: &str) -> DeviceRecord {
    DeviceRecord {
        device: "cpu".to_owned(),
        model: "none".to_owned(),
        memory: None,
        uuid: None,
        cpu_capability: "none".to_owned(),
        threads: 1,
        host: host.to_owned(),
    }
}

/// A worker with these trainers, which looks for datasets in the folders `data`, and the switch that asks it to stop.
pub fn worker(
    bus: Bus,
    me: WorkerId,
    trainers: Vec<Box<dyn Trainer>>,
    data: Vec<PathBuf>,
    cache: &Path,
) -> (Equipment, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let equipment = Equipment {
        bus,
        host: "here".to_owned(),
        trainers,
        packs: PackStore::new(data, cache),
        weights: WeightsStore::new(Vec::new(), cache),
        spool: Spool::open(cache, &me),
        stop: stopped,
        me,
    };
    (equipment, stop)
}
