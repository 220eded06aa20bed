//! One run of the coordinator: start-up and session as in `ferry run`, with a map in place of the run folder, and without
//! workers of its own.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrator::cost::forecast::Forecasts;
use orchestrator::engine::Engine;
use orchestrator::ensemble::live::Predictions;
use orchestrator::events::SweepEvent;
use orchestrator::fleet::Exit;
use orchestrator::service::{
    Ended, Entering, FetchedResult, Folder, Holder, Host, LocalWorkers, Session, SessionEnd, enter,
};
use orchestrator::sweep::plan::Plan;
use orchestrator::view::labels::Labels;
use orchestrator::view::model::Snapshot;
use orchestrator::view::{Sink, Subscriber};
use shared::bus::Bus;
use shared::ids::{JobId, WorkerId};
use shared::protocol::Presence;
use shared::result::JobResult;
use shared::trainer::DatasetSize;

use super::history::History;
use super::sweep::Sweep;

/// Hears of each result that is stored, and of each event.
pub(super) trait Witness: Clone + 'static {
    fn stored(&self, job: JobId);
    fn told(&self, event: &SweepEvent);
}

/// The results on disk, which survive the coordinator.
#[derive(Debug, Clone, Default)]
pub(super) struct RunFolder {
    results: Arc<Mutex<BTreeMap<JobId, JobResult>>>,
}

impl RunFolder {
    pub(super) fn results(&self) -> BTreeMap<JobId, JobResult> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remove(&self, job: JobId) {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
    }

    fn put(&self, result: JobResult) {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).insert(result.job, result);
    }
}

/// The run folder of one run.
struct Opened<W> {
    folder: RunFolder,
    witness: W,
}

impl<W: Witness> Folder for Opened<W> {
    fn store(&mut self, fetched: &FetchedResult) -> anyhow::Result<()> {
        self.witness.stored(fetched.result.job);
        self.folder.put(fetched.result.clone());
        Ok(())
    }

    fn set_aside(&mut self, job: JobId) -> anyhow::Result<()> {
        self.folder.remove(job);
        Ok(())
    }

    fn follow(&mut self, _plan: &Plan) -> anyhow::Result<()> {
        Ok(())
    }

    fn forecasts(&self) -> Forecasts {
        Forecasts::default()
    }

    fn predictions(&self) -> Option<Box<dyn Predictions + Send>> {
        None
    }

    fn keep(&mut self, _forecasts: &Forecasts) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A machine without a server and without workers.
struct Bare;

impl Host for Bare {
    async fn server_ended(&mut self) -> std::io::Result<ExitStatus> {
        std::future::pending().await
    }

    async fn revive(&mut self, _status: ExitStatus, _sink: &mut Sink) -> anyhow::Result<()> {
        Ok(())
    }

    async fn check(&mut self, _sink: &mut Sink) -> anyhow::Result<()> {
        Ok(())
    }

    fn server_away(&self) -> Option<Duration> {
        None
    }

    fn tend(&mut self, _held_by: &dyn Fn(&WorkerId) -> Vec<JobId>) -> anyhow::Result<Vec<Exit>> {
        Ok(Vec::new())
    }

    fn drain(&mut self, _worker: &str) {}

    fn workers(&self) -> LocalWorkers {
        LocalWorkers { usable: 0, are_lost: false }
    }

    fn had(&self, _worker: &Presence) -> bool {
        false
    }
}

/// Passes events on.
struct Listening<W>(W);

impl<W: Witness> Subscriber for Listening<W> {
    fn event(&mut self, event: &SweepEvent, _snapshot: &Snapshot) {
        self.0.told(event);
    }

    fn remark(&mut self, _text: &str) {}

    fn refresh(&mut self, _snapshot: &Snapshot) {}

    fn relabel(&mut self, _labels: &Labels) {}

    fn close(&mut self) {}
}

/// Why the coordinator ended before the sweep.
#[derive(Debug)]
pub(super) enum CoordinatorError {
    /// During start-up: `ferry run` says so and the user starts it again.
    BeforeSweep(anyhow::Error),
    /// Later: that must not happen, whatever the server does.
    DuringSweep(anyhow::Error),
}

/// Runs until the session ends.
pub(super) async fn run(
    bus: Bus,
    holder: Holder,
    sweep: &Sweep,
    history: &History,
    run_folder: &RunFolder,
    witness: impl Witness,
) -> Result<(SessionEnd, Engine), CoordinatorError> {
    let mut sink = Sink::of(Listening(witness.clone()));
    let entering = Entering {
        plan: &sweep.plan,
        stored: &run_folder.results(),
        dataset_size: DatasetSize::default(),
        most_queued: history.most_queued,
        timing: Some(history.timing),
        ours_alone: history.ours_alone,
        holder,
    };
    let entered = enter(&bus, entering, &mut sink).await.map_err(CoordinatorError::BeforeSweep)?;
    for &job in &entered.outdated {
        run_folder.remove(job);
    }
    let labels = Labels::of(entered.conductor.plan());
    let folder = Opened { folder: run_folder.clone(), witness };
    let mut session = Session::begin(entered, Bare, folder, labels, &mut sink);
    let end = session.run().await.map_err(CoordinatorError::DuringSweep)?;
    let Ended { engine, .. } = session.end().await;
    Ok((end, engine))
}
