//! Follows the schedule: injects faults and repairs them, restarts processes that ended, and waits for the sweep's end.

use std::process::ExitStatus;
use std::time::Duration;

use orchestrator::broker::tail;
use orchestrator::service::interrupted;
use tokio::time::{Instant, MissedTickBehavior};

use super::cost::Injection;
use super::deployment::Deployment;
use super::fault::Fault;
use super::inject::{Injected, Repair};
use super::schedule::Step;
use super::view::View;

/// What happened during the run.
#[derive(Debug)]
pub(super) struct Summary {
    pub injections: Vec<Injection>,
    /// Faults that found no target before the time was over or the sweep was done.
    pub missed: usize,
    /// Processes that ended on their own and were restarted, as a service manager would.
    pub ended: Vec<String>,
    /// How many of these would not have come back without an operator.
    pub operator_commands: usize,
    pub took: Duration,
    pub end: RunEnd,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum RunEnd {
    Finished,
    /// The sweep did not end in time.
    TimedOut,
    /// The user stopped it.
    Interrupted,
}

/// When and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub start: Instant,
    /// No fault is injected after this time.
    pub length: Duration,
}

/// The sweep is given up when nothing happens for this long: no fault, no repair, and no job that ends.
pub(super) const QUIET_LIMIT: Duration = Duration::from_mins(5);

/// Time until a fault or repair that was not possible is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Time until a process that ended on its own is restarted.
const RESTART: Duration = Duration::from_secs(1);

/// How long the last records may take to reach the observer after the coordinator has ended. The server may be down.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Exit code of a worker that would fail again if it were restarted.
const UNUSABLE: i32 = 2;

/// Something to do at a certain time.
#[derive(Debug, Clone, Copy)]
enum Scheduled {
    Fault(Fault),
    Repair(Repair),
}

struct Runner<'a> {
    deployment: &'a mut Deployment,
    times: Times,
    jobs: usize,
    due: Vec<(Instant, Scheduled)>,
    summary: Summary,
    /// The time of the last fault, repair or end of a job.
    quiet_since: Instant,
    /// Jobs that have ended.
    ended_jobs: usize,
    /// When the coordinator ended on its own, and how.
    coordinator_ended: Option<(Instant, ExitStatus)>,
    finished: bool,
}

/// Runs the schedule and waits for the end of a sweep of this many jobs.
pub(super) async fn run(
    deployment: &mut Deployment,
    steps: &[Step],
    jobs: usize,
    times: Times,
    view: &mut View,
) -> anyhow::Result<Summary> {
    let due = steps.iter().map(|step| (times.start + step.at, Scheduled::Fault(step.fault))).collect();
    let summary = Summary {
        injections: Vec::new(),
        missed: 0,
        ended: Vec::new(),
        operator_commands: 0,
        took: Duration::ZERO,
        end: RunEnd::Finished,
    };
    let mut runner = Runner {
        deployment,
        times,
        jobs,
        due,
        summary,
        quiet_since: Instant::now(),
        ended_jobs: 0,
        coordinator_ended: None,
        finished: false,
    };
    let mut interrupt = Box::pin(interrupted());
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !runner.finished {
        let next = runner.next();
        tokio::select! {
            biased;
            outcome = &mut interrupt => {
                outcome?;
                runner.summary.end = RunEnd::Interrupted;
                break;
            }
            () = tokio::time::sleep_until(next) => runner.act(view).await?,
            _ = second.tick() => runner.check(view)?,
        }
    }
    runner.summary.took = times.start.elapsed();
    runner.summary.missed = steps.len() - runner.summary.injections.len();
    Ok(runner.summary)
}

impl Runner<'_> {
    fn next(&self) -> Instant {
        let earliest = self.due.iter().map(|(at, _)| *at).min();
        earliest.unwrap_or_else(|| Instant::now() + Duration::from_hours(1))
    }

    /// Does the first action that is due.
    async fn act(&mut self, view: &mut View) -> anyhow::Result<()> {
        let first = self.due.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(index, _)| index);
        let Some(index) = first else { return Ok(()) };
        let (_, due) = self.due.remove(index);
        match due {
            Scheduled::Repair(repair) if self.deployment.repair(repair).await? => {
                self.quiet_since = Instant::now();
            }
            Scheduled::Repair(_) => self.due.push((Instant::now() + RETRY, due)),
            Scheduled::Fault(_) if self.is_over() => {}
            Scheduled::Fault(fault) => self.inject(fault, view).await?,
        }
        Ok(())
    }

    async fn inject(&mut self, fault: Fault, view: &mut View) -> anyhow::Result<()> {
        let at = self.times.start.elapsed();
        match self.deployment.inject(fault).await? {
            Injected::Done { target, repair } => {
                let now = Instant::now();
                self.quiet_since = now;
                self.due.extend(repair.map(|(after, repair)| (now + after, Scheduled::Repair(repair))));
                let injection = Injection { at, kind: fault.kind(), target };
                view.fault(&injection, fault);
                self.summary.injections.push(injection);
            }
            Injected::Busy | Injected::NoTarget => {
                self.due.push((Instant::now() + RETRY, Scheduled::Fault(fault)));
            }
        }
        Ok(())
    }

    /// True if no more faults are to be injected: the time is over, or the sweep is done.
    fn is_over(&self) -> bool {
        self.times.start.elapsed() > self.times.length || self.all_ended()
    }

    fn all_ended(&self) -> bool {
        self.deployment.observer.ended() >= self.jobs
    }

    /// Called every second: checks which processes have ended, how far the sweep is, and whether it takes too long.
    fn check(&mut self, view: &mut View) -> anyhow::Result<()> {
        for index in 0..self.deployment.workers.len() {
            let worker = &mut self.deployment.workers[index];
            if let Some(status) = worker.process.ended()? {
                worker.busy = true;
                let (name, log) = (worker.name.clone(), worker.process.log().to_owned());
                self.summary.operator_commands += usize::from(status.code() == Some(UNUSABLE));
                self.note_end(&name, status, &tail(&log, 2), view);
                self.due.push((Instant::now() + RESTART, Scheduled::Repair(Repair::StartWorker(index))));
            }
        }
        self.check_coordinator(view)?;
        let observer = &self.deployment.observer;
        let ended = observer.ended();
        if ended > self.ended_jobs {
            (self.ended_jobs, self.quiet_since) = (ended, Instant::now());
        }
        view.progress(observer.tally(), self.summary.injections.len(), self.times.start.elapsed());
        if self.due.is_empty() && self.quiet_since.elapsed() > QUIET_LIMIT {
            self.summary.end = RunEnd::TimedOut;
            self.finished = true;
        }
        Ok(())
    }

    /// If the coordinator has ended, the run is finished if all jobs have ended. Otherwise the coordinator died; but
    /// first the observer gets some time to learn of the last jobs.
    fn check_coordinator(&mut self, view: &mut View) -> anyhow::Result<()> {
        if let Some(status) = self.deployment.coordinator.ended()? {
            self.coordinator_ended = Some((Instant::now(), status));
            self.deployment.coordinator_busy = true;
        }
        let Some((at, status)) = self.coordinator_ended else { return Ok(()) };
        let may_be_done = matches!(status.code(), Some(0 | 1));
        if may_be_done && self.all_ended() {
            self.finished = true;
        } else if !may_be_done || at.elapsed() > CATCH_UP {
            self.coordinator_ended = None;
            let log = self.deployment.coordinator.log().to_owned();
            self.summary.operator_commands += 1;
            self.note_end("the coordinator", status, &tail(&log, 2), view);
            self.due.push((Instant::now() + RESTART, Scheduled::Repair(Repair::StartCoordinator)));
        }
        Ok(())
    }

    fn note_end(&mut self, who: &str, status: ExitStatus, tail: &str, view: &mut View) {
        let text = format!("{who} ended on its own ({status}) and is restarted: {tail}");
        view.remark(&text);
        self.summary.ended.push(text);
    }
}
