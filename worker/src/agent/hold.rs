//! A job held by this worker: every move of its record, and the pulse that keeps the lease.

use std::pin::pin;

use shared::books::{Checkpoint, Fenced, JobRecord, Progress, Token};
use shared::bus::{Bus, BusError, Delivery, HEARTBEAT};
use shared::ids::JobId;
use shared::result::JobResult;
use tokio::time::{Interval, MissedTickBehavior};

/// The job can no longer be worked on by this attempt.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error(transparent)]
    Fenced(#[from] Fenced),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// One attempt's hold on a job.
pub(super) struct Hold {
    bus: Bus,
    job: JobId,
    token: Token,
    record: JobRecord,
    revision: u64,
    pulse: Interval,
}

impl Hold {
    /// `record` at `revision` names `token` as its holder.
    pub(super) fn new(bus: Bus, job: JobId, token: Token, record: JobRecord, revision: u64) -> Self {
        let mut pulse = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { bus, job, token, record, revision, pulse }
    }

    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    /// The checkpoints to go on from, newest first.
    pub(super) fn checkpoints(&self) -> impl Iterator<Item = &Checkpoint> {
        self.record.checkpoints.iter().rev()
    }

    /// Waits for `work` while the record keeps beating and the queue's deadline keeps being extended: the fence is
    /// proven first, so a zombie extends nothing.
    pub(super) async fn while_alive<T>(
        &mut self,
        delivery: &Delivery,
        work: impl Future<Output = T>,
    ) -> Result<T, Lost> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased; // The pulse first: no amount of work may drown it.
                _ = self.pulse.tick() => {
                    self.write(self.record.beat(&self.token)?).await?;
                    delivery.extend().await;
                }
                outcome = &mut work => return Ok(outcome),
            }
        }
    }

    /// An epoch is finished and its checkpoint is durable.
    pub(super) async fn checkpointed(
        &mut self,
        checkpoint: Checkpoint,
        progress: Progress,
    ) -> Result<(), Lost> {
        self.write(self.record.checkpointed(&self.token, checkpoint, progress)?).await
    }

    /// Something that a reader of the record should know.
    pub(super) async fn note(&mut self, note: String) -> Result<(), Lost> {
        self.write(self.record.noted(&self.token, note)?).await
    }

    /// Gives the job back unharmed.
    pub(super) async fn release(mut self) -> Result<(), Lost> {
        self.write(self.record.released(&self.token)?).await
    }

    /// The training failed; true when the job was given up with it.
    pub(super) async fn fail(mut self, error: &str) -> Result<bool, Lost> {
        self.write(self.record.failed(&self.token, error)?).await?;
        Ok(self.record.state.is_final())
    }

    /// Hands the result in: accepted together with the move to done, or not at all.
    pub(super) async fn commit(self, result: &JobResult) -> Result<(), Lost> {
        let done = self.record.done(&self.token)?;
        Ok(self.bus.commit(self.revision, &done, result).await?)
    }

    async fn write(&mut self, next: JobRecord) -> Result<(), Lost> {
        self.revision = self.bus.swap(self.job, self.revision, &next).await?;
        self.record = next;
        Ok(())
    }
}
