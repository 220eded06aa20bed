//! Several kinds of trainers on one server, and one that only this file knows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use orchestrator::report;
use orchestrator::run_dir::{RunDir, RunRecord};
use orchestrator::service::{Entering, Holder, enter};
use orchestrator::sweep::plan::{EnsembleRule, Filter, Plan, Query};
use orchestrator::view::Sink;
use serde_json::Value;
use shared::books::{JobRecord, JobState};
use shared::bus::Bus;
use shared::ids::{JobId, WorkerId};
use shared::job::{Job, TrainerId};
use shared::kinds;
use shared::protocol::subjects;
use shared::result::{MODEL, VALIDATION};
use shared::trainer::DatasetSize;
use tests::backend::Backend;
use tests::in_process::{self, SCORE};
use tests::programs::{Workdir, root};
use tests::results::comparable;
use tests::run::Run;
use tests::server::Server;
use tests::undisturbed;
use tests::worker::Worker;
use uuid::Uuid;
use worker::agent::{self, Trainer};

use squares::Squares;

const LIMIT: Duration = Duration::from_mins(4);

/// A kind of trainer that no program knows. This module is all of it, but for the words about the device.
mod squares {
    use bytes::Bytes;
    use futures::future::BoxFuture;
    use shared::device::DeviceRecord;
    use shared::job::{Inputs, Job, Kind, TrainerId};
    use shared::metrics::{Metrics, Point};
    use shared::predictions::{Matrix, SampleList};
    use worker::agent::{Assignment, Finished, FinishedPredictions, Outcome, Saved, Trainer, Training};

    /// Squares a number.
    pub(super) struct Squares;

    pub(super) fn trainer() -> TrainerId {
        TrainerId { kind: Kind::new("squares").expect("a plain word"), revision: 1 }
    }

    pub(super) fn job(number: u32) -> Job {
        let settings = [("number".to_owned(), number.into())].into_iter().collect();
        Job { trainer: trainer(), settings, inputs: Inputs::default() }
    }

    impl Trainer for Squares {
        fn id(&self) -> TrainerId {
            trainer()
        }
        fn device(&self) -> String {
            "an abacus".into()
        }
        fn record(&self, _: &Job, host: &str) -> DeviceRecord {
            super::in_process::device(host)
        }
        fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
            Box::pin(async { Ok(()) })
        }
        fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
            let (training, mut reporter) = Training::of(&assignment);
            let square = assignment.job.settings["number"].as_f64().expect("a number").powi(2);
            let metrics = Metrics::default().with("score", square);
            let report = Point { epoch: 1, step: 0, seconds: 0.5, metrics: metrics.clone() };
            let samples = SampleList { ids: vec!["x".into(), "y".into()], labels: vec![Some(2), None] };
            let probabilities = Matrix::new(3, vec![0.1, 0.2, 0.7, 0.3, 0.3, 0.4]).expect("two rows");
            let set = FinishedPredictions { probabilities, samples, own_samples: true };
            let finished = Finished {
                metrics,
                history: vec![report.clone()],
                predictions: [("validation".into(), set)].into(),
                artifacts: [("model".into(), square.to_string().into_bytes())].into(),
                train_seconds: 0.5,
                ..Finished::default()
            };
            let saved = Saved { epoch: 1, step: 0, report: Some(report), checkpoint: Bytes::from("1") };
            tokio::spawn(async move {
                reporter.saved(saved).await;
                reporter.ended(Ok(Outcome::Finished(Box::new(finished)))).await;
            });
            Ok(training)
        }
    }
}

#[test]
fn a_third_kind_takes_less_than_sixty_lines() {
    let here = include_str!("trainers.rs");
    let (_, from) = here.split_once("\nmod squares {\n").expect("it begins");
    let (module, _) = from.split_once("\n}\n").expect("it ends");
    let lines = module.lines().count() + 2;
    assert!((20..60).contains(&lines), "{lines} lines");
    assert!(kinds::find("squares").is_none(), "the programs know it");
}

/// A plan of three jobs, and an ensemble of all of them.
fn plan() -> Plan {
    let members = vec![Query::All { filter: Filter::new() }];
    let ensemble = EnsembleRule { name: "All".to_owned(), members, size: 3, paper: None };
    let plan = in_process::plan("squares", squares::trainer(), (2..5).map(squares::job));
    Plan { ensembles: vec![ensemble], ..plan }
}

/// Conducts the sweep to its end, as `ferry run` does, and returns what is in its run folder.
async fn conduct(bus: &Bus, plan: Plan, folder: &Path) -> anyhow::Result<RunRecord> {
    let run_dir = RunDir::create(folder, &plan)?;
    let mut results = run_dir.result_writer()?;
    let entering = Entering {
        plan: &plan,
        stored: &BTreeMap::new(),
        dataset_size: DatasetSize::default(),
        most_queued: orchestrator::service::MOST_QUEUED,
        timing: None,
        ours_alone: true,
        holder: Holder::here(),
    };
    let mut conductor = enter(bus, entering, &mut Sink::default()).await?.conductor;
    while !conductor.is_finished() {
        let input = conductor.next().await;
        let mut store = |fetched: &orchestrator::service::FetchedResult| {
            Ok(results.write(&fetched.result, &fetched.files)?)
        };
        conductor.act(input, &mut store).await?;
    }
    Ok(run_dir.load()?)
}

#[tokio::test(start_paused = true)]
async fn the_results_of_a_third_kind_are_accepted_stored_and_voted_on() -> anyhow::Result<()> {
    let server = Backend::memory()?;
    let (bus, cache) = (server.bus().await?, tempfile::tempdir()?);
    let folder = cache.path().join("runs/squares");
    let me = WorkerId::new("w", Uuid::nil());
    let trainers: Vec<Box<dyn Trainer>> = vec![Box::new(Squares)];
    let (equipment, _stop) = in_process::worker(server.bus().await?, me, trainers, Vec::new(), cache.path());
    let record = tokio::select! {
        record = tokio::time::timeout(LIMIT, conduct(&bus, plan(), &folder)) => {
            record.context("the sweep does not end")??
        }
        ended = agent::serve(equipment) => anyhow::bail!("the worker ended: {ended:?}"),
    };
    assert_eq!((record.results.len(), record.failures.len()), (3, 0));
    for number in 2..5 {
        let job = squares::job(number);
        let result = &record.results[&job.id()];
        assert_eq!(result.metrics.get(SCORE), Some(f64::from(number * number)));
        assert_eq!((&result.trainer, &result.inputs), (&job.trainer, &job.inputs));
        assert!(result.model().is_some_and(|model| model.name.starts_with(&format!("{}.{MODEL}", job.id()))));
        let matrix = &record.predictions[&job.id()][VALIDATION];
        assert_eq!((matrix.classes(), matrix.len()), (3, 2));
        let saved = bus.record(job.id()).await?.context("a record")?.record.saved_score;
        assert_eq!(saved, Some(f64::from(number * number)), "the metric that ranks");
    }
    let written = report::write(&RunDir::open(&folder)?)?;
    let members = &written.results.ensembles[0].selection.members;
    assert_eq!(members.len(), 3, "{members:?}");
    Ok(())
}

/// The newest record of a job.
async fn record(bus: &Bus, job: JobId) -> anyhow::Result<JobRecord> {
    Ok(bus.record(job).await?.context("the job was admitted")?.record)
}

async fn all_done(bus: &Bus, jobs: &[JobId]) -> anyhow::Result<()> {
    let mut waiting: Vec<JobId> = jobs.to_owned();
    let mut watch = bus.feed(&[subjects::RECORD_KEYS]);
    while !waiting.is_empty() {
        let entry = watch.record().await;
        if matches!(entry.record.state, JobState::Done { .. }) {
            waiting.retain(|job| *job != entry.job);
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_job_that_no_worker_can_train_waits_for_one_and_holds_up_no_other() -> anyhow::Result<()> {
    let server = Backend::memory()?;
    let (bus, cache) = (server.bus().await?, tempfile::tempdir()?);
    let newer = TrainerId { revision: 2, ..squares::trainer() };
    let strange = [in_process::trainer("unheard-of"), newer]
        .map(|trainer| in_process::order(Job { trainer, ..squares::job(9) }));
    let known: Vec<_> = (2..5).map(|number| in_process::order(squares::job(number))).collect();
    let orders: Vec<_> = strange.iter().chain(&known).cloned().collect();
    bus.admit(&orders).await?;
    for order in &orders {
        bus.enqueue(order.job).await?;
    }
    let known: Vec<JobId> = known.iter().map(|order| order.job).collect();
    let me = WorkerId::new("w", Uuid::nil());
    let trainers: Vec<Box<dyn Trainer>> = vec![Box::new(Squares)];
    let (equipment, _stop) = in_process::worker(server.bus().await?, me, trainers, Vec::new(), cache.path());
    let look = async {
        tokio::time::timeout(LIMIT, all_done(&bus, &known)).await.context("they are not done")??;
        // Long enough to be handed out several times.
        tokio::time::sleep(Duration::from_mins(10)).await;
        for order in &strange {
            assert_eq!(record(&bus, order.job).await?, JobRecord::pending(), "{}", order.content.trainer);
        }
        let presences = bus.workers().await?;
        let offered: Vec<_> = presences.iter().map(|presence| presence.trainers.clone()).collect();
        assert_eq!(offered, [vec![squares::trainer()]]);
        anyhow::Ok(())
    };
    tokio::select! {
        looked = look => looked,
        ended = agent::serve(equipment) => anyhow::bail!("the worker ended: {ended:?}"),
    }
}

/// Four jobs that wait for half a second in each of three epochs.
const EMPTY: &str = "\
name: waiting
trainer: empty
defaults: {epochs: 3, epoch_ms: 500, gain: 2.0, classes: 3}
groups:
  all: {matrix: {seed: [0, 1, 2, 3]}}
ensembles:
  All: {members: [{where: {group: all}}]}
";

/// The results of a finished sweep in the working folder.
fn results(workdir: &Workdir, sweep: &str) -> anyhow::Result<Value> {
    comparable(&workdir.path().join("runs").join(sweep).join("results.json"))
}

/// Jobs that predict different samples cannot be compared: the others are trained, and the report names the rest.
#[test]
fn a_result_that_cannot_be_used_fails_its_job_and_not_the_sweep() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let sweep = EMPTY.replace("seed: [0, 1, 2, 3]", "seed: [0, 1], samples: [8, 9]").replace("500", "1");
    std::fs::write(workdir.path().join("waiting.yaml"), sweep)?;
    for _again in 0..2 {
        let mut run = Run::start(workdir.ferry(&["run", "waiting.yaml", "--workers", "1", "--json"]))?;
        let finished = run.wait_for("finished", LIMIT)?;
        assert_eq!((&finished["done"], &finished["failed"]), (&2.into(), &2.into()), "{finished}");
        assert_eq!(run.end(LIMIT)?.code(), Some(1));
        let results = results(&workdir, "waiting")?;
        let errors = results["jobs"].as_array().into_iter().flatten().filter_map(|job| job["error"].as_str());
        let errors: Vec<&str> = errors.collect();
        assert!(errors.len() == 2 && errors[0].contains("belong in another sweep"), "{errors:#?}");
    }
    Ok(())
}

#[test]
fn sweeps_of_two_kinds_share_a_server_and_a_worker() -> anyhow::Result<()> {
    let (server, bench) = (Server::start()?, Workdir::new()?);
    let (faces, waiting) = (Workdir::new()?, Workdir::new()?);
    std::fs::write(waiting.path().join("waiting.yaml"), EMPTY)?;
    let smoke = root().join("experiments/smoke.yaml");
    let url = server.url();
    let start = |workdir: &Workdir, sweep: &str| {
        let words = ["run", sweep, "--nats", &url, "--workers", "0", "--json"];
        Run::start(workdir.ferry(&words))
    };
    let mut runs = [start(&faces, &smoke.display().to_string())?, start(&waiting, "waiting.yaml")?];
    for run in &mut runs {
        // Both wait for the same worker.
        assert_eq!(run.wait_for("progress", LIMIT)?["pending"], 4);
    }
    let _worker = Worker::start(&bench, &url, "both")?;
    for mut run in runs {
        let finished = run.wait_for("finished", LIMIT)?;
        assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()), "{finished}");
        assert!(run.end(LIMIT)?.success());
    }
    assert_eq!(results(&faces, "smoke")?, undisturbed::results(&smoke)?);
    let waited = results(&waiting, "waiting")?;
    assert_eq!(waited["jobs"].as_array().map(Vec::len), Some(4), "{waited:#}");
    assert_eq!(waited["ensembles"][0]["members"].as_array().map(Vec::len), Some(4), "{waited:#}");
    let record = RunDir::open(&waiting.path().join("runs/waiting"))?.load()?;
    assert!(record.results.values().all(|result| result.metrics.get(SCORE) == Some(6.0)), "{record:?}");
    Ok(())
}
