//! Whether this worker may take jobs at all: its self-test, its standing in the books, and whether a user has drained it.

use shared::books::{Standing, WorkerRecord};
use shared::bus::{Bus, BusError};
use shared::causes::in_words;
use shared::ids::WorkerId;
use shared::retry::Backoff;

use super::conditions::Conditions;
use super::error::AgentError;
use super::state::{Agent, RECONNECT};

impl Agent {
    /// Before the first claim: runs the self-test and reads this worker's standing. A worker that was unfit is trusted
    /// again if its self-test passes. A drained worker stays drained.
    ///
    /// # Errors
    ///
    /// The self-test fails, or the books cannot be read.
    pub(super) async fn check_in(&self) -> Result<(), AgentError> {
        if let Err(reason) = self.run_self_test().await {
            return Err(unfit(&self.bus, &self.me, AgentError::Out { reason }).await);
        }
        let (bus, name) = (&self.bus, self.me.name());
        let look = Backoff::every(RECONNECT).endless().run(
            || clear_unfit(bus, name),
            BusError::is_transient,
            |error| tracing::warn!("{error}; trying again"),
        );
        tokio::select! {
            biased;
            outcome = look => outcome?,
            () = self.stopped() => {}
        }
        self.presences.ready();
        Ok(())
    }

    /// The self-test of every trainer.
    async fn run_self_test(&self) -> Result<(), String> {
        for trainer in &self.trainers {
            trainer.self_test().await?;
        }
        tracing::debug!("the self-test passed");
        self.suspicion.clear();
        Ok(())
    }

    /// Why this worker may take no more jobs, if so. After a failure, the self-test runs first.
    pub(super) async fn refusal(&self, standing: &Standing) -> Option<String> {
        if let Some(reason) = standing.refusal() {
            return Some(reason);
        }
        if !self.suspicion.is_raised() {
            return None;
        }
        let _device = self.pace.device().await; // Of several short jobs, another one may still train.
        if self.suspicion.is_raised()
            && let Err(reason) = self.run_self_test().await
        {
            unfit(&self.bus, &self.me, AgentError::Out { reason: reason.clone() }).await;
            return Some(reason);
        }
        None
    }
}

impl Agent {
    /// Whether a user has drained this worker. Says once that it is so, and once that it no longer is.
    pub(super) fn is_drained(&self, conditions: &Conditions) -> bool {
        let drain = conditions.drains.of(self.me.name());
        let was_drained = std::mem::replace(&mut self.memory().is_drained, drain.is_some());
        match (drain, was_drained) {
            (Some(drain), false) => {
                tracing::info!("drained by {:?}: no more jobs until `ferry workers undrain`", drain.by);
            }
            (None, true) => tracing::info!("no longer drained: taking jobs again"),
            (Some(_), true) | (None, false) => {}
        }
        drain.is_some()
    }
}

async fn clear_unfit(bus: &Bus, name: &str) -> Result<(), BusError> {
    match bus.standing(name).await? {
        Standing::Unfit { .. } => bus.write_standing(&WorkerRecord::new(name, Standing::Trusted)).await,
        Standing::Trusted | Standing::Probation { .. } | Standing::Drained { .. } => Ok(()),
    }
}

/// Records in the books why this worker is unfit, if the server can be reached. Returns the error to end with.
pub(super) async fn unfit(bus: &Bus, me: &WorkerId, error: AgentError) -> AgentError {
    let reason = match error {
        AgentError::Out { reason } => reason,
        other => in_words(&other),
    };
    let record = WorkerRecord::new(me.name(), Standing::Unfit { reason: reason.clone() });
    if let Err(error) = bus.write_standing(&record).await {
        tracing::warn!(%error, "cannot record in the books why this worker is out");
    }
    AgentError::Out { reason }
}
