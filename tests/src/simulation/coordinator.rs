//! One run of the coordinator: start-up and conductor as in `ferry run`, with a map in place of the run folder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use orchestrator::engine::Engine;
use orchestrator::engine::cost::CostModel;
use orchestrator::service::{Conductor, FetchedResult, admit};
use shared::bus::Bus;
use shared::ids::JobId;
use shared::result::JobResult;

use super::history::History;
use super::sweep::Sweep;

/// The results on disk, which survive the coordinator.
#[derive(Debug, Clone, Default)]
pub(super) struct RunFolder {
    results: Arc<Mutex<BTreeMap<JobId, JobResult>>>,
}

impl RunFolder {
    pub(super) fn results(&self) -> BTreeMap<JobId, JobResult> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, result: JobResult) {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).insert(result.job, result);
    }
}

/// Why the coordinator ended before the sweep.
#[derive(Debug)]
pub(super) enum CoordinatorError {
    /// During start-up: `ferry run` says so and the user starts it again.
    BeforeSweep(anyhow::Error),
    /// Later: that must not happen, whatever the server does.
    DuringSweep(anyhow::Error),
}

/// Runs until every job is stored, given up or parked, or all workers are excluded.
pub(super) async fn run(
    bus: Bus,
    sweep: &Sweep,
    history: &History,
    run_folder: &RunFolder,
) -> Result<Engine, CoordinatorError> {
    let mut conductor =
        begin(bus, sweep, history, run_folder).await.map_err(CoordinatorError::BeforeSweep)?;
    let mut store = |fetched: &FetchedResult| {
        run_folder.put(fetched.result.clone());
        Ok(())
    };
    while !conductor.engine().is_finished() && conductor.engine().workers_out().len() < history.workers {
        let input = conductor.next().await;
        conductor.act(input, &mut store).await.map_err(CoordinatorError::DuringSweep)?;
    }
    Ok(conductor.into_engine())
}

async fn begin(
    bus: Bus,
    sweep: &Sweep,
    history: &History,
    run_folder: &RunFolder,
) -> anyhow::Result<Conductor> {
    let stored = run_folder.results();
    let engine = Engine::new(sweep.jobs.keys().copied(), &|job| stored.contains_key(&job));
    let cost = CostModel::new(sweep.efforts());
    bus.agree_on(&history.timing).await?;
    admit(&bus, &sweep.plan, history.ours_alone).await?;
    Ok(Conductor::begin(bus, engine, cost, sweep.plan.clone()).await?)
}
