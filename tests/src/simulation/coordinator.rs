//! One run of the coordinator: start-up and conductor as in `ferry run`, with a map in place of the run folder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use orchestrator::engine::Engine;
use orchestrator::service::{Conductor, FetchedResult, Role, admit, outdated};
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

    fn set_aside(&self, jobs: impl IntoIterator<Item = JobId>) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        for job in jobs {
            results.remove(&job);
        }
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

/// Runs until every job is stored, given up, parked or cancelled, or all workers are excluded. `told` hears of each
/// result that is stored.
pub(super) async fn run(
    bus: Bus,
    sweep: &Sweep,
    history: &History,
    run_folder: &RunFolder,
    told: &(dyn Fn(JobId) + Sync),
) -> Result<Engine, CoordinatorError> {
    let mut conductor =
        begin(bus, sweep, history, run_folder).await.map_err(CoordinatorError::BeforeSweep)?;
    let mut store = |fetched: &FetchedResult| {
        told(fetched.result.job);
        run_folder.put(fetched.result.clone());
        Ok(())
    };
    while !conductor.is_finished() && conductor.engine().workers_out().len() < history.workers {
        let input = conductor.next().await;
        let acted = conductor.act(input, &mut store).await.map_err(CoordinatorError::DuringSweep)?;
        run_folder.set_aside(acted.set_aside);
    }
    Ok(conductor.into_engine())
}

async fn begin(
    bus: Bus,
    sweep: &Sweep,
    history: &History,
    run_folder: &RunFolder,
) -> anyhow::Result<Conductor> {
    let mut stored = run_folder.results();
    bus.agree_on(&history.timing).await?;
    let admitted = admit(&bus, &sweep.plan, history.ours_alone).await?;
    let outdated = outdated(&bus, &stored).await?;
    stored.retain(|job, _| !outdated.contains(job));
    run_folder.set_aside(outdated);
    let engine = admitted.engine(&|job| stored.contains_key(&job));
    Ok(Conductor::begin(bus, engine, Arc::new(admitted.plan), 0, Role::Conducting).await?)
}
