//! The play: faults and their cures in time, processes that ended by themselves, and the end of the sweep.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::fault::Fault;
use super::ledger::Injection;
use super::schedule::Step;
use super::stage::{Cure, Performed, Stage};
use super::view::View;
use crate::broker::tail;
use crate::service::interrupted;

/// What happened in a play.
#[derive(Debug)]
pub(super) struct Played {
    pub injections: Vec<Injection>,
    /// Faults that found nobody to hit before the time was over or the sweep done.
    pub missed: usize,
    /// Processes that ended without being told to, and were started again as a service manager does.
    pub ended: Vec<String>,
    /// Of these, those that would not have come back by themselves.
    pub operator_commands: usize,
    pub took: Duration,
    pub end: PlayEnd,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum PlayEnd {
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
    /// No fault comes after this time.
    pub length: Duration,
}

/// How long nothing may happen before the sweep is given up: no fault, no cure and no job that ends.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);

/// Time before a fault or cure that is not possible now is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Time before a process that ended by itself is started again.
const REST: Duration = Duration::from_secs(1);

/// Time that the observer has to hear of the last job after a coordinator that is done. The server may just be away.
const CATCH_UP: Duration = Duration::from_secs(10);

/// A worker says by this code that starting it again is of no use.
const UNUSABLE: i32 = 2;

#[derive(Debug, Clone, Copy)]
enum Due {
    Fault(Fault),
    Cure(Cure),
}

struct Play<'a> {
    stage: &'a mut Stage,
    times: Times,
    jobs: usize,
    due: Vec<(Instant, Due)>,
    played: Played,
    /// When the last fault or cure was, or the last job ended.
    quiet_since: Instant,
    /// Jobs that have ended.
    ended_jobs: usize,
    /// When and how the coordinator was found to have ended by itself.
    left: Option<(Instant, ExitStatus)>,
    finished: bool,
}

/// Plays the schedule and waits for the end of the sweep of so many jobs.
pub(super) async fn play(
    stage: &mut Stage,
    steps: &[Step],
    jobs: usize,
    times: Times,
    view: &mut View,
) -> anyhow::Result<Played> {
    let due = steps.iter().map(|step| (times.start + step.at, Due::Fault(step.fault))).collect();
    let played = Played {
        injections: Vec::new(),
        missed: 0,
        ended: Vec::new(),
        operator_commands: 0,
        took: Duration::ZERO,
        end: PlayEnd::Finished,
    };
    let mut play = Play {
        stage,
        times,
        jobs,
        due,
        played,
        quiet_since: Instant::now(),
        ended_jobs: 0,
        left: None,
        finished: false,
    };
    let mut interrupt = Box::pin(interrupted());
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !play.finished {
        let next = play.next();
        tokio::select! {
            biased;
            outcome = &mut interrupt => {
                outcome?;
                play.played.end = PlayEnd::Interrupted;
                break;
            }
            () = tokio::time::sleep_until(next) => play.act(view).await?,
            _ = second.tick() => play.tend(view)?,
        }
    }
    play.played.took = times.start.elapsed();
    play.played.missed = steps.len() - play.played.injections.len();
    Ok(play.played)
}

impl Play<'_> {
    fn next(&self) -> Instant {
        let earliest = self.due.iter().map(|(at, _)| *at).min();
        earliest.unwrap_or_else(|| Instant::now() + Duration::from_hours(1))
    }

    /// Does what is due first.
    async fn act(&mut self, view: &mut View) -> anyhow::Result<()> {
        let first = self.due.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(index, _)| index);
        let Some(index) = first else { return Ok(()) };
        let (_, due) = self.due.remove(index);
        match due {
            Due::Cure(cure) if self.stage.cure(cure).await? => self.quiet_since = Instant::now(),
            Due::Cure(_) => self.due.push((Instant::now() + AGAIN, due)),
            Due::Fault(_) if self.is_over() => {}
            Due::Fault(fault) => self.perform(fault, view).await?,
        }
        Ok(())
    }

    async fn perform(&mut self, fault: Fault, view: &mut View) -> anyhow::Result<()> {
        let at = self.times.start.elapsed();
        match self.stage.perform(fault).await? {
            Performed::Done { victim, cure } => {
                let now = Instant::now();
                self.quiet_since = now;
                self.due.extend(cure.map(|(after, cure)| (now + after, Due::Cure(cure))));
                let injection = Injection { at, kind: fault.kind(), victim };
                view.fault(&injection, fault);
                self.played.injections.push(injection);
            }
            Performed::NotNow | Performed::Pointless => {
                self.due.push((Instant::now() + AGAIN, Due::Fault(fault)));
            }
        }
        Ok(())
    }

    /// No fault comes any more: the time is over, or the sweep is done.
    fn is_over(&self) -> bool {
        self.times.start.elapsed() > self.times.length || self.all_ended()
    }

    fn all_ended(&self) -> bool {
        self.stage.observer.ended() >= self.jobs
    }

    /// Every second: who has ended, how far it is, whether it takes too long.
    fn tend(&mut self, view: &mut View) -> anyhow::Result<()> {
        for index in 0..self.stage.seats.len() {
            if let Some(status) = self.stage.seats[index].worker.ended()? {
                self.stage.seats[index].busy = true;
                let (name, log) =
                    (self.stage.seats[index].name.clone(), self.stage.seats[index].worker.log().to_owned());
                self.played.operator_commands += usize::from(status.code() == Some(UNUSABLE));
                self.ended(&name, status, &tail(&log, 2), view);
                self.due.push((Instant::now() + REST, Due::Cure(Cure::StartWorker(index))));
            }
        }
        self.tend_coordinator(view)?;
        let ended = self.stage.observer.ended();
        if ended > self.ended_jobs {
            (self.ended_jobs, self.quiet_since) = (ended, Instant::now());
        }
        let waits = self.due.is_empty();
        view.progress(self.stage.observer.tally(), self.played.injections.len(), self.times.start.elapsed());
        if waits && self.quiet_since.elapsed() > PATIENCE {
            self.played.end = PlayEnd::TimedOut;
            self.finished = true;
        }
        Ok(())
    }

    /// A coordinator that ended is done, or, once the observer has had time to hear of the last job, has died.
    fn tend_coordinator(&mut self, view: &mut View) -> anyhow::Result<()> {
        if let Some(status) = self.stage.coordinator.ended()? {
            self.left = Some((Instant::now(), status));
            self.stage.coordinator_busy = true;
        }
        let Some((at, status)) = self.left else { return Ok(()) };
        let may_be_done = matches!(status.code(), Some(0 | 1));
        if may_be_done && self.all_ended() {
            self.finished = true;
        } else if !may_be_done || at.elapsed() > CATCH_UP {
            self.left = None;
            let log = self.stage.coordinator.log().to_owned();
            self.played.operator_commands += 1;
            self.ended("the coordinator", status, &tail(&log, 2), view);
            self.due.push((Instant::now() + REST, Due::Cure(Cure::StartCoordinator)));
        }
        Ok(())
    }

    fn ended(&mut self, who: &str, status: ExitStatus, tail: &str, view: &mut View) {
        let words = format!("{who} ended by itself ({status}) and is started again: {tail}");
        view.remark(&words);
        self.played.ended.push(words);
    }
}
