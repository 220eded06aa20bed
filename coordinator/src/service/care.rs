//! Looking after the server: its store is watched, and our own is started again when that helps.

use std::process::ExitStatus;
use std::time::Duration;

use shared::bus::{Bus, Store};
use tokio::time::Instant;

use super::interrupted;
use crate::broker::Broker;
use crate::view::View;

/// Time between two questions after the server's health.
const EVERY: Duration = Duration::from_secs(3);
/// A store that does not answer in this time is asked again later.
const ANSWER: Duration = Duration::from_secs(1);
/// Complaints in a row that are taken seriously: a server that starts complains, too.
const COMPLAINTS: u32 = 3;

/// The server of a run.
pub(super) struct Care<'a> {
    bus: Bus,
    /// Ours, if it is.
    broker: &'a mut Option<Broker>,
    asked: Option<Instant>,
    /// Complaints in a row.
    ill: u32,
    /// What was last told of it.
    told: Told,
    /// It was started anew since it last took writes.
    renewed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    /// Its disk is full, or takes no writes for another reason.
    NoRoom,
    /// Its disk has room, or is not ours, and it refuses writes.
    Refuses,
}

/// How the store is.
enum Condition {
    Well,
    Ill(String),
    /// It does not say: it is away, or slow.
    Unknown,
}

impl<'a> Care<'a> {
    pub(super) fn of(bus: Bus, broker: &'a mut Option<Broker>) -> Self {
        Self { bus, broker, asked: None, ill: 0, told: Told::Nothing, renewed: false }
    }

    /// Resolves when our own server ends; never for somebody else's.
    pub(super) async fn server_ended(&mut self) -> std::io::Result<ExitStatus> {
        match self.broker {
            Some(broker) => broker.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Starts a server that ended again, as soon as its disk has room; true when the user did not want to wait.
    pub(super) async fn revive(&mut self, status: ExitStatus, view: &mut View) -> anyhow::Result<bool> {
        let Some(broker) = self.broker.as_mut() else { return Ok(false) };
        view.remark(&format!("nats-server ended ({status}); it is started again"));
        while let Err(error) = broker.restart().await {
            let Some(full) = broker.no_room() else { return Err(error.into()) };
            if std::mem::replace(&mut self.told, Told::NoRoom) != Told::NoRoom {
                view.remark(&make_room(&full));
            }
            tokio::select! {
                outcome = interrupted() => { outcome?; return Ok(true); }
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        Ok(false)
    }

    /// Asks now and then whether the store takes writes, and does or says what helps.
    pub(super) async fn look_after(&mut self, view: &mut View) -> anyhow::Result<()> {
        if self.asked.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(());
        }
        self.asked = Some(Instant::now());
        match self.condition().await {
            Condition::Well => {
                (self.ill, self.renewed) = (0, false);
                if std::mem::replace(&mut self.told, Told::Nothing) != Told::Nothing {
                    view.remark("the server's store takes writes again");
                }
            }
            Condition::Ill(complaint) => {
                self.ill += 1;
                if self.ill >= COMPLAINTS {
                    self.treat(&complaint, view).await?;
                }
            }
            Condition::Unknown => {}
        }
        Ok(())
    }

    async fn condition(&self) -> Condition {
        if let Some(broker) = self.broker.as_ref()
            && let Some(complaint) = broker.complaint().await
        {
            return Condition::Ill(complaint);
        }
        match tokio::time::timeout(ANSWER, self.bus.try_store()).await {
            Ok(Store::Writable) => Condition::Well,
            Ok(Store::Refuses(why)) => Condition::Ill(why),
            Ok(Store::Silent) | Err(_) => Condition::Unknown,
        }
    }

    async fn treat(&mut self, complaint: &str, view: &mut View) -> anyhow::Result<()> {
        if let Some(full) = self.broker.as_ref().and_then(Broker::no_room) {
            if std::mem::replace(&mut self.told, Told::NoRoom) != Told::NoRoom {
                view.remark(&format!("the server's store cannot be written ({complaint})"));
                view.remark(&make_room(&full));
            }
            return Ok(());
        }
        match self.broker.as_mut() {
            // What could not be written once stays broken until the server is started again.
            Some(broker) if self.told == Told::NoRoom || !self.renewed => {
                let what = "there is room: it is started again";
                view.remark(&format!("the server's store failed ({complaint}); {what}"));
                broker.renew().await?;
                (self.ill, self.told, self.renewed) = (0, Told::Refuses, true);
            }
            Some(_) | None => {
                if std::mem::replace(&mut self.told, Told::Refuses) != Told::Refuses || self.ill == COMPLAINTS
                {
                    view.remark(&format!(
                        "the server's store refuses writes ({complaint}): make room for it or raise its limit; the \
                         sweep goes on by itself then"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn make_room(error: &std::io::Error) -> String {
    format!(
        "the disk of the state directory takes no writes ({error}): make room, or make it writable; the sweep goes on \
         by itself then"
    )
}
