//! What the books record about a training whose batches did not fit into memory, on the dataset that its job names.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use shared::books::{JobRecord, JobState};
use shared::bus::Bus;
use shared::confusion::Confusion;
use shared::device::DeviceRecord;
use shared::expression::{CLASSES, LANDMARKS};
use shared::ids::WorkerId;
use shared::job::{Job, TrainerId};
use shared::mtl::MtlSpec;
use shared::mtl::report::{EpochReport, LossTerms, MICRO_BATCHES, MemoryUse, final_metrics};
use shared::pack::{Pack, PackWriter, Sample, Split};
use shared::predictions::Matrix;
use shared::protocol::{JobOrder, subjects};
use shared::result::{MODEL, TEST, VALIDATION};
use tests::backend::Backend;
use tests::in_process;
use uuid::Uuid;
use worker::agent::{self, Assignment, Finished, FinishedPredictions, Outcome, Trainer, Training};

const NOTE: &str = "a batch did not fit";
const LIMIT: Duration = Duration::from_mins(1);

/// Trains nothing, and reports like a training whose batches were split into micro-batches.
struct Cutting;

impl Trainer for Cutting {
    fn id(&self) -> TrainerId {
        shared::mtl::trainer()
    }

    fn device(&self) -> String {
        "cpu (none)".to_owned()
    }

    fn record(&self, _job: &Job, host: &str) -> DeviceRecord {
        in_process::device(host)
    }

    fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        let (training, reporter) = Training::of(&assignment);
        let folder = assignment.dataset.as_deref().ok_or_else(|| std::io::Error::other("no dataset"))?;
        let pack = Pack::open(folder).map_err(std::io::Error::other)?;
        let predictions = |split| {
            let samples = pack.samples(split);
            let probabilities = Matrix::from(&vec![[0.0; CLASSES]; samples.ids.len()][..]);
            FinishedPredictions { probabilities, samples, own_samples: false }
        };
        let report = EpochReport {
            epoch: 1,
            learning_rate: 1e-4,
            losses: LossTerms::default(),
            validation: Confusion::from_pairs(CLASSES, []).into(),
            seconds: 1.0,
            memory: MemoryUse { micro_batches: 4, device: None },
        };
        let finished = Finished {
            metrics: final_metrics(Some(&report), None),
            history: vec![report.point()],
            best_epoch: Some(1),
            stopped_after: None,
            predictions: [(VALIDATION, Split::Validation), (TEST, Split::Test)]
                .map(|(name, split)| (name.to_owned(), predictions(split)))
                .into(),
            artifacts: [(MODEL.to_owned(), vec![0])].into(),
            train_seconds: 1.0,
            peak_memory: None,
        };
        tokio::spawn(async move {
            reporter.note(NOTE.to_owned()).await;
            reporter.ended(Ok(Outcome::Finished(Box::new(finished)))).await;
        });
        Ok(training)
    }
}

/// A dataset in the folder `dir`.
fn pack(dir: &Path) -> anyhow::Result<Pack> {
    let mut writer = PackWriter::create(dir, 1, serde_json::Value::Null)?;
    for split in Split::ALL {
        let landmarks = [[0.0; 2]; LANDMARKS];
        let (label, landmarks) = (Some(0), Some(&landmarks));
        writer.add(&Sample { split, id: "0", label, landmarks, pixels: &[0; 3] })?;
    }
    writer.finish()?;
    Ok(Pack::open(dir)?)
}

async fn done(bus: &Bus, order: &JobOrder) -> JobRecord {
    let mut watch = bus.feed(&[subjects::RECORD_KEYS]);
    loop {
        let entry = watch.record().await;
        if matches!(entry.record.state, JobState::Done { .. }) && entry.job == order.job {
            return entry.record;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_record_and_the_result_say_that_batches_were_cut() -> anyhow::Result<()> {
    let server = Backend::memory()?;
    let (bus, cache) = (server.bus().await?, tempfile::tempdir()?);
    let data = cache.path().join("data");
    let pack = pack(&data)?;
    let order = in_process::order(MtlSpec::default().job(pack.digest()));
    bus.admit(std::slice::from_ref(&order)).await?;
    bus.enqueue(order.job).await?;
    let me = WorkerId::new("w", Uuid::nil());
    let (equipment, _stop) =
        in_process::worker(server.bus().await?, me, vec![Box::new(Cutting)], vec![data], cache.path());
    let worker = agent::serve(equipment);
    let record = tokio::select! {
        record = tokio::time::timeout(LIMIT, done(&bus, &order)) => record.context("the job is not done")?,
        ended = worker => anyhow::bail!("the worker ended: {ended:?}"),
    };
    assert_eq!(record.notes, [NOTE]);
    let result = bus.result(order.job).await?;
    assert_eq!(result.best().and_then(|best| best.metrics.get(MICRO_BATCHES)), Some(4.0));
    assert_eq!(result.inputs, order.content.inputs);
    for (name, split) in [(VALIDATION, Split::Validation), (TEST, Split::Test)] {
        let set = result.predictions.get(name).context("predictions")?;
        assert_eq!((&set.samples_digest, &set.samples), (&pack.samples(split).digest(), &None), "{name}");
    }
    Ok(())
}
