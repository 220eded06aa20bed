//! A bad worker that is ready first, while others are still starting.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use orchestrator::engine::Engine;
use orchestrator::service::{Conductor, Extent, Role};
use shared::books::JobRecord;
use shared::bus::Bus;
use shared::device::DeviceRecord;
use shared::ids::{JobId, WorkerId};
use shared::job::{Job, TrainerId};
use shared::protocol::{JobOrder, Presence};
use shared::trainer::DatasetSize;
use tests::backend::Backend;
use tests::in_process;
use uuid::Uuid;
use worker::agent::{self, Assignment, Trainer, Training, TrainingError};

const JOBS: u64 = 8;
/// A presence that nobody renews lasts for 45 s.
const BEFORE_IT_EXPIRES: Duration = Duration::from_secs(40);
const LIMIT: Duration = Duration::from_mins(10);

fn trainer() -> TrainerId {
    in_process::trainer("failing")
}

/// Every training on it fails immediately, but its self-test passes.
struct Failing;

impl Trainer for Failing {
    fn id(&self) -> TrainerId {
        trainer()
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
        tokio::spawn(async move { reporter.ended(Err(TrainingError::Failed("bad memory".into()))).await });
        Ok(training)
    }
}

fn jobs() -> Vec<Job> {
    (0..JOBS).map(|seed| in_process::job(&trainer(), &[("seed", seed)])).collect()
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
    let (bus, cache) = (server.bus().await?, tempfile::tempdir()?);
    let plan = Arc::new(in_process::plan("burnt", trainer(), jobs()));
    let orders: Vec<JobOrder> = jobs().into_iter().map(in_process::order).collect();
    let jobs: Vec<JobId> = orders.iter().map(|order| order.job).collect();
    bus.admit(&orders).await?;
    bus.appear(&Presence::announced("late", "here", vec![trainer()])).await?;
    let engine = Engine::new(jobs.clone(), &|_| false);
    let extent = Extent { dataset_size: DatasetSize::default(), most_queued: 4096 };
    let mut conductor = Conductor::begin(bus.clone(), engine, plan, extent, Role::Conducting);
    let coordinate = async {
        while !conductor.is_finished() {
            let next = conductor.next().await;
            conductor.act(next, &mut |_| Ok(())).await?;
        }
        anyhow::Ok(())
    };
    let me = WorkerId::new("bad", Uuid::nil());
    let (equipment, _stop) =
        in_process::worker(server.bus().await?, me, vec![Box::new(Failing)], Vec::new(), cache.path());
    let worker = agent::serve(equipment);
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
