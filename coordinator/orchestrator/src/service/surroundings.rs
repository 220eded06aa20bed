//! What a session needs from the machine on which it runs. The simulation has another machine.

use std::process::ExitStatus;
use std::time::Duration;

use shared::ids::{JobId, WorkerId};
use shared::protocol::Presence;

use super::desertion::LocalWorkers;
use super::downloads::FetchedResult;
use crate::cost::forecast::Forecasts;
use crate::ensemble::live::Predictions;
use crate::fleet::Exit;
use crate::sweep::plan::Plan;
use crate::view::Sink;

/// The machine: our own server, the local workers, the state directory.
pub trait Host {
    /// Resolves when our own server ends; never for somebody else's. Dropping the future loses nothing.
    fn server_ended(&mut self) -> impl Future<Output = std::io::Result<ExitStatus>>;

    /// Restarts our own server after it ended.
    ///
    /// # Errors
    /// When that is impossible.
    fn revive(&mut self, status: ExitStatus, sink: &mut Sink) -> impl Future<Output = anyhow::Result<()>>;

    /// Checks what the run stands on. Called once a second.
    ///
    /// # Errors
    /// When the run cannot go on.
    fn check(&mut self, sink: &mut Sink) -> impl Future<Output = anyhow::Result<()>>;

    /// For how long the server has not answered, once that is worth reporting.
    fn server_away(&self) -> Option<Duration>;

    /// Restarts local workers that have ended, and returns them. `held_by` tells which jobs a worker held.
    ///
    /// # Errors
    /// When one cannot be started.
    fn tend(&mut self, held_by: &dyn Fn(&WorkerId) -> Vec<JobId>) -> anyhow::Result<Vec<Exit>>;

    /// This worker gets no more jobs, so it need not be restarted if it is one of ours.
    fn drain(&mut self, worker: &str);

    fn workers(&self) -> LocalWorkers;

    /// True for the presence of a local worker, which outlives the worker by a while.
    fn had(&self, worker: &Presence) -> bool;
}

/// The folder that holds a sweep's results and plan.
pub trait Folder {
    /// Stores a fetched result.
    ///
    /// # Errors
    /// When the folder cannot be written.
    fn store(&mut self, fetched: &FetchedResult) -> anyhow::Result<()>;

    /// Sets an outdated result aside, if there is one.
    ///
    /// # Errors
    /// When the folder cannot be written.
    fn set_aside(&mut self, job: JobId) -> anyhow::Result<()>;

    /// Takes a changed plan.
    ///
    /// # Errors
    /// When the folder cannot be written.
    fn follow(&mut self, plan: &Plan) -> anyhow::Result<()>;

    /// What earlier runs of the sweep foretold of its end. A file that cannot be read counts as none.
    fn forecasts(&self) -> Forecasts;

    /// Where stored predictions are read, from another thread; `None` if another run stores them, or nobody does.
    fn predictions(&self) -> Option<Box<dyn Predictions + Send>>;

    /// Keeps what is foretold of the sweep's end.
    ///
    /// # Errors
    /// When the folder cannot be written.
    fn keep(&mut self, forecasts: &Forecasts) -> anyhow::Result<()>;
}
