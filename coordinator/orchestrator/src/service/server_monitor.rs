//! Monitors the server: whether it answers and its store can be written. Restarts our own server if that helps.

use std::process::ExitStatus;
use std::time::Duration;

use shared::bus::{Bus, Store};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::view::View;
use crate::view::model::clock;

/// Time between two health checks.
const EVERY: Duration = Duration::from_secs(3);
/// If the store does not answer within this time, it is asked again later.
const ANSWER: Duration = Duration::from_secs(1);
/// This many complaints in a row are acted upon, because a server that is starting complains, too.
const COMPLAINTS: u32 = 3;
/// This many checks in a row without an answer are reported, because a busy machine may miss one.
const SILENCES: u32 = 2;

/// The server of a run.
pub(super) struct ServerMonitor<'a> {
    bus: Bus,
    /// Our own server, if we run one.
    broker: &'a mut Option<Broker>,
    checked: Option<Instant>,
    /// Complaints in a row.
    complaints: u32,
    silence: Option<Silence>,
    /// The problem of its store that was last reported to the user.
    reported: ReportedProblem,
    /// True if it was restarted since it last accepted writes.
    restarted: bool,
}

/// Checks in a row that were not answered.
#[derive(Debug, Clone, Copy)]
struct Silence {
    since: Instant,
    checks: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReportedProblem {
    None,
    /// Its disk is full, or cannot be written for another reason.
    NoRoom,
    /// Its disk has room, or is on another machine, and it refuses writes.
    Refuses,
}

/// The result of a health check.
enum Condition {
    Healthy,
    Unhealthy(String),
    /// No answer: it is away, or slow.
    Silent,
}

impl<'a> ServerMonitor<'a> {
    pub(super) fn of(bus: Bus, broker: &'a mut Option<Broker>) -> Self {
        Self {
            bus,
            broker,
            checked: None,
            complaints: 0,
            silence: None,
            reported: ReportedProblem::None,
            restarted: false,
        }
    }

    /// For how long the server has not answered, once that is worth reporting.
    pub(super) fn away(&self) -> Option<Duration> {
        self.silence.filter(|silence| silence.checks >= SILENCES).map(|silence| silence.since.elapsed())
    }

    /// Resolves when our own server ends; never for somebody else's server.
    pub(super) async fn server_ended(&mut self) -> std::io::Result<ExitStatus> {
        match self.broker {
            Some(broker) => broker.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Restarts our own server after it ended, as soon as its disk has room. Safe to drop.
    ///
    /// # Errors
    /// When it cannot be restarted although its disk has room.
    pub(super) async fn revive(&mut self, status: ExitStatus, view: &mut View) -> anyhow::Result<()> {
        let Some(broker) = self.broker.as_mut() else { return Ok(()) };
        view.remark(&format!("nats-server ended ({status}) and is being restarted"));
        while let Err(error) = broker.restart().await {
            let Some(full) = broker.no_room() else { return Err(error.into()) };
            if std::mem::replace(&mut self.reported, ReportedProblem::NoRoom) != ReportedProblem::NoRoom {
                view.remark(&make_room(&full));
            }
            tokio::time::sleep(EVERY).await;
        }
        Ok(())
    }

    /// Checks every few seconds that the server answers and its store can be written, and does or says what helps.
    pub(super) async fn look_after(&mut self, view: &mut View) -> anyhow::Result<()> {
        if self.checked.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(());
        }
        self.checked = Some(Instant::now());
        match self.condition().await {
            Condition::Healthy => {
                self.answered(view);
                (self.complaints, self.restarted) = (0, false);
                if std::mem::replace(&mut self.reported, ReportedProblem::None) != ReportedProblem::None {
                    view.remark("the server's store can be written again");
                }
            }
            Condition::Unhealthy(complaint) => {
                self.answered(view);
                self.complaints += 1;
                if self.complaints >= COMPLAINTS {
                    self.mend(&complaint, view).await?;
                }
            }
            Condition::Silent => self.unanswered(view),
        }
        Ok(())
    }

    fn answered(&mut self, view: &mut View) {
        if let Some(away) = self.away() {
            view.remark(&format!("the server answers again after {}", clock(away)));
        }
        self.silence = None;
    }

    fn unanswered(&mut self, view: &mut View) {
        let silence = self.silence.get_or_insert(Silence { since: Instant::now(), checks: 0 });
        silence.checks += 1;
        if silence.checks == SILENCES {
            view.remark(
                "the server does not answer; workers keep training, and the sweep continues when the server is back",
            );
        }
    }

    async fn condition(&self) -> Condition {
        if let Some(broker) = self.broker.as_ref()
            && let Some(complaint) = broker.complaint().await
        {
            return Condition::Unhealthy(complaint);
        }
        match tokio::time::timeout(ANSWER, self.bus.try_store()).await {
            Ok(Store::Writable) => Condition::Healthy,
            Ok(Store::Refuses(why)) => Condition::Unhealthy(why),
            Ok(Store::Silent) | Err(_) => Condition::Silent,
        }
    }

    async fn mend(&mut self, complaint: &str, view: &mut View) -> anyhow::Result<()> {
        if let Some(full) = self.broker.as_ref().and_then(Broker::no_room) {
            if std::mem::replace(&mut self.reported, ReportedProblem::NoRoom) != ReportedProblem::NoRoom {
                view.remark(&format!("the server's store cannot be written ({complaint})"));
                view.remark(&make_room(&full));
            }
            return Ok(());
        }
        match self.broker.as_mut() {
            // A store that failed once stays broken until the server is restarted.
            Some(broker) if self.reported == ReportedProblem::NoRoom || !self.restarted => {
                view.remark(&format!(
                    "the server's store failed ({complaint}); its disk has room, so the server is being restarted"
                ));
                broker.renew().await?;
                (self.complaints, self.reported, self.restarted) = (0, ReportedProblem::Refuses, true);
            }
            Some(_) | None => {
                let told = std::mem::replace(&mut self.reported, ReportedProblem::Refuses);
                if told != ReportedProblem::Refuses || self.complaints == COMPLAINTS {
                    view.remark(&format!(
                        "the server's store refuses writes ({complaint}): free some space for it or raise its limit; \
                         the sweep then continues by itself"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn make_room(error: &std::io::Error) -> String {
    format!(
        "the disk of the state directory cannot be written ({error}): free some space or make it writable; the sweep \
         then continues by itself"
    )
}
