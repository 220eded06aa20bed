//! Whole jobs in a worker of this process, with the trainers of this program and some that misbehave.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use memory_server::MemoryServer;
use serde_json::{Value, json};
use shared::books::{JobRecord, JobState, difference};
use shared::bus::{Bucket, Bus};
use shared::device::DeviceRecord;
use shared::empty::{Empty, SCORE};
use shared::expression::{CLASSES, LANDMARKS};
use shared::ids::{JobId, WorkerId};
use shared::job::{Inputs, Job, Kind};
use shared::metrics::{Metrics, Point};
use shared::mtl::MtlSpec;
use shared::mtl::report::{TEST_MACRO_F1, VAL_MACRO_F1};
use shared::pack::{Pack, PackWriter, Sample, Split};
use shared::predictions::{SampleList, from_npy};
use shared::protocol::{CheckpointEvery, Execution, JobOrder, subjects};
use shared::result::{TEST, VALIDATION};
use shared::trainer::TrainerKind;
use shared::vote;
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use super::*;
use crate::agent::{
    Assignment, Equipment, Finished, Instruction, Outcome, PackStore, Saved, Spool, Training, TrainingError,
    WeightsStore, serve,
};

/// More than any of these jobs takes.
const LIMIT: Duration = Duration::from_mins(30);

/// A server with some jobs, and a cache for workers.
struct Site {
    bus: Bus,
    cache: TempDir,
}

impl Site {
    async fn with(orders: &[JobOrder]) -> Self {
        let bus = MemoryServer::start(0, None, None).connect("test").0;
        bus.admit(orders).await.unwrap();
        for order in orders {
            bus.enqueue(order.job).await.unwrap();
        }
        Self { bus, cache: tempfile::tempdir().unwrap() }
    }

    async fn record(&self, job: JobId) -> JobRecord {
        self.bus.record(job).await.unwrap().unwrap().record
    }

    /// Starts a worker, and stops it when the job's record is as asked for.
    async fn serve_until(
        &self,
        trainers: Vec<Box<dyn Trainer>>,
        job: JobId,
        enough: impl Fn(&JobRecord) -> bool,
    ) -> JobRecord {
        self.serve_with(Vec::new(), trainers, job, enough).await
    }

    /// The same, with datasets in the folders `data`.
    async fn serve_with(
        &self,
        data: Vec<PathBuf>,
        trainers: Vec<Box<dyn Trainer>>,
        job: JobId,
        enough: impl Fn(&JobRecord) -> bool,
    ) -> JobRecord {
        let (stop, stopped) = watch::channel(false);
        let (me, cache) = (WorkerId::new("w", Uuid::new_v4()), self.cache.path());
        let worker = serve(Equipment {
            bus: self.bus.clone(),
            host: "here".to_owned(),
            trainers,
            packs: PackStore::new(data, cache),
            weights: WeightsStore::new(Vec::new(), cache),
            spool: Spool::open(cache, &me),
            me,
            stop: stopped,
        });
        let look = async {
            while !enough(&self.record(job).await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            stop.send_replace(true);
        };
        let (ended, looked) = tokio::join!(worker, tokio::time::timeout(LIMIT, look));
        looked.expect("the job does not get there");
        ended.unwrap();
        self.record(job).await
    }
}

fn order_of(job: Job) -> JobOrder {
    let ranking =
        shared::kinds::find(job.trainer.kind.as_str()).map_or(Empty.ranking(), TrainerKind::ranking);
    JobOrder::new(job, Execution::new(CheckpointEvery::Epoch, ranking))
}

/// A job of the empty trainer.
fn empty(settings: &Value) -> JobOrder {
    let settings = settings.as_object().unwrap().clone();
    order_of(Job { trainer: shared::empty::trainer(), settings, inputs: Inputs::default() })
}

fn empty_trainer() -> Vec<Box<dyn Trainer>> {
    vec![Box::new(EmptyTrainer)]
}

fn is_done(record: &JobRecord) -> bool {
    record.state.is_final()
}

/// What the worker logs, as text.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn with(&self, words: &str) -> Vec<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_trainers_are_those_that_are_announced() {
    assert_eq!(all(Device::Cpu).iter().map(|trainer| trainer.id()).collect::<Vec<_>>(), ids());
    let known: Vec<TrainerId> = shared::kinds::KINDS.iter().map(|kind| kind.id()).collect();
    assert_eq!(ids(), known);
}

#[tokio::test(start_paused = true)]
async fn an_empty_job_that_continues_elsewhere_ends_as_if_it_had_not_been_interrupted() {
    let settings = json!({"epochs": 5, "epoch_ms": 2000, "gain": 0.5, "classes": 3, "samples": 7, "seed": 9});
    let order = empty(&settings);
    let job = order.job;
    let interrupted = Site::with(std::slice::from_ref(&order)).await;
    let halfway = interrupted.serve_until(empty_trainer(), job, |record| record.saved_epochs() == 2).await;
    assert_eq!((&halfway.state, halfway.saved_score), (&JobState::Pending, Some(1.0)));
    assert_eq!(interrupted.serve_until(empty_trainer(), job, is_done).await.attempts, 2);
    let result = interrupted.bus.result(job).await.unwrap();

    let whole = Site::with(&[order]).await;
    assert_eq!(whole.serve_until(empty_trainer(), job, is_done).await.attempts, 1);
    let expected = whole.bus.result(job).await.unwrap();
    assert_eq!(difference(&expected, &result), None);
    assert_eq!((&result.history, &result.metrics), (&expected.history, &expected.metrics));
    assert_eq!(
        (&result.predictions, result.train_seconds.to_bits()),
        (&expected.predictions, 10.0_f64.to_bits())
    );
    let scores: Vec<Option<f64>> = result.history.iter().map(|point| point.metrics.get(SCORE)).collect();
    assert_eq!(scores, [0.5, 1.0, 1.5, 2.0, 2.5].map(Some));
    assert_eq!(result.metrics.get(SCORE), Some(2.5));

    for name in [VALIDATION, TEST] {
        let stored = &result.predictions[name];
        let matrix = whole.bus.get_blob(Bucket::Results, &stored.probabilities).await.unwrap();
        let list = whole.bus.get_blob(Bucket::Results, stored.samples.as_ref().unwrap()).await.unwrap();
        let list = SampleList::from_csv(std::str::from_utf8(&list).unwrap()).unwrap();
        let matrix = from_npy(&matrix).unwrap();
        assert_eq!((matrix.classes(), matrix.len(), list.ids.len()), (3, 7, 7));
        assert_eq!(list.digest(), stored.samples_digest);
        assert_eq!(vote::score(&matrix, &list).map(|score| score.macro_f1), stored.macro_f1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_job_without_epochs_ends_at_once_and_one_that_shall_fail_fails() {
    let (short, failing) = (empty(&json!({})), empty(&json!({"epochs": 3, "fail_in_epoch": 2})));
    let site = Site::with(&[short.clone(), failing.clone()]).await;
    site.serve_until(empty_trainer(), short.job, is_done).await;
    let result = site.bus.result(short.job).await.unwrap();
    assert_eq!((result.metrics.get(SCORE), result.history.len()), (Some(0.0), 0));
    assert_eq!(result.blobs().count(), 0);
    let failed = |record: &JobRecord| !record.failures.is_empty();
    let record = site.serve_until(empty_trainer(), failing.job, failed).await;
    assert_eq!(record.failures[0].error, "failed in epoch 2, as `fail_in_epoch` asks");
    assert_eq!(record.saved_epochs(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_job_stops_promptly_within_a_long_epoch() {
    let order = empty(&json!({"epochs": 2, "epoch_ms": 3_600_000}));
    let site = Site::with(std::slice::from_ref(&order)).await;
    let started = tokio::time::Instant::now();
    let running = |record: &JobRecord| matches!(record.state, JobState::Running { .. });
    let record = site.serve_until(empty_trainer(), order.job, running).await;
    assert_eq!((&record.state, record.losses), (&JobState::Pending, 0));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn jobs_for_other_workers_are_left_alone_and_that_is_said_once_for_each_kind() {
    let (lines, good) = (Lines::default(), empty(&json!({"epochs": 1})));
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let of = |kind: &str, revision, seed: u64| {
        let settings = json!({"seed": seed}).as_object().unwrap().clone();
        let trainer = TrainerId { kind: Kind::new(kind).unwrap(), revision };
        order_of(Job { trainer, settings, inputs: Inputs::default() })
    };
    let mut others = vec![of("strange", 1, 0), of("strange", 1, 1), of("empty", 99, 0), of("empty", 99, 1)];
    others.extend((10..14).map(|seed| of("strange", 1, seed)));
    let site = Site::with(&[others.clone(), vec![good.clone()]].concat()).await;
    for order in &others[4..6] {
        site.bus.write(&subjects::order_key(order.job), &json!({"v": 99, "content": "new"})).await.unwrap();
    }
    for (order, nonsense) in others[6..].iter().zip([json!({"v": 5}), json!({"v": 5, "job": "x"})]) {
        site.bus.write(&subjects::order_key(order.job), &nonsense).await.unwrap();
    }
    site.serve_until(empty_trainer(), good.job, is_done).await;
    // Each is handed out several times more.
    let started = tokio::time::Instant::now();
    site.serve_until(empty_trainer(), good.job, |_| started.elapsed() > Duration::from_mins(10)).await;
    for order in others {
        assert_eq!(site.record(order.job).await, JobRecord::pending());
    }
    let said = lines.with("not taken");
    for (words, workers) in [
        ("it needs trainer strange (revision 1), but this worker has empty (revision 1)", 2),
        ("it needs trainer empty (revision 99), but this worker has empty (revision 1)", 2),
        ("has version 99, but this program reads versions up to", 2),
        ("cannot read order.", 2),
    ] {
        assert_eq!(said.iter().filter(|line| line.contains(words)).count(), workers, "{words}: {said:?}");
    }
    assert_eq!(said.len(), 8, "{said:?}");
}

/// Reports what it was given, and goes on until it is told not to.
#[derive(Clone)]
struct Given {
    report: Option<Metrics>,
    finished: Finished,
}

impl Trainer for Given {
    fn id(&self) -> TrainerId {
        shared::empty::trainer()
    }

    fn device(&self) -> String {
        "none".to_owned()
    }

    fn record(&self, job: &Job, host: &str) -> DeviceRecord {
        EmptyTrainer.record(job, host)
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        let (training, mut reporter) = Training::of(&assignment);
        let Self { report, finished } = self.clone();
        tokio::spawn(async move {
            if let Some(metrics) = report {
                let report = Some(Point { epoch: 1, step: 0, seconds: 1.0, metrics });
                reporter.saved(Saved { epoch: 1, step: 0, report, checkpoint: Bytes::from("c") }).await;
                while reporter.instruction() == Instruction::GoOn {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            reporter.ended(Ok::<_, TrainingError>(Outcome::Finished(Box::new(finished)))).await;
        });
        Ok(training)
    }

    fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The error of an attempt with this trainer, of which no checkpoint may be left.
async fn failure(given: Given) -> String {
    let order = empty(&json!({}));
    let site = Site::with(std::slice::from_ref(&order)).await;
    let trainers: Vec<Box<dyn Trainer>> = vec![Box::new(given)];
    let record = site.serve_until(trainers, order.job, |record| !record.failures.is_empty()).await;
    assert!(record.checkpoints.is_empty());
    assert_eq!(site.bus.inventory(Bucket::Checkpoints).await.unwrap().objects.len(), 0);
    record.failures[0].error.clone()
}

#[tokio::test(start_paused = true)]
async fn a_bad_report_or_result_ends_the_attempt_with_a_sentence() {
    let reports = |metrics| Given { report: Some(metrics), finished: Finished::default() };
    let missing = failure(reports(Metrics::default().with("loss", 1.0))).await;
    assert_eq!(missing, "the report of epoch 1 was refused: it has no `score`, the metric that ranks jobs");
    let not_a_number = failure(reports(Metrics::default().with(SCORE, f64::NAN))).await;
    assert_eq!(
        not_a_number,
        "the report of epoch 1 was refused: its `score` is NaN, so the job cannot be ranked"
    );
    let artifacts = [("../../model".to_owned(), vec![1])].into();
    let misnamed = Given { report: None, finished: Finished { artifacts, ..Finished::default() } };
    let error = failure(misnamed).await;
    assert_eq!(error, r#"the result was refused: "../../model" cannot be the name of a file"#);
}

/// A pack of colours, one for each class.
fn pack(folder: &std::path::Path) -> Pack {
    let mut writer = PackWriter::create(folder, 16, Value::Null).unwrap();
    for (split, count) in Split::ALL.into_iter().zip([16, 12, 6]) {
        for index in 0..count {
            let class = (index % CLASSES) as u8;
            writer
                .add(&Sample {
                    split,
                    id: &format!("{index}.png"),
                    label: (split != Split::Test || index % 2 == 0).then_some(class),
                    landmarks: Some(&[[0.1, -0.2]; LANDMARKS]),
                    pixels: &[class * 40; 16 * 16 * 3],
                })
                .unwrap();
        }
    }
    writer.finish().unwrap();
    Pack::open(folder).unwrap()
}

#[tokio::test]
async fn two_jobs_on_networks_have_the_metrics_predictions_and_model_of_their_best_epochs() {
    let root = tempfile::tempdir().unwrap();
    let pack = pack(&root.path().join("pack"));
    let settings = json!({
        "backbone": "resnet18", "emotion_backbone": "resnet18", "width": 4, "blocks": [1, 1, 1, 1], "heads": 2,
        "image_size": 16, "batch_size": 8, "epochs": 2, "cpu_threads": 1,
    });
    let spec = MtlSpec::of(settings.as_object().unwrap()).unwrap();
    let orders = [1, 2].map(|seed| order_of(spec.with("seed", json!(seed)).unwrap().job(pack.digest())));
    let site = Site::with(&orders).await;
    site.serve_with(vec![root.path().to_owned()], all(Device::Cpu), orders[1].job, is_done).await;
    for order in &orders {
        let result = site.bus.result(order.job).await.unwrap();
        assert_eq!((result.history.len(), &result.inputs), (2, &order.content.inputs));
        assert_eq!((result.device.device.as_str(), result.device.threads), ("cpu", 1));
        let best = result.best().unwrap().metrics.get(VAL_MACRO_F1);
        assert_eq!(result.metrics.get(VAL_MACRO_F1), best);
        for (name, split, score) in
            [(VALIDATION, Split::Validation, best), (TEST, Split::Test, result.metrics.get(TEST_MACRO_F1))]
        {
            let stored = &result.predictions[name];
            assert_eq!((stored.macro_f1, &stored.samples), (score, &None));
            assert_eq!(stored.samples_digest, pack.samples(split).digest());
            let matrix = site.bus.get_blob(Bucket::Results, &stored.probabilities).await.unwrap();
            assert_eq!(from_npy(&matrix).unwrap().len(), pack.len(split));
        }
        assert!(result.model().unwrap().size > 0);
    }
}
