//! The surroundings of a real run: local workers, a server, a state directory and a run folder.

use std::collections::BTreeSet;
use std::process::ExitStatus;
use std::time::Duration;

use shared::ids::{JobId, WorkerId};
use shared::protocol::Presence;
use tokio::time::Instant;

use super::desertion::LocalWorkers;
use super::downloads::FetchedResult;
use super::server_monitor::ServerMonitor;
use super::stored_predictions::StoredPredictions;
use super::surroundings::{Folder, Host};
use crate::cost::forecast::Forecasts;
use crate::ensemble::live::Predictions;
use crate::fleet::{Exit, Fleet};
use crate::home::HomeLock;
use crate::run_dir::{ResultWriter, RunDir};
use crate::sweep::plan::Plan;
use crate::view::Sink;

/// This machine.
pub(super) struct LocalHost<'a> {
    pub(super) fleet: Fleet,
    pub(super) monitor: ServerMonitor<'a>,
    pub(super) home: HomeCheck<'a>,
    pub(super) run_dir: &'a RunDir,
}

/// Whether the state directory is still there.
pub(super) struct HomeCheck<'a> {
    /// `None` if another ferry has it.
    pub(super) lock: Option<&'a HomeLock>,
    /// True if the server's store is in it.
    pub(super) holds_store: bool,
    /// True if the user has been told that it is gone.
    pub(super) told: bool,
}

impl HomeCheck<'_> {
    /// Without the store in it the sweep cannot continue; everything else in it can be made again.
    fn check(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        let Self { lock, holds_store, told } = self;
        let Some(lock) = lock else { return Ok(()) };
        match lock.check(if *holds_store { &["nats", "nats/store/jetstream"] } else { &[] }) {
            Ok(()) => Ok(()),
            Err(error) if *holds_store => Err(error.into()),
            Err(error) => {
                if !std::mem::replace(told, true) {
                    sink.remark(&format!("{error}; the sweep continues, because the server is elsewhere"));
                }
                Ok(())
            }
        }
    }
}

impl Host for LocalHost<'_> {
    async fn server_ended(&mut self) -> std::io::Result<ExitStatus> {
        self.monitor.server_ended().await
    }

    async fn revive(&mut self, status: ExitStatus, sink: &mut Sink) -> anyhow::Result<()> {
        self.monitor.revive(status, sink).await
    }

    async fn check(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        self.home.check(sink)?;
        self.run_dir.check()?;
        self.monitor.look_after(sink).await
    }

    fn server_away(&self) -> Option<Duration> {
        self.monitor.away()
    }

    fn tend(&mut self, held_by: &dyn Fn(&WorkerId) -> Vec<JobId>) -> anyhow::Result<Vec<Exit>> {
        Ok(self.fleet.tend(Instant::now(), held_by)?)
    }

    fn drain(&mut self, worker: &str) {
        self.fleet.drain(worker);
    }

    fn workers(&self) -> LocalWorkers {
        LocalWorkers { usable: self.fleet.usable(), are_lost: self.fleet.is_lost() }
    }

    fn had(&self, worker: &Presence) -> bool {
        self.fleet.had(worker)
    }
}

/// The run folder.
pub(super) struct LocalFolder<'a> {
    run_dir: &'a RunDir,
    /// `None` if another run stores the results.
    writer: Option<ResultWriter>,
}

impl<'a> LocalFolder<'a> {
    /// The run folder, which holds this plan, without these results.
    pub(super) fn of(run_dir: &'a RunDir, plan: &Plan, outdated: &BTreeSet<JobId>) -> anyhow::Result<Self> {
        for &job in outdated {
            run_dir.set_aside(job)?;
        }
        Ok(Self { run_dir, writer: Some(run_dir.result_writer_for(plan)?) })
    }

    /// A run folder into which another run stores the results.
    pub(super) fn watched(run_dir: &'a RunDir) -> Self {
        Self { run_dir, writer: None }
    }
}

impl Folder for LocalFolder<'_> {
    fn store(&mut self, fetched: &FetchedResult) -> anyhow::Result<()> {
        self.run_dir.check()?;
        if let Some(writer) = &mut self.writer {
            writer.write(&fetched.result, &fetched.files)?;
        }
        Ok(())
    }

    fn set_aside(&mut self, job: JobId) -> anyhow::Result<()> {
        if self.writer.is_some() {
            self.run_dir.set_aside(job)?;
        }
        Ok(())
    }

    fn follow(&mut self, plan: &Plan) -> anyhow::Result<()> {
        if let Some(writer) = &mut self.writer {
            self.run_dir.write_plan(plan)?;
            writer.take(plan);
        }
        Ok(())
    }

    fn forecasts(&self) -> Forecasts {
        self.run_dir.forecasts().ok().flatten().unwrap_or_default()
    }

    fn predictions(&self) -> Option<Box<dyn Predictions + Send>> {
        let stored = || Box::new(StoredPredictions::of(self.run_dir.clone()));
        if self.writer.is_some() { Some(stored()) } else { None }
    }

    fn keep(&mut self, forecasts: &Forecasts) -> anyhow::Result<()> {
        self.run_dir.check()?;
        if self.writer.is_some() {
            self.run_dir.write_forecasts(forecasts)?;
        }
        Ok(())
    }
}
