//! Whether this worker may take jobs at all: its self-test, and its standing in the books.

use std::time::Duration;

use shared::books::{Standing, WorkerRecord};
use shared::bus::{Bus, BusError, Delivery};
use shared::causes::in_words;
use shared::ids::WorkerId;
use shared::retry::Backoff;

use super::error::AgentError;
use super::state::{Agent, RECONNECT};

impl Agent {
    /// Before the first claim: runs the self-test and reads this worker's standing. A worker that was unfit is trusted
    /// again if its self-test passes. A drained worker stays drained.
    ///
    /// # Errors
    ///
    /// The self-test fails, or the books cannot be read.
    pub(super) async fn check_in(&mut self) -> Result<(), AgentError> {
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
            _ = self.stop.wait_for(|stop| *stop) => {}
        }
        self.presences.ready();
        Ok(())
    }

    /// The self-test of every trainer.
    async fn run_self_test(&mut self) -> Result<(), String> {
        for trainer in &self.trainers {
            trainer.self_test().await?;
        }
        tracing::debug!("the self-test passed");
        self.suspicious = false;
        Ok(())
    }

    /// Why this worker may take no more jobs, if so; then the job goes back immediately. After a failure, the self-test
    /// runs first.
    pub(super) async fn refusal(&mut self, delivery: &Delivery) -> Option<String> {
        let standing = match self.bus.standing(self.me.name()).await {
            Ok(standing) => standing,
            Err(error) => {
                tracing::debug!(%error, "cannot read this worker's standing");
                return None; // The claim will fail as well.
            }
        };
        if let Some(reason) = standing.refusal() {
            delivery.hand_back(Duration::ZERO).await;
            return Some(reason);
        }
        if self.suspicious
            && let Err(reason) = self.run_self_test().await
        {
            delivery.hand_back(Duration::ZERO).await;
            unfit(&self.bus, &self.me, AgentError::Out { reason: reason.clone() }).await;
            return Some(reason);
        }
        None
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
