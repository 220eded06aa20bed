//! Monitors the server: whether it answers and its store can be written. Restarts our own server if that helps.

use std::process::ExitStatus;
use std::time::Duration;

use shared::bus::{Bus, Store};
use tokio::time::Instant;

use super::server_health::{Condition, Disk, Reaction, ServerHealth};
use crate::broker::Broker;
use crate::view::Sink;

/// Time between two health checks.
const EVERY: Duration = Duration::from_secs(3);
/// If the store does not answer within this time, it is asked again later.
const ANSWER: Duration = Duration::from_secs(1);

/// The server of a run.
pub(super) struct ServerMonitor<'a> {
    bus: Bus,
    /// Our own server, if we run one.
    broker: &'a mut Option<Broker>,
    checked: Option<Instant>,
    health: ServerHealth,
}

impl<'a> ServerMonitor<'a> {
    pub(super) fn of(bus: Bus, broker: &'a mut Option<Broker>) -> Self {
        Self { bus, broker, checked: None, health: ServerHealth::default() }
    }

    /// For how long the server has not answered, once that is worth reporting.
    pub(super) fn away(&self) -> Option<Duration> {
        self.health.away(Instant::now())
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
    pub(super) async fn revive(&mut self, status: ExitStatus, sink: &mut Sink) -> anyhow::Result<()> {
        let Some(broker) = self.broker.as_mut() else { return Ok(()) };
        sink.remark(&format!("nats-server ended ({status}) and is being restarted"));
        while let Err(error) = broker.restart().await {
            let Some(full) = broker.no_room() else { return Err(error.into()) };
            if let Some(Reaction::Say(text)) = self.health.cannot_start(&full.to_string()) {
                sink.remark(&text);
            }
            tokio::time::sleep(EVERY).await;
        }
        Ok(())
    }

    /// Checks every few seconds that the server answers and its store can be written, and does or says what helps.
    ///
    /// # Errors
    /// When our own server cannot be restarted.
    pub(super) async fn look_after(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        if self.checked.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(());
        }
        self.checked = Some(Instant::now());
        let condition = self.condition().await;
        let disk = || match self.broker.as_ref() {
            None => Disk::Elsewhere,
            Some(broker) => broker.no_room().map_or(Disk::HasRoom, |full| Disk::Full(full.to_string())),
        };
        let reactions = self.health.judge(condition, disk, Instant::now());
        for reaction in reactions {
            match reaction {
                Reaction::Say(text) => sink.remark(&text),
                Reaction::Restart => {
                    if let Some(broker) = self.broker.as_mut() {
                        broker.renew().await?;
                    }
                }
            }
        }
        Ok(())
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
}
