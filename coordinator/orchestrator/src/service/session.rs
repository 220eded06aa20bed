//! The loop around a running sweep: the conductor decides, and workers, subscribers and the run folder follow.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shared::bus::Bus;
use shared::protocol::Presence;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::attendance::Attendance;
use super::conductor::{Conductor, Role};
use super::desertion::{self, Desertion, PATIENCE, Rest, Staff, Verdict};
use super::downloads::FetchedResult;
use super::entering::Entered;
use super::eta;
use super::foretelling::Foretelling;
use super::input::{Acted, Input};
use super::lease::KeptLease;
use super::live_jobs::Workers;
use super::other_sweeps::OtherSweeps;
use super::scoring::Scoring;
use super::storing::is_refused;
use super::surroundings::{Folder, Host};
use crate::engine::Engine;
use crate::ensemble::live::{Candidate, Finished};
use crate::events::{Follower, Since, SweepEvent};
use crate::sweep::plan::Plan;
use crate::view::Sink;
use crate::view::labels::Labels;
use crate::view::model::{LiveJob, Snapshot};

/// A worker that sent no report for this long is not shown.
const REPORT_LIFE: Duration = Duration::from_secs(10);

/// Estimating the time that is left takes one part in so many of the time: it looks at every open job.
const ESTIMATE_SHARE: u32 = 100;

/// The shortest time between two estimates.
const ESTIMATE_PAUSE: Duration = Duration::from_secs(2);

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// Every job is stored, failed for good or cancelled, and every request is answered.
    Finished,
    /// No worker is left that may take jobs, and why.
    Stranded(String),
}

/// A sweep while it runs.
pub struct Session<'a, H, F> {
    conductor: Conductor,
    /// Whether this run conducts the sweep.
    lease: KeptLease,
    follower: Follower,
    folder: F,
    foretelling: Foretelling,
    scoring: Scoring,
    /// The plan that the run folder and the subscribers know.
    plan: Arc<Plan>,
    context: Context<'a, H>,
}

impl<H, F> std::fmt::Debug for Session<'_, H, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("conductor", &self.conductor).finish_non_exhaustive()
    }
}

/// What surrounds a running sweep.
struct Context<'a, H> {
    bus: Bus,
    host: H,
    sink: &'a mut Sink,
    snapshot: Snapshot,
    /// When the time that is left is estimated again.
    estimate_due: Instant,
    started: Instant,
    workers: Workers,
    attendance: Attendance,
    desertion: Desertion,
    rest: Rest,
}

/// What is left of a session.
#[derive(Debug)]
pub struct Ended<H> {
    pub engine: Engine,
    /// Workers that were drained, and why.
    pub drained: BTreeMap<String, String>,
    pub host: H,
}

impl<'a, H: Host, F: Folder> Session<'a, H, F> {
    /// Begins with a sweep that is in the books. `labels` name its jobs.
    pub fn begin(entered: Entered, host: H, folder: F, labels: Labels, sink: &'a mut Sink) -> Self {
        let Entered { bus, conductor, lease, snapshot, finished, .. } = entered;
        let plan = conductor.plan().clone();
        let scoring = Scoring::begin(bus.clone(), &plan, finished, folder.predictions(), conductor.role());
        let others = OtherSweeps::begin(bus.clone(), &plan.name);
        let workers = Workers { labels, others, reports: BTreeMap::new(), drained: BTreeMap::new() };
        let (started, desertion) = (Instant::now(), Desertion::default());
        let follower = Follower::of(&plan, Since::Now);
        let estimate_due = started;
        let (attendance, rest) = (Attendance::begin(bus.clone()), Rest::default());
        let foretelling = Foretelling::of(folder.forecasts());
        let context = Context {
            bus,
            host,
            sink,
            snapshot,
            estimate_due,
            started,
            workers,
            attendance,
            desertion,
            rest,
        };
        Self { conductor, lease, follower, folder, foretelling, scoring, plan, context }
    }

    /// Runs until every job has ended or no worker may take jobs any more. Dropping the future ends the run between two
    /// steps; what the books say is enough to go on.
    ///
    /// # Errors
    /// When waiting does not help: the store is damaged, the run folder cannot be written, or the state directory is
    /// gone.
    pub async fn run(&mut self) -> anyhow::Result<SessionEnd> {
        let mut reports = self.context.bus.hints().await?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.look()?; // To show something while the conductor acts for the first time.
        loop {
            tokio::select! {
                biased; // Rare events first, so that frequent ones cannot starve them.
                status = self.context.host.server_ended() => {
                    let Context { host, sink, .. } = &mut self.context;
                    host.revive(status?, sink).await?;
                }
                _ = second.tick() => self.every_second().await?,
                Some(report) = reports.next() => {
                    let worker = report.worker.clone();
                    self.context.workers.reports.insert(worker, (Instant::now(), report));
                }
                Ok(()) = self.lease.roles.changed() => self.take_role().await?,
                never = self.scoring.run() => match never {},
                input = self.conductor.next() => self.act(input, &mut second).await?,
            }
            if self.conductor.is_finished() {
                self.every_second().await?;
                self.tell_last_scores().await;
                self.foretelling.end(&mut self.folder)?;
                return Ok(SessionEnd::Finished);
            }
            if let Some(why) = self.stranded().await {
                self.tell_last_scores().await;
                return Ok(SessionEnd::Stranded(why));
            }
        }
    }

    /// Where the session tells what happens.
    pub(super) fn sink(&mut self) -> &mut Sink {
        self.context.sink
    }

    /// Gives the lease back and ends the session.
    pub async fn end(mut self) -> Ended<H> {
        if self.conductor.is_finished() {
            self.conductor.end().await;
        }
        self.lease.give_back().await;
        let Context { host, workers, .. } = self.context;
        Ended { engine: self.conductor.into_engine(), drained: workers.drained, host }
    }

    /// Begins to conduct the sweep, or to follow another run.
    async fn take_role(&mut self) -> anyhow::Result<()> {
        let role = *self.lease.roles.borrow_and_update();
        if role != self.conductor.role() {
            self.context.sink.remark(match role {
                Role::Conducting => "the other `ferry run` of this sweep is gone: this one conducts it now",
                Role::Following => "another `ferry run` has taken this sweep over: this one follows it",
            });
        }
        self.scoring.conduct(role);
        let acted = self.conductor.take(role).await;
        self.follow(acted)
    }

    /// Shows the final scores before the run ends: what the books say of them comes too late for that.
    async fn tell_last_scores(&mut self) {
        if let Some(board) = self.scoring.end().await {
            let events = self.follower.saw_scoreboard(&board);
            self.context.tell(&events);
        }
    }

    /// Lets the conductor act. That may wait for the server, so the display is updated in the meantime.
    async fn act(&mut self, input: Input, second: &mut Interval) -> anyhow::Result<()> {
        if let Some(fed) = input.fed() {
            let events = self.follower.saw(fed);
            self.context.tell(&events);
            let engine = self.conductor.engine();
            self.scoring.saw(fed, |job| engine.record(job).is_some());
        }
        let Self { conductor, folder, follower, scoring, context, .. } = self;
        let (mut scores, mut events) = (Vec::new(), Vec::new());
        let ranking = conductor.plan().ranking.clone();
        let mut store = |fetched: &FetchedResult| {
            let result = &fetched.result;
            if let Err(error) = folder.store(fetched) {
                if is_refused(&error) {
                    scoring.take(result.job, Candidate::Failed);
                }
                return Err(error);
            }
            let finished = Finished::of(result, &ranking);
            scoring.take(result.job, Candidate::Finished(finished));
            events.extend(follower.saw_result(result));
            scores.extend(finished.score.map(|score| (result.job, score)));
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
        context.tell(&events);
        for (job, score) in scores {
            context.snapshot.saw(job, score);
        }
        self.follow(acted)
    }

    /// Does what follows from an input outside the bus.
    fn follow(&mut self, Acted { set_aside, drained, added }: Acted) -> anyhow::Result<()> {
        for job in set_aside {
            self.folder.set_aside(job)?;
            self.scoring.take(job, Candidate::Open);
        }
        for (worker, reason) in drained {
            self.context.host.drain(&worker);
            self.context.workers.drained.insert(worker, reason);
        }
        self.follow_plan()?;
        for entry in added {
            let events = self.follower.saw_record(&entry);
            self.context.tell(&events);
        }
        Ok(())
    }

    /// Shows a changed plan, and lets the run folder follow it.
    fn follow_plan(&mut self) -> anyhow::Result<()> {
        if Arc::ptr_eq(&self.plan, self.conductor.plan()) {
            return Ok(());
        }
        self.plan = self.conductor.plan().clone();
        self.folder.follow(&self.plan)?;
        self.follower.follow(&self.plan);
        let failed = self.conductor.engine().failures().map(|(job, ..)| job).collect();
        self.scoring.follow(&self.plan, failed);
        self.context.relabel(&self.plan);
        Ok(())
    }

    async fn every_second(&mut self) -> anyhow::Result<()> {
        self.tend_workers()?;
        if self.context.attendance.look().await {
            self.look_for_drained();
        }
        self.look()?;
        self.context.every_second().await
    }

    /// Says so if every worker is drained by a user.
    fn look_for_drained(&mut self) {
        let (engine, Context { sink, rest, attendance, .. }) = (self.conductor.engine(), &mut self.context);
        let tally = engine.tally();
        let is_idle = tally.pending > 0 && tally.running == 0;
        let present = attendance.present().iter().map(|worker| worker.worker.name());
        if let Some(said) = rest.judge(is_idle, present, attendance.drains(), &engine.workers_out()) {
            sink.remark(&said);
        }
    }

    /// Restarts local workers that have ended, and enters into the books what killed them.
    fn tend_workers(&mut self) -> anyhow::Result<()> {
        let Self { conductor, context, .. } = self;
        let engine = conductor.engine();
        for exit in context.host.tend(&|worker| engine.held_by(worker))? {
            context.workers.reports.remove(&exit.worker);
            context.sink.remark(&exit.to_string());
            // Otherwise its restarted process finds its leftovers, and releases the job with the newest checkpoint.
            if exit.crash.is_some() || exit.restart_in.is_none() {
                conductor.worker_died(&exit.worker, &exit.held, exit.crash, &exit.tail);
            }
        }
        Ok(())
    }

    /// Takes a new snapshot.
    fn look(&mut self) -> anyhow::Result<()> {
        let Self { conductor, context, .. } = self;
        let engine = conductor.engine();
        let live = context.workers.live(engine);
        for LiveJob { report, score, .. } in live.iter().filter(|job| job.own) {
            if let Some(score) = *score {
                context.snapshot.saw(report.job, score);
            }
        }
        (context.snapshot.tally, context.snapshot.live) = (engine.tally(), live);
        let begun = Instant::now();
        if begun >= context.estimate_due || conductor.is_finished() {
            self.estimate()?;
            self.context.estimate_due = begun + (begun.elapsed() * ESTIMATE_SHARE).max(ESTIMATE_PAUSE);
        }
        Ok(())
    }

    /// Estimates the time that is left, and keeps what the run folder is to know of it.
    fn estimate(&mut self) -> anyhow::Result<()> {
        let Self { conductor, context, foretelling, folder, .. } = self;
        let usable = context.host.workers().usable;
        let moment = eta::look_ahead(conductor, &context.snapshot.live, &context.attendance, usable);
        context.snapshot.left = moment.left;
        foretelling.look(conductor, moment, folder)
    }

    /// Why no worker is left that may take jobs: all local workers are given up, and all that are connected from elsewhere
    /// are drained by the coordinator. One that a user has drained is left: the user may let it work again. `None` while a
    /// worker may take jobs, or a new one still has time to join.
    async fn stranded(&mut self) -> Option<String> {
        let out = self.conductor.engine().workers_out();
        let Context { bus, host, sink, workers, desertion, .. } = &mut self.context;
        let reporting = workers.reports.values().map(|(_, report)| report.worker.name());
        let staff = Staff::of(host.workers(), reporting, &out);
        let others = if desertion.asks(staff, Instant::now()) {
            let may_work = |worker: &Presence| !out.contains(worker.worker.name()) && !host.had(worker);
            bus.workers().await.ok().map(|present| present.iter().any(may_work))
        } else {
            None
        };
        match desertion.judge(staff, others, Instant::now()) {
            Verdict::GoOn => None,
            Verdict::Deserted => {
                let (why, wait) = (desertion::why(&workers.drained), PATIENCE.as_secs());
                sink.remark(&format!("{why}; waiting up to {wait} s for another worker"));
                None
            }
            Verdict::Stranded => Some(desertion::why(&workers.drained)),
        }
    }
}

impl<H: Host> Context<'_, H> {
    /// Checks the machine, the server and other sweeps, and shows the last snapshot.
    async fn every_second(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for news in self.workers.others.news().await {
            self.sink.remark(&news);
        }
        self.workers.reports.retain(|_, (came, _)| now.saturating_duration_since(*came) < REPORT_LIFE);
        self.host.check(self.sink).await?;
        (self.snapshot.elapsed, self.snapshot.server_away) =
            (self.started.elapsed(), self.host.server_away());
        self.sink.refresh(&self.snapshot);
        Ok(())
    }

    fn relabel(&mut self, plan: &Plan) {
        self.snapshot.follow(plan);
        let labels = Labels::of(plan).from_file(self.workers.labels.file());
        self.sink.relabel(&labels);
        self.workers.labels = labels;
    }

    fn tell(&mut self, events: &[SweepEvent]) {
        for event in events {
            self.snapshot.heard(&event.kind);
            self.sink.event(event, &self.snapshot);
        }
    }
}
