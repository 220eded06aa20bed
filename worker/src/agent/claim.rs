//! Claiming a job that the queue handed out.

use std::time::Duration;

use shared::books::{Claim, JobRecord, JobState, Token};
use shared::bus::{BookEntry, BusError, OrderEntry};
use shared::ids::JobId;
use shared::protocol::{JobOrder, Wish};

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

/// What comes of a job that this worker has looked at.
pub(super) enum Look {
    Claimed(Box<Claimed>),
    /// It is not for this worker now: the queue should hand it out again after this time.
    Later(Duration),
    /// The queue need not hand it out again.
    Over,
}

impl Agent {
    /// Claims the job if this worker may.
    ///
    /// # Errors
    ///
    /// The bus fails. That is harmless, because the queue hands the job out again.
    pub(super) async fn claim(&mut self, job: JobId) -> Result<Look, BusError> {
        let Some(entry) = self.bus.record(job).await? else {
            tracing::warn!(%job, "the queue named this job, but the books have no record of it");
            return Ok(Look::Over);
        };
        let OrderEntry { order, admitted_nanos, .. } = match self.order_for_us(job).await? {
            Ok(known) => known,
            Err(NotForUs) => return Ok(Look::Later(NOT_FOR_US)),
        };
        match order.execution.steering.wish {
            Wish::Train => {}
            // The coordinator queues it again when somebody wants it.
            Wish::Pause | Wish::Cancel => return Ok(Look::Over),
        }
        if self.is_others_turn(&entry.record, &order.content.trainer).await? {
            return Ok(Look::Later(self.time_for_others()));
        }
        // Both times are the server's, so workers' clocks do not matter. If the server's clock was set back, what counts
        // is how long this worker has seen the record unchanged.
        let now = self.presences.server_time().await?;
        let age = Duration::from_nanos(u64::try_from(now - entry.written_nanos).unwrap_or(0));
        let age = age.max(self.record_ages.unchanged_for(job, entry.revision));
        let timing = self.bus.timing().await?;
        match entry.record.claim(&self.me, age, timing.lease()) {
            Claim::Take { token, record } => {
                let record = record.taken_anew(order.execution.steering.anew_after);
                match self.bus.swap(job, entry.revision, &record).await {
                    Ok(revision) => {
                        let (entry, heartbeat) = ((record, revision), timing.heartbeat());
                        let claimed = Claimed { token, entry, heartbeat, order, admitted_nanos };
                        Ok(Look::Claimed(Box::new(claimed)))
                    }
                    Err(BusError::Conflict { .. }) => Ok(Look::Later(RECONNECT)),
                    Err(error) => Err(error),
                }
            }
            Claim::Wait(delay) => Ok(Look::Later(delay)),
            Claim::GiveUp(record) => {
                self.bus.swap(job, entry.revision, &record).await?;
                Ok(Look::Over)
            }
            Claim::Finished => Ok(Look::Over),
        }
    }

    /// Claims one of the jobs that come before `other`, on request. Their messages stay in the queue: whoever gets one
    /// sees who holds the job. Errors are harmless, because these jobs are in the queue, too.
    pub(super) async fn claim_first(&mut self, other: JobId) -> Option<Box<Claimed>> {
        let first = match self.bus.first().await {
            Ok(first) => first,
            Err(error) => {
                tracing::debug!(%error, "cannot read which jobs come first");
                return None;
            }
        };
        for job in first.into_iter().take_while(|job| *job != other) {
            let waits = |entry: &BookEntry| entry.record.state == JobState::Pending;
            if !self.bus.record(job).await.ok().flatten().is_some_and(|entry| waits(&entry)) {
                continue;
            }
            match self.claim(job).await {
                Ok(Look::Claimed(claimed)) => return Some(claimed),
                Ok(Look::Later(_) | Look::Over) => {}
                Err(error) => tracing::debug!(%job, %error, "cannot claim a job that comes first"),
            }
        }
        None
    }

    /// The job's order, if this worker can carry it out.
    async fn order_for_us(&mut self, job: JobId) -> Result<Result<OrderEntry, NotForUs>, BusError> {
        let known = match self.bus.order_entry(job).await {
            Ok(Some(known)) => known,
            Ok(None) => {
                return Ok(Err(self.leave_alone(job, "is missing".to_owned(), "its order is missing")));
            }
            Err(BusError::Version { what, source }) => {
                return Ok(Err(self.leave_alone(job, source.to_string(), &format!("{what} {source}"))));
            }
            // It is damaged, or of another version of Ferry.
            Err(error @ BusError::Decode { .. }) => {
                return Ok(Err(self.leave_alone(job, "cannot be read".to_owned(), &error.to_string())));
            }
            Err(error) => return Err(error),
        };
        if let Err(reason) = known.order.check(job) {
            tracing::error!(%job, "the order of this job is not valid, so this worker does not take it: {reason}");
            return Ok(Err(NotForUs));
        }
        let trainer = &known.order.content.trainer;
        if self.trainer(trainer).is_none() {
            let own: Vec<String> = self.trainers.iter().map(|own| own.id().to_string()).collect();
            let reason = format!("it needs trainer {trainer}, but this worker has {}", own.join(", "));
            return Ok(Err(self.leave_alone(job, trainer.to_string(), &reason)));
        }
        Ok(Ok(known))
    }

    /// Leaves a job to workers that can read and train it. Says so once for each kind of them, however many there are.
    fn leave_alone(&mut self, job: JobId, kind: String, reason: &str) -> NotForUs {
        if self.left_alone.len() >= REMARKS {
            self.left_alone.clear();
        }
        if self.left_alone.insert(kind) {
            tracing::warn!(%job, "not taken, and neither are others of this kind: {reason}");
        }
        NotForUs
    }
}

/// This worker cannot train the job, but another one may.
struct NotForUs;
