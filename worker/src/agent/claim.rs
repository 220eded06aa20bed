//! Claiming a job that the queue handed out.

use std::time::Duration;

use shared::books::{Claim, JobRecord, Token};
use shared::bus::{BusError, Delivery};
use shared::protocol::JobOrder;

use super::state::{Agent, RECONNECT};

/// How long a job that this worker cannot train stays in the queue before it is handed out again.
const NOT_FOR_US: Duration = Duration::from_mins(1);
/// How many remarks about such jobs are remembered. There are few, unless somebody writes nonsense into the books.
const REMARKS: usize = 1024;

/// A job that this worker has just taken.
pub(super) struct Claimed {
    pub(super) token: Token,
    /// Its record after the claim, and the revision of that record.
    pub(super) entry: (JobRecord, u64),
    pub(super) heartbeat: Duration,
    pub(super) order: JobOrder,
    pub(super) admitted_nanos: i128,
}

impl Agent {
    /// Claims the job if this worker may. Otherwise the message goes back to the queue, or is removed from it.
    ///
    /// # Errors
    ///
    /// The bus fails. That is harmless, because the queue hands the job out again.
    pub(super) async fn claim(&mut self, delivery: &Delivery) -> Result<Option<Claimed>, BusError> {
        let job = delivery.job;
        let Some(entry) = self.bus.record(job).await? else {
            tracing::warn!(%job, "the queue named this job, but the books have no record of it");
            delivery.finish().await;
            return Ok(None);
        };
        let Some(order) = self.order_for_us(delivery).await? else { return Ok(None) };
        if self.is_others_turn(&entry.record, &order.content.trainer).await? {
            self.leave(delivery).await;
            return Ok(None);
        }
        let admitted_nanos = self.bus.admitted_at(job).await?.unwrap_or_default();
        // Both times are the server's, so workers' clocks do not matter. If the server's clock was set back, what counts
        // is how long this worker has seen the record unchanged.
        let now = self.presences.server_time().await?;
        let age = Duration::from_nanos(u64::try_from(now - entry.written_nanos).unwrap_or(0));
        let age = age.max(self.record_ages.unchanged_for(job, entry.revision));
        let timing = self.bus.timing().await?;
        match entry.record.claim(&self.me, age, timing.lease()) {
            Claim::Take { token, record } => match self.bus.swap(job, entry.revision, &record).await {
                Ok(revision) => {
                    let (entry, heartbeat) = ((record, revision), timing.heartbeat());
                    Ok(Some(Claimed { token, entry, heartbeat, order, admitted_nanos }))
                }
                Err(BusError::Conflict { .. }) => {
                    delivery.hand_back(RECONNECT).await;
                    Ok(None)
                }
                Err(error) => Err(error),
            },
            Claim::Wait(delay) => {
                delivery.hand_back(delay).await;
                Ok(None)
            }
            Claim::GiveUp(record) => {
                self.bus.swap(job, entry.revision, &record).await?;
                delivery.finish().await;
                Ok(None)
            }
            Claim::Finished => {
                delivery.finish().await;
                Ok(None)
            }
        }
    }

    /// The job's order, if this worker can carry it out. Otherwise the job goes back to the queue.
    async fn order_for_us(&mut self, delivery: &Delivery) -> Result<Option<JobOrder>, BusError> {
        let job = delivery.job;
        let order = match self.bus.order(job).await {
            Ok(order) => order,
            Err(BusError::Version { what, source }) => {
                self.leave_alone(delivery, source.to_string(), &format!("{what} {source}")).await;
                return Ok(None);
            }
            // It is damaged, or of another version of Ferry.
            Err(error @ BusError::Decode { .. }) => {
                self.leave_alone(delivery, "cannot be read".to_owned(), &error.to_string()).await;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if let Err(reason) = order.check(job) {
            tracing::error!(%job, "the order of this job is not valid, so this worker does not take it: {reason}");
            delivery.hand_back(NOT_FOR_US).await;
            return Ok(None);
        }
        let trainer = &order.content.trainer;
        if self.trainer(trainer).is_none() {
            let own: Vec<String> = self.trainers.iter().map(|own| own.id().to_string()).collect();
            let reason = format!("it needs trainer {trainer}, but this worker has {}", own.join(", "));
            self.leave_alone(delivery, trainer.to_string(), &reason).await;
            return Ok(None);
        }
        Ok(Some(order))
    }

    /// Leaves a job to workers that can read and train it. Says so once for each kind of them, however many there are.
    async fn leave_alone(&mut self, delivery: &Delivery, kind: String, reason: &str) {
        if self.left_alone.len() >= REMARKS {
            self.left_alone.clear();
        }
        if self.left_alone.insert(kind) {
            tracing::warn!(job = %delivery.job, "not taken, and neither are others of this kind: {reason}");
        }
        delivery.hand_back(NOT_FOR_US).await;
    }
}
