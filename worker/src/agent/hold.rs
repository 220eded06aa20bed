//! A job held by this worker: every move of its record, and the heartbeat that keeps the lease.

use std::pin::pin;
use std::time::Duration;

use shared::books::{Checkpoint, Fenced, JobRecord, JobState, Progress, Release, Token};
use shared::bus::{Bus, BusError, Delivery};
use shared::ids::JobId;
use shared::metrics::{Point, Ranking};
use shared::protocol::{Execution, Wish};
use shared::result::JobResult;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::log::Log;
use super::settle;

/// Why this attempt lost the job.
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
    /// The message of the queue; `None` if the holder is a dead worker.
    delivery: Option<Delivery>,
    heartbeats: Interval,
    /// How the job is to be carried out, as its order last said.
    execution: watch::Sender<Execution>,
    /// Becomes true when a user drains this worker and wants the job handed back now.
    leaves: watch::Sender<bool>,
    /// What this attempt logs. Every write of the record takes the end of it along.
    log: Log,
}

impl Hold {
    /// `record` at `revision` names `token` as its holder. `heartbeat` is the time between two heartbeats, and
    /// `execution` what the order says.
    pub(super) fn new(
        bus: Bus,
        job: JobId,
        token: Token,
        (record, revision): (JobRecord, u64),
        delivery: Option<Delivery>,
        heartbeat: Duration,
        execution: Execution,
    ) -> Self {
        let mut heartbeats = tokio::time::interval_at(tokio::time::Instant::now() + heartbeat, heartbeat);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let execution = watch::Sender::new(execution);
        let (leaves, _) = watch::channel(false);
        Self {
            bus,
            job,
            token,
            record,
            revision,
            delivery,
            heartbeats,
            execution,
            leaves,
            log: Log::default(),
        }
    }

    /// How the job is to be carried out, and every change of it: the order is read again with each heartbeat.
    pub(super) fn executions(&self) -> watch::Receiver<Execution> {
        self.execution.subscribe()
    }

    /// Becomes true when the job is to be handed back now, because a user drains this worker.
    pub(super) fn leaves(&self) -> watch::Receiver<bool> {
        self.leaves.subscribe()
    }

    /// Whether the job is to be trained anew, so that this attempt is no longer wanted.
    pub(super) fn is_unwanted(&self) -> bool {
        self.record.anew_after < self.execution.borrow().steering.anew_after
    }

    pub(super) fn wish(&self) -> Wish {
        self.execution.borrow().steering.wish
    }

    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// The checkpoints to resume from, newest first.
    pub(super) fn checkpoints(&self) -> impl Iterator<Item = &Checkpoint> {
        self.record.checkpoints.iter().rev()
    }

    /// Waits for `work` and sends heartbeats meanwhile. Each writes the record first, and extends the queue's deadline
    /// only if that was accepted. So a worker that has lost the job does not extend the deadline.
    pub(super) async fn while_alive<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Lost> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased; // The heartbeat first, so that no amount of work can delay it.
                _ = self.heartbeats.tick() => {
                    self.write(self.record.beat(&self.token)?).await?;
                    if let Some(delivery) = &self.delivery {
                        delivery.extend().await;
                    }
                    self.read_order().await;
                }
                outcome = &mut work => return Ok(outcome),
            }
        }
    }

    /// Looks whether the job is to be carried out differently, or this worker is drained. What cannot be read changes nothing:
    /// the next heartbeat looks again.
    async fn read_order(&self) {
        let (order, drains) = tokio::join!(self.bus.order(self.job), self.bus.drains());
        match drains {
            Ok(drains) => {
                let leaves = drains.of(self.token.owner.name()).is_some_and(|drain| drain.now);
                self.leaves.send_if_modified(|known| std::mem::replace(known, leaves) != leaves);
            }
            Err(error) => tracing::debug!(job = %self.job, %error, "cannot read who is drained"),
        }
        match order {
            Ok(order) => {
                self.execution.send_if_modified(|execution| {
                    let changed = *execution != order.execution;
                    *execution = order.execution;
                    changed
                });
            }
            Err(error) => tracing::debug!(job = %self.job, %error, "cannot read the order again"),
        }
    }

    /// Records a stored checkpoint. `reports` are those since the last one, and `ranking` names the metric to show.
    pub(super) async fn checkpointed(
        &mut self,
        checkpoint: Checkpoint,
        reports: Vec<Point>,
        ranking: &Ranking,
    ) -> Result<(), Lost> {
        let progress = match reports.last() {
            Some(report) => Progress {
                epoch: report.epoch,
                score: ranking.score(&report.metrics),
                epoch_seconds: Some(report.seconds),
            },
            None => self.progress(),
        };
        let next = self.record.checkpointed(&self.token, checkpoint, progress)?;
        self.write(next.reported(self.token.attempt, reports)).await
    }

    /// Adds a note to the record.
    pub(super) async fn note(&mut self, note: String) -> Result<(), Lost> {
        self.write(self.record.noted(&self.token, note)?).await
    }

    /// Releases the job; the queue hands it out again after `delay`.
    pub(super) async fn release(mut self, why: Release, delay: Duration) -> Result<(), Lost> {
        self.write(self.record.released(&self.token, why)?).await?;
        if let Some(delivery) = &self.delivery {
            delivery.hand_back(delay).await;
        }
        Ok(())
    }

    /// Hands the job back because nobody is to work on it now. It leaves the queue; the coordinator queues it again when
    /// somebody wants it.
    pub(super) async fn set_aside(mut self, why: Release) -> Result<(), Lost> {
        self.write(self.record.released(&self.token, why)?).await?;
        if let Some(delivery) = &self.delivery {
            delivery.finish().await;
        }
        Ok(())
    }

    /// Hands the job back without anything that it has so far, because it is to be trained anew.
    pub(super) async fn drop_all(mut self) -> Result<(), Lost> {
        self.write(self.record.dropped(&self.token)?).await?;
        if let Some(delivery) = &self.delivery {
            delivery.hand_back(Duration::ZERO).await;
        }
        Ok(())
    }

    /// Gives the job of a dead holder back, and counts a loss for its worker. The queue hands the job out again when
    /// the dead worker's message has timed out.
    pub(super) async fn lose(mut self) -> Result<(), Lost> {
        self.write(self.record.lost(&self.token)?).await
    }

    /// Defers the job: gives it back because of something that may pass, which does not count against the job.
    pub(super) async fn defer(mut self, why: String) -> Result<(), Lost> {
        self.write(self.record.deferred(&self.token, why)?).await?;
        if let Some(delivery) = &self.delivery {
            delivery.hand_back(Duration::ZERO).await;
        }
        Ok(())
    }

    /// Records that the training failed.
    pub(super) async fn fail(mut self, error: &str) -> Result<(), Lost> {
        self.write(self.record.failed(&self.token, error, &self.log.lines(), self.revision)?).await?;
        match &self.delivery {
            Some(delivery) if self.record.state.is_final() => delivery.finish().await,
            Some(delivery) => delivery.hand_back(Duration::ZERO).await,
            None => {}
        }
        Ok(())
    }

    /// Hands in the result. It is accepted together with the move to done, or not at all.
    pub(super) async fn commit(&mut self, result: &JobResult) -> Result<(), Lost> {
        let done = self.record.done(&self.token, result.stopped_after)?;
        let done = done.logged(self.log.tail(self.token.attempt)).dated(self.bus.server_seconds());
        let done =
            if self.execution.borrow().drops_last_checkpoint { done.without_checkpoints() } else { done };
        match settle::commit(&self.bus, self.revision, &done, result).await {
            Ok(()) => {}
            Err(error) => return Err(self.lost(error).await),
        }
        if let Some(delivery) = &self.delivery {
            delivery.finish().await;
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        match &self.record.state {
            JobState::Running { progress, .. } => progress.clone(),
            JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
                Progress::default()
            }
        }
    }

    async fn write(&mut self, next: JobRecord) -> Result<(), Lost> {
        let next = next.logged(self.log.tail(self.token.attempt)).dated(self.bus.server_seconds());
        match self.bus.swap(self.job, self.revision, &next).await {
            Ok(revision) => self.revision = revision,
            Err(error) => return Err(self.lost(error).await),
        }
        self.record = next;
        Ok(())
    }

    /// If somebody else has changed the record, an error that says what its state is now.
    async fn lost(&self, error: BusError) -> Lost {
        let BusError::Conflict { job } = error else { return error.into() };
        match self.bus.record(job).await {
            Ok(Some(entry)) => {
                Fenced { token: self.token.clone(), now: entry.record.state.describe() }.into()
            }
            Ok(None) | Err(_) => Lost::Bus(BusError::Conflict { job }),
        }
    }
}
