//! Whether this worker may take jobs at all, and whose turn a job is.
//!
//! The books say who may work. Among those, one job's second try belongs to another worker than its first: only so do
//! a bad job and a bad worker come to light. Presence tells whether there is another; it decides nothing else.

use std::time::Duration;

use shared::books::{JobRecord, Standing, WorkerRecord};
use shared::bus::{Bus, BusError, Delivery};
use shared::causes::in_words;
use shared::ids::WorkerId;
use shared::job::TRAINER_REVISION;

use super::{Agent, AgentError, RECONNECT, room};

/// For so many milliseconds at least and at most a job is left to others before it is handed out again. Drawn each time:
/// with equal times the queue would hand out the same jobs to the same workers for ever.
const OTHERS_FIRST: (u64, u64) = (1000, 6000);
/// Tries to get a dataset or weights that the server does not have yet.
const FETCH_TRIES: u32 = 12;
const FETCH_AGAIN: Duration = Duration::from_secs(5);

impl Agent {
    /// Before the first claim: the canary, and what the books say of this worker. One that was out by its own word is
    /// fit again when its canary passes; what others found is not its own to take back.
    pub(super) async fn report_for_duty(&mut self) -> Result<(), AgentError> {
        if let Err(reason) = self.sing().await {
            return Err(unfit(&self.bus, &self.me, AgentError::Out { reason }).await);
        }
        let name = self.me.name().to_owned();
        loop {
            let outcome = match self.bus.standing(&name).await {
                Ok(Standing::Unfit { .. }) => {
                    self.bus.write_standing(&WorkerRecord::new(&name, Standing::Trusted)).await
                }
                Ok(Standing::Trusted | Standing::Probation { .. } | Standing::Drained { .. }) => {
                    return Ok(());
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() => {
                    tracing::warn!("{error}; trying again");
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return Ok(()),
                () = tokio::time::sleep(RECONNECT) => {}
            }
        }
    }

    async fn sing(&mut self) -> Result<(), String> {
        self.trainer.canary().await?;
        tracing::debug!("the canary lives");
        self.suspicious = false;
        Ok(())
    }

    /// Why this worker takes no job any more; the job goes back at once then. After a failure the canary comes first.
    pub(super) async fn refusal(&mut self, delivery: &Delivery) -> Option<String> {
        let standing = match self.bus.standing(self.me.name()).await {
            Ok(standing) => standing,
            Err(error) => {
                tracing::debug!(%error, "this worker's standing is not known");
                return None; // The claim will not get through, either.
            }
        };
        if let Some(reason) = standing.refusal() {
            delivery.hand_back(Duration::ZERO).await;
            return Some(reason);
        }
        if self.suspicious
            && let Err(reason) = self.sing().await
        {
            delivery.hand_back(Duration::ZERO).await;
            unfit(&self.bus, &self.me, AgentError::Out { reason: reason.clone() }).await;
            return Some(reason);
        }
        None
    }

    /// Leaves a job to others for a while.
    pub(super) async fn leave(&mut self, delivery: &Delivery) {
        let (least, most) = OTHERS_FIRST;
        let time = Duration::from_millis(least + self.draws.below(most - least));
        delivery.hand_back(time).await;
    }

    /// True when there is another worker that should try this job first.
    pub(super) async fn is_others_turn(&self, record: &JobRecord) -> Result<bool, BusError> {
        let me = self.me.name();
        let standing = self.bus.standing(me).await?;
        if record.state.is_final() || !standing.leaves_to_others(record, me) {
            return Ok(false);
        }
        let failed_on = record.failed_on();
        for worker in self.bus.workers().await? {
            let name = worker.worker.name();
            let other =
                name != me && !failed_on.contains(name) && worker.trainer_revision == TRAINER_REVISION;
            if other && self.bus.standing(name).await?.refusal().is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// After a job went back because its inputs are not to be had: what passes is waited for, all else is the end.
    pub(super) async fn recover(&mut self, error: AgentError) -> Result<(), AgentError> {
        if let Some(folder) = error.crowded() {
            tracing::warn!("{error}");
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => {}
                () = room::wait(folder) => tracing::info!("{} can be written again", folder.display()),
            }
            return Ok(());
        }
        if error.may_pass() && self.fetches_failed < FETCH_TRIES {
            self.fetches_failed += 1;
            tracing::warn!("{error}; trying again in {} s", FETCH_AGAIN.as_secs());
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => {}
                () = tokio::time::sleep(FETCH_AGAIN) => {}
            }
            return Ok(());
        }
        Err(unfit(&self.bus, &self.me, error).await)
    }
}

/// Writes into the books why this worker is out, as far as the server is there; gives the error to end with.
pub(super) async fn unfit(bus: &Bus, me: &WorkerId, error: AgentError) -> AgentError {
    let reason = match error {
        AgentError::Out { reason } => reason,
        other => in_words(&other),
    };
    let record = WorkerRecord::new(me.name(), Standing::Unfit { reason: reason.clone() });
    if let Err(error) = bus.write_standing(&record).await {
        tracing::warn!(%error, "the books do not learn why this worker is out");
    }
    AgentError::Out { reason }
}
