//! A bad worker that is ready first, while others are still starting.

use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use orchestrator::engine::Engine;
use orchestrator::engine::cost::CostModel;
use orchestrator::service::Conductor;
use serde_json::json;
use shared::books::JobRecord;
use shared::bus::Bus;
use shared::ids::{JobId, WorkerId};
use shared::job::{JobSpec, TRAINER_REVISION};
use shared::protocol::{CheckpointEvery, JobOrder, Presence};
use shared::result::DeviceRecord;
use tests::backend::Backend;
use tests::simulation::Fixture;
use tokio::sync::watch;
use uuid::Uuid;
use worker::agent::{
    self, Assignment, Equipment, PackStore, Spool, Trainer, Training, TrainingError, WeightsStore,
};

const JOBS: u64 = 8;
/// A presence that nobody renews lasts for 45 s.
const BEFORE_IT_EXPIRES: Duration = Duration::from_secs(40);
const LIMIT: Duration = Duration::from_mins(10);

/// Every training on it fails immediately, but its self-test passes.
struct Failing;

impl Trainer for Failing {
    fn record(&self, threads: u32, host: &str) -> DeviceRecord {
        DeviceRecord {
            device: "cpu".into(),
            model: "bad".into(),
            memory: None,
            uuid: None,
            cpu_capability: "none".into(),
            threads,
            host: host.into(),
        }
    }

    fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        let (training, reporter) = Training::of(&assignment);
        tokio::spawn(async move { reporter.ended(Err(TrainingError::Failed("bad memory".into()))).await });
        Ok(training)
    }
}

fn orders(digest: &str) -> anyhow::Result<Vec<JobOrder>> {
    let order = |seed: u64| -> anyhow::Result<JobOrder> {
        let spec = JobSpec::default().with("seed", json!(seed))?;
        Ok(JobOrder {
            v: JobOrder::VERSION,
            job: spec.id(digest),
            spec,
            dataset_digest: digest.to_owned(),
            trainer_revision: TRAINER_REVISION,
            checkpoint_every: CheckpointEvery::Epoch,
        })
    };
    (0..JOBS).map(order).collect()
}

async fn records(bus: &Bus, jobs: &[JobId]) -> anyhow::Result<Vec<JobRecord>> {
    let mut records = Vec::new();
    for &job in jobs {
        records.extend(bus.record(job).await?.map(|entry| entry.record));
    }
    Ok(records)
}

/// Case 34: two jobs fail on it, once each. Then it is on probation and leaves all other jobs to the worker that is
/// announced. If that never comes, nothing hangs.
#[tokio::test(start_paused = true)]
async fn a_bad_worker_that_starts_first_burns_few_jobs() -> anyhow::Result<()> {
    let server = Backend::memory()?;
    let (bus, fixture, cache) = (server.bus().await?, Fixture::new()?, tempfile::tempdir()?);
    let orders = orders(fixture.pack().digest())?;
    let jobs: Vec<JobId> = orders.iter().map(|order| order.job).collect();
    bus.admit(&orders).await?;
    bus.appear(&Presence::announced("late", "here")).await?;
    let cost = CostModel::new(1, orders.iter().map(|order| (order.job, order.spec.clone())));
    let mut conductor = Conductor::begin(bus.clone(), Engine::new(jobs.clone(), &|_| false), cost).await?;
    let coordinate = async {
        while !conductor.engine().is_finished() {
            let next = conductor.next().await;
            conductor.act(next, &mut |_| Ok(())).await?;
        }
        anyhow::Ok(())
    };
    let (_stop, stopped) = watch::channel(false);
    let me = WorkerId::new("bad", Uuid::nil());
    let worker = agent::serve(Equipment {
        bus: server.bus().await?,
        host: "here".to_owned(),
        trainer: Box::new(Failing),
        packs: PackStore::holding(fixture.pack()),
        weights: WeightsStore::new(Vec::new(), cache.path()),
        spool: Spool::open(cache.path(), &me),
        me,
        stop: stopped,
    });
    let look = async {
        tokio::time::sleep(BEFORE_IT_EXPIRES).await;
        records(&bus, &jobs).await
    };
    let both = async {
        let (ended, seen) = tokio::join!(tokio::time::timeout(LIMIT, coordinate), look);
        ended.context("the sweep does not end")??;
        seen
    };
    let burnt = tokio::select! {
        burnt = both => burnt?,
        ended = worker => anyhow::bail!("the worker ended: {ended:?}"),
    };
    let failures: Vec<usize> = burnt.iter().map(|record| record.failures.len()).collect();
    assert!(failures.iter().all(|failures| *failures <= 1), "no second try on the same worker: {failures:?}");
    assert_eq!(failures.iter().sum::<usize>(), 2, "{failures:?}");
    let ended = records(&bus, &jobs).await?;
    assert!(ended.iter().all(|record| record.state.failure().is_some_and(|why| why.starts_with("3 tries"))));
    Ok(())
}
