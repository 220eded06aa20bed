//! What the books record about a training whose batches did not fit into memory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use shared::books::{JobRecord, JobState};
use shared::bus::Bus;
use shared::expression::{CLASSES, LANDMARKS};
use shared::ids::WorkerId;
use shared::job::{JobSpec, TRAINER_REVISION};
use shared::metrics::Confusion;
use shared::pack::{Pack, PackWriter, Sample, Split};
use shared::protocol::{CheckpointEvery, JobOrder};
use shared::result::{DeviceRecord, EpochReport, LossTerms, MemoryUse, Score};
use tests::backend::Backend;
use tokio::sync::watch;
use uuid::Uuid;
use worker::agent::{self, Assignment, Equipment, PackStore, Spool, Trainer, Training, WeightsStore};
use worker::train::{Finished, Outcome};

const NOTE: &str = "a batch did not fit";
const LIMIT: Duration = Duration::from_mins(1);

/// Trains nothing, and reports like a training whose batches were split into micro-batches.
struct Cutting;

impl Trainer for Cutting {
    fn record(&self, threads: u32, host: &str) -> DeviceRecord {
        DeviceRecord {
            device: "cpu".to_owned(),
            model: "none".to_owned(),
            memory: None,
            uuid: None,
            cpu_capability: "none".to_owned(),
            threads,
            host: host.to_owned(),
        }
    }

    fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        let (training, reporter) = Training::of(&assignment);
        let rows = |split| vec![[0.0; CLASSES]; assignment.pack.len(split)];
        let finished = Finished {
            epochs: vec![EpochReport {
                epoch: 1,
                learning_rate: 1e-4,
                losses: LossTerms::default(),
                validation: Score::from(Confusion::default()),
                seconds: 1.0,
                memory: MemoryUse { micro_batches: 4, device: None },
            }],
            best_epoch: 1,
            validation: rows(Split::Validation),
            test: Some(rows(Split::Test)),
            model: vec![0],
            train_seconds: 1.0,
        };
        tokio::spawn(async move {
            reporter.note(NOTE.to_owned()).await;
            reporter.ended(Ok(Outcome::Finished(Box::new(finished)))).await;
        });
        Ok(training)
    }
}

fn pack() -> anyhow::Result<Arc<Pack>> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("pack");
    let mut writer = PackWriter::create(&dir, 1, serde_json::Value::Null)?;
    for split in Split::ALL {
        let landmarks = [[0.0; 2]; LANDMARKS];
        let (label, landmarks) = (Some(0), Some(&landmarks));
        writer.add(&Sample { split, id: "0", label, landmarks, pixels: &[0; 3] })?;
    }
    writer.finish()?;
    Ok(Arc::new(Pack::open(&dir)?))
}

async fn done(bus: &Bus, order: &JobOrder) -> anyhow::Result<JobRecord> {
    let mut watch = bus.watch_records().await?;
    loop {
        let entry = watch.next().await.context("the books closed")?;
        if matches!(entry.record.state, JobState::Done { .. }) && entry.job == order.job {
            return Ok(entry.record);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_record_and_the_result_say_that_batches_were_cut() -> anyhow::Result<()> {
    let server = Backend::memory()?;
    let (bus, pack) = (server.bus().await?, pack()?);
    let spec = JobSpec::default();
    let order = JobOrder {
        v: JobOrder::VERSION,
        job: spec.id(pack.digest()),
        spec,
        dataset_digest: pack.digest().to_owned(),
        trainer_revision: TRAINER_REVISION,
        checkpoint_every: CheckpointEvery::Epoch,
    };
    bus.admit(std::slice::from_ref(&order)).await?;
    bus.enqueue(order.job).await?;
    let (_stop, stopped) = watch::channel(false);
    let (me, cache) = (WorkerId::new("w", Uuid::nil()), tempfile::tempdir()?);
    let worker = agent::serve(Equipment {
        bus: server.bus().await?,
        host: "here".to_owned(),
        trainer: Box::new(Cutting),
        packs: PackStore::holding(pack),
        weights: WeightsStore::new(Vec::new(), cache.path()),
        spool: Spool::open(cache.path(), &me),
        me,
        stop: stopped,
    });
    let record = tokio::select! {
        record = tokio::time::timeout(LIMIT, done(&bus, &order)) => record.context("the job is not done")??,
        ended = worker => anyhow::bail!("the worker ended: {ended:?}"),
    };
    assert_eq!(record.notes, [NOTE]);
    assert_eq!(bus.result(order.job).await?.micro_batches(), 4);
    Ok(())
}
