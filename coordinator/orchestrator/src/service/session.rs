//! The loop around a running sweep: the conductor decides, and processes, displays and the run folder follow.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shared::books::JobState;
use shared::bus::Bus;
use shared::ids::WorkerId;
use shared::protocol::{LiveReport, Presence};
use shared::signals::StopSignals;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::conductor::{Acted, Conductor, Input, Role};
use super::downloads::FetchedResult;
use super::lease::KeptLease;
use super::other_sweeps::OtherSweeps;
use super::say_stopping;
use super::server_monitor::ServerMonitor;
use crate::engine::{Engine, Notice};
use crate::fleet::Fleet;
use crate::home::HomeLock;
use crate::run_dir::{ResultWriter, RunDir};
use crate::sweep::plan::Plan;
use crate::view::View;
use crate::view::labels::Labels;
use crate::view::model::{LiveJob, Snapshot};

/// How often the server is asked for workers when none seems to be left.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The run ends when there has been no worker that may take jobs for this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A worker that sent no report for this long is not shown.
const REPORT_LIFE: Duration = Duration::from_secs(10);

/// How a session ended.
pub(super) enum SessionEnd {
    Finished,
    Interrupted,
    /// No worker is left that may take jobs, and why.
    Stranded(String),
}

/// A sweep while it runs.
pub(super) struct Session<'a> {
    pub(super) conductor: Conductor,
    pub(super) writer: ResultWriter,
    pub(super) context: SessionContext<'a>,
    /// The plan that the run folder and the display show.
    pub(super) plan: Arc<Plan>,
    /// Whether this run conducts the sweep.
    pub(super) lease: KeptLease,
}

/// What surrounds a running sweep: workers, server, home, display.
pub(super) struct SessionContext<'a> {
    pub(super) bus: Bus,
    pub(super) fleet: Fleet,
    pub(super) monitor: ServerMonitor<'a>,
    pub(super) home: HomeCheck<'a>,
    pub(super) run_dir: &'a RunDir,
    pub(super) view: &'a mut View,
    pub(super) snapshot: Snapshot,
    pub(super) started: Instant,
    pub(super) workers: Workers,
}

/// Whether the state directory is still there.
pub(super) struct HomeCheck<'a> {
    pub(super) lock: &'a HomeLock,
    /// True if the server's store is in it.
    pub(super) holds_store: bool,
    /// True if the user has been told that it is gone.
    pub(super) told: bool,
}

/// What is known about the workers that train here.
pub(super) struct Workers {
    labels: Labels,
    others: OtherSweeps,
    /// The last report of each worker, and when it arrived.
    reports: BTreeMap<WorkerId, (Instant, LiveReport)>,
    /// Workers that were drained, and why.
    pub(super) drained: BTreeMap<String, String>,
    /// When the server was last asked whether any worker may take jobs.
    asked: Option<Instant>,
    /// Since when no worker may take jobs.
    deserted: Option<Instant>,
}

impl Workers {
    pub(super) fn new(labels: Labels, others: OtherSweeps) -> Self {
        Self {
            labels,
            others,
            reports: BTreeMap::new(),
            drained: BTreeMap::new(),
            asked: None,
            deserted: None,
        }
    }

    /// What each worker trains now. Reports that contradict the records are left out: a worker that lost its job may
    /// not know it yet.
    fn live(&mut self, engine: &Engine) -> Vec<LiveJob> {
        let Self { labels, others, reports, .. } = self;
        let mut live = Vec::new();
        for (_, report) in reports.values() {
            let Some(label) = labels.find(report.job) else {
                let label = others.label(report.job);
                live.push(LiveJob { report: report.clone(), label, own: false, score: None });
                continue;
            };
            let Some(record) = engine.record(report.job) else { continue };
            let JobState::Running { token, .. } = &record.state else { continue };
            if token.owner == report.worker {
                let (label, score) = (label.to_owned(), record.last_score());
                live.push(LiveJob { report: report.clone(), label, own: true, score });
            }
        }
        live
    }
}

impl Session<'_> {
    /// Runs until every job is stored or failed for good, the user interrupts, or no worker may take jobs any more.
    ///
    /// # Errors
    /// When waiting does not help: the store is damaged, the run folder cannot be written, or the state directory is
    /// gone.
    pub(super) async fn run_to_end(&mut self, stop: &mut StopSignals) -> anyhow::Result<SessionEnd> {
        // A request to stop ends the session immediately, even if it waits for a server that is away.
        let ended = tokio::select! {
            biased;
            () = stop.requested() => None,
            outcome = self.watch() => Some(outcome?),
        };
        if ended.is_none() {
            say_stopping(self.context.view);
        }
        Ok(ended.unwrap_or(SessionEnd::Interrupted))
    }

    async fn watch(&mut self) -> anyhow::Result<SessionEnd> {
        let mut reports = self.context.bus.hints().await?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.look(); // To show something while the conductor acts for the first time.
        loop {
            tokio::select! {
                biased; // Rare events first, so that frequent ones cannot starve them.
                status = self.context.monitor.server_ended() => {
                    let SessionContext { monitor, view, .. } = &mut self.context;
                    monitor.revive(status?, view).await?;
                }
                _ = second.tick() => self.every_second().await?,
                Some(report) = reports.next() => {
                    let worker = report.worker.clone();
                    self.context.workers.reports.insert(worker, (Instant::now(), report));
                }
                Ok(()) = self.lease.roles.changed() => self.take_role().await?,
                input = self.conductor.next() => self.act(input, &mut second).await?,
            }
            if self.conductor.is_finished() {
                self.every_second().await?;
                return Ok(SessionEnd::Finished);
            }
            let out = self.conductor.engine().workers_out();
            if let Some(why) = self.context.stranded(&out).await {
                return Ok(SessionEnd::Stranded(why));
            }
        }
    }

    /// Begins to conduct the sweep, or to follow another run.
    async fn take_role(&mut self) -> anyhow::Result<()> {
        let role = *self.lease.roles.borrow_and_update();
        if role != self.conductor.role() {
            self.context.view.remark(match role {
                Role::Conducting => "the other `ferry run` of this sweep is gone: this one conducts it now",
                Role::Following => "another `ferry run` has taken this sweep over: this one follows it",
            });
        }
        let acted = self.conductor.take(role).await;
        self.follow(acted)
    }

    /// Lets the conductor act. That may wait for the server, so the display is updated in the meantime.
    async fn act(&mut self, input: Input, second: &mut Interval) -> anyhow::Result<()> {
        let Self { conductor, writer, context, .. } = self;
        let (run_dir, mut scores) = (context.run_dir, Vec::new());
        let ranking = conductor.plan().ranking.clone();
        let mut store = |fetched: &FetchedResult| {
            run_dir.check()?;
            writer.write(&fetched.result, &fetched.files)?;
            scores.extend(ranking.score(&fetched.result.metrics).map(|score| (fetched.result.job, score)));
            Ok(())
        };
        let acted = {
            let mut acting = pin!(conductor.act(input, &mut store));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut acting => break outcome?,
                    _ = second.tick() => context.every_second().await?,
                }
            }
        };
        for (job, score) in scores {
            context.snapshot.saw(job, score);
        }
        self.follow(acted)
    }

    /// Does what follows from an input outside the bus.
    fn follow(&mut self, Acted { notices, set_aside }: Acted) -> anyhow::Result<()> {
        for job in set_aside {
            self.context.run_dir.set_aside(job)?;
        }
        self.follow_plan()?;
        for notice in notices {
            self.context.tell(&notice);
        }
        Ok(())
    }

    /// Shows a changed plan, and lets the run folder follow it.
    fn follow_plan(&mut self) -> anyhow::Result<()> {
        if Arc::ptr_eq(&self.plan, self.conductor.plan()) {
            return Ok(());
        }
        self.plan = self.conductor.plan().clone();
        self.context.run_dir.write_plan(&self.plan)?;
        self.writer.take(&self.plan);
        self.context.relabel(&self.plan);
        Ok(())
    }

    async fn every_second(&mut self) -> anyhow::Result<()> {
        self.tend_workers()?;
        self.look();
        self.context.every_second().await
    }

    /// Restarts local workers that have ended, and enters into the books what killed them.
    fn tend_workers(&mut self) -> anyhow::Result<()> {
        let Self { conductor, context, .. } = self;
        let engine = conductor.engine();
        for exit in context.fleet.tend(Instant::now(), |worker| engine.held_by(worker))? {
            context.workers.reports.remove(&exit.worker);
            context.view.remark(&exit.to_string());
            // Otherwise its restarted process finds its leftovers, and releases the job with the newest checkpoint.
            if exit.crash.is_some() || exit.restart_in.is_none() {
                conductor.worker_died(&exit.worker, &exit.held, exit.crash, &exit.tail);
            }
        }
        Ok(())
    }

    /// Takes a new snapshot.
    fn look(&mut self) {
        let Self { conductor, context, .. } = self;
        let engine = conductor.engine();
        let live = context.workers.live(engine);
        for LiveJob { report, score, .. } in live.iter().filter(|job| job.own) {
            if let Some(score) = *score {
                context.snapshot.saw(report.job, score);
            }
        }
        let workers = live.len().max(context.fleet.usable());
        let eta = conductor.cost().eta(&engine.open_jobs(), workers);
        context.snapshot = Snapshot { tally: engine.tally(), live, eta, ..context.snapshot.clone() };
    }
}

impl SessionContext<'_> {
    /// Checks the state directory, the server and other sweeps, and shows the last snapshot.
    async fn every_second(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        self.check_home()?;
        self.run_dir.check()?;
        for news in self.workers.others.news().await {
            self.view.remark(&news);
        }
        self.workers.reports.retain(|_, (came, _)| now.saturating_duration_since(*came) < REPORT_LIFE);
        self.monitor.look_after(self.view).await?;
        (self.snapshot.elapsed, self.snapshot.server_away) = (self.started.elapsed(), self.monitor.away());
        self.view.refresh(&self.snapshot);
        Ok(())
    }

    /// Checks that the state directory is still there. Without the store in it the sweep cannot continue; everything
    /// else in it can be made again.
    fn check_home(&mut self) -> anyhow::Result<()> {
        let HomeCheck { lock, holds_store, told } = &mut self.home;
        match lock.check(if *holds_store { &["nats", "nats/store/jetstream"] } else { &[] }) {
            Ok(()) => Ok(()),
            Err(error) if *holds_store => Err(error.into()),
            Err(error) => {
                if !std::mem::replace(told, true) {
                    self.view
                        .remark(&format!("{error}; the sweep continues, because the server is elsewhere"));
                }
                Ok(())
            }
        }
    }

    fn relabel(&mut self, plan: &Plan) {
        let labels = Labels::of(plan).from_file(self.workers.labels.file());
        self.workers.labels = labels.clone();
        self.view.relabel(labels);
    }

    fn tell(&mut self, notice: &Notice) {
        if let Notice::Epoch { job, score, .. } = notice {
            self.snapshot.saw(*job, *score);
        }
        if let Notice::Drained { worker, reason } = notice {
            self.fleet.drain(worker);
            self.workers.drained.insert(worker.clone(), reason.clone());
        }
        self.view.notice(notice, &self.snapshot);
    }

    /// Why no worker is left that may take jobs: all local workers are given up, and all that are connected from
    /// elsewhere are drained. `None` while a worker may take jobs, or a new one still has time to join.
    async fn stranded(&mut self, out: &BTreeSet<String>) -> Option<String> {
        if !self.is_deserted(out).await {
            self.workers.deserted = None;
            return None;
        }
        let reasons: Vec<String> =
            self.workers.drained.iter().map(|(worker, reason)| format!("{worker}: {reason}")).collect();
        let reasons =
            if reasons.is_empty() { "their logs say why (see above)".to_owned() } else { reasons.join("; ") };
        let why = format!(
            "no worker can take jobs: all local workers are given up, and no other one is connected; {reasons}"
        );
        let Some(since) = self.workers.deserted else {
            self.workers.deserted = Some(Instant::now());
            self.view.remark(&format!("{why}; waiting up to {} s for another worker", PATIENCE.as_secs()));
            return None;
        };
        (since.elapsed() >= PATIENCE).then_some(why)
    }

    /// True if, as far as the server knows, there is now no worker that may take jobs.
    async fn is_deserted(&mut self, out: &BTreeSet<String>) -> bool {
        let gone = self.fleet.is_lost() || (self.fleet.usable() == 0 && !out.is_empty());
        let mut reports = self.workers.reports.values();
        if !gone || reports.any(|(_, report)| !out.contains(report.worker.name())) {
            return false;
        }
        if self.workers.asked.is_some_and(|at| at.elapsed() < ASK_AGAIN) {
            return self.workers.deserted.is_some();
        }
        self.workers.asked = Some(Instant::now());
        let Ok(present) = self.bus.workers().await else { return self.workers.deserted.is_some() };
        let may_work = |worker: &Presence| !out.contains(worker.worker.name()) && !self.fleet.had(worker);
        !present.iter().any(may_work)
    }
}
