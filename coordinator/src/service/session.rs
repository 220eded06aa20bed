//! The loop around a running sweep: the conductor decides, and processes, displays and the run folder follow.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::books::JobState;
use shared::bus::Bus;
use shared::ids::WorkerId;
use shared::protocol::{LiveReport, Presence};
use tokio::time::{Instant, MissedTickBehavior};

use super::care::Care;
use super::conductor::{Conductor, Occurrence};
use super::downloads::FetchedResult;
use super::{interrupted, saw};
use crate::broker::Broker;
use crate::engine::Notice;
use crate::fleet::{Exit, Fleet};
use crate::run_dir::RunDir;
use crate::view::View;
use crate::view::model::Snapshot;

/// Time between two looks for workers when none seems to be left.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Nobody who may work was there for this long: the run ends.
const PATIENCE: Duration = Duration::from_mins(1);

/// A worker that sent no hint for this long is not shown.
const HINT_LIFE: Duration = Duration::from_secs(10);

/// How the watch over a sweep ended.
pub(super) enum Watched {
    Finished,
    Interrupted,
    /// Nobody who may work is left, and why.
    Stranded(String),
}

/// A sweep while it runs.
pub(super) struct Session<'a> {
    pub(super) conductor: Conductor,
    pub(super) bus: Bus,
    pub(super) fleet: Fleet,
    live: BTreeMap<WorkerId, (Instant, LiveReport)>,
    /// Workers that are out, and why.
    pub(super) reasons: BTreeMap<String, String>,
    care: Care<'a>,
    /// When the server was last asked whether anybody who may work is there.
    asked: Option<Instant>,
    /// Since when nobody is.
    deserted: Option<Instant>,
    started: Instant,
    snapshot: Snapshot,
    run_dir: &'a RunDir,
    pub(super) view: &'a mut View,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        conductor: Conductor,
        fleet: Fleet,
        snapshot: Snapshot,
        bus: Bus,
        run_dir: &'a RunDir,
        view: &'a mut View,
        broker: &'a mut Option<Broker>,
    ) -> Self {
        Self {
            conductor,
            care: Care::of(bus.clone(), broker),
            bus,
            fleet,
            live: BTreeMap::new(),
            reasons: BTreeMap::new(),
            asked: None,
            deserted: None,
            started: Instant::now(),
            snapshot,
            run_dir,
            view,
        }
    }

    /// Until every job is stored or failed for good, the user interrupts, or nobody may work any more.
    pub(super) async fn watch_over(&mut self) -> anyhow::Result<Watched> {
        let mut hints = self.bus.hints().await?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut interrupt = Box::pin(interrupted());
        loop {
            tokio::select! {
                biased; // What is rare goes first, so that nothing is drowned.
                outcome = &mut interrupt => { outcome?; return Ok(Watched::Interrupted); }
                status = self.care.server_ended() => {
                    if self.care.revive(status?, self.view).await? {
                        return Ok(Watched::Interrupted);
                    }
                }
                _ = second.tick() => {
                    self.every_second()?;
                    self.care.look_after(self.view).await?;
                }
                Some(report) = hints.next() => {
                    self.live.insert(report.worker.clone(), (Instant::now(), report));
                }
                occurrence = self.conductor.next() => self.follow(occurrence).await?,
            }
            if self.conductor.engine().is_finished() {
                self.every_second()?;
                return Ok(Watched::Finished);
            }
            if let Some(why) = self.stranded().await {
                return Ok(Watched::Stranded(why));
            }
        }
    }

    async fn follow(&mut self, occurrence: Occurrence) -> anyhow::Result<()> {
        let Self { run_dir, snapshot, .. } = self;
        let mut store = |fetched: &FetchedResult| {
            run_dir.write_result(&fetched.result, &fetched.validation, fetched.test.as_deref())?;
            saw(snapshot, &fetched.result);
            Ok(())
        };
        for notice in self.conductor.act(occurrence, &mut store).await? {
            if let Notice::Epoch { job, macro_f1, .. } = &notice {
                self.snapshot.saw(*job, *macro_f1);
            }
            if let Notice::Drained { worker, reason } = &notice {
                self.fleet.drain(worker);
                self.reasons.insert(worker.clone(), reason.clone());
            }
            self.view.notice(&notice, &self.snapshot);
        }
        Ok(())
    }

    fn every_second(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let engine = self.conductor.engine();
        for exit in self.fleet.tend(now, |worker| engine.held_by(worker))? {
            let Exit { name, worker, status, crash, held, again_in, log, tail } = exit;
            let what = match again_in {
                Some(rest) if rest.is_zero() => "restarting it".to_owned(),
                Some(rest) => format!("restarting it in {} s", rest.as_secs()),
                None => format!("not restarting it; the end of {}:\n{tail}", log.display()),
            };
            self.view.remark(&format!("worker {name} ended ({status}); {what}"));
            // Else its next life finds what it left behind, and gives the job back with the newest checkpoint.
            if crash.is_some() || again_in.is_none() {
                self.conductor.worker_died(worker, &held, crash, &tail);
            }
        }
        self.live.retain(|_, (seen, _)| now.saturating_duration_since(*seen) < HINT_LIFE);
        self.look();
        self.view.refresh(&self.snapshot);
        Ok(())
    }

    /// Why no worker is left that may work: all local ones are given up, and of those that are connected from
    /// elsewhere, if any ever was, all are drained. Whoever joins within some time is waited for.
    async fn stranded(&mut self) -> Option<String> {
        if !self.is_deserted().await {
            self.deserted = None;
            return None;
        }
        let reasons: Vec<String> =
            self.reasons.iter().map(|(worker, reason)| format!("{worker}: {reason}")).collect();
        let reasons =
            if reasons.is_empty() { "their logs say why (see above)".to_owned() } else { reasons.join("; ") };
        let why =
            format!("no local worker can run and none that may work is connected from elsewhere; {reasons}");
        let Some(since) = self.deserted else {
            self.deserted = Some(Instant::now());
            self.view.remark(&format!("{why}; another one is waited for for {} s", PATIENCE.as_secs()));
            return None;
        };
        (since.elapsed() >= PATIENCE).then_some(why)
    }

    /// True when nobody who may work is there now, as far as the server says.
    async fn is_deserted(&mut self) -> bool {
        let out = self.conductor.engine().workers_out();
        let gone = self.fleet.is_lost() || (self.fleet.usable() == 0 && !out.is_empty());
        if !gone || self.live.values().any(|(_, report)| !out.contains(report.worker.name())) {
            return false;
        }
        if self.asked.is_some_and(|at| at.elapsed() < ASK_AGAIN) {
            return self.deserted.is_some();
        }
        self.asked = Some(Instant::now());
        let Ok(present) = self.bus.workers().await else { return self.deserted.is_some() };
        let may_work = |worker: &Presence| !out.contains(worker.worker.name()) && !self.fleet.had(worker);
        !present.iter().any(may_work)
    }

    fn look(&mut self) {
        let engine = self.conductor.engine();
        let score = |report: &LiveReport| match &engine.record(report.job)?.state {
            JobState::Running { progress, .. } => progress.macro_f1,
            JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
                None
            }
        };
        let live: Vec<LiveReport> = self.live.values().map(|(_, report)| report.clone()).collect();
        let scores: Vec<Option<f64>> = live.iter().map(score).collect();
        for (report, f1) in live.iter().zip(&scores) {
            if let Some(f1) = *f1 {
                self.snapshot.saw(report.job, f1);
            }
        }
        let open = engine.open_jobs();
        let workers = self.live.len().max(self.fleet.usable());
        let eta = self.conductor.cost().eta(&open, workers);
        let (tally, elapsed) = (engine.tally(), self.started.elapsed());
        self.snapshot = Snapshot { tally, live, scores, elapsed, eta, ..self.snapshot.clone() };
    }
}
