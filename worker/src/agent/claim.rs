//! Claiming a job that the queue handed out.

use std::time::Duration;

use shared::books::{Claim, JobRecord, JobState, Token};
use shared::bus::{BookEntry, BusError, OrderEntry};
use shared::ids::JobId;
use shared::protocol::{JobOrder, Wish};

use super::conditions::Conditions;
use super::own_jobs::OwnJob;
use super::pace::Company;
use super::state::{Agent, RECONNECT};

/// How long a job that this worker cannot train stays in the queue before it is handed out again.
const NOT_FOR_US: Duration = Duration::from_mins(1);
/// How many remarks about such jobs are remembered. There are few, unless somebody writes nonsense into the books.
const REMARKS: usize = 1024;

/// A job that this worker has just taken.
pub(super) struct Claimed<'a> {
    pub(super) token: Token,
    /// Its record after the claim, and the revision of that record.
    pub(super) entry: (JobRecord, u64),
    pub(super) heartbeat: Duration,
    pub(super) order: JobOrder,
    pub(super) admitted_nanos: i128,
    pub(super) company: Company<'a>,
    /// Lives as long as this worker holds the job.
    pub(super) own: OwnJob<'a>,
}

/// What comes of a job that this worker has looked at.
pub(super) enum Look<'a> {
    Claimed(Box<Claimed<'a>>),
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
    pub(super) async fn claim(&self, job: JobId, conditions: &Conditions) -> Result<Look<'_>, BusError> {
        // Two claims of one process write the same record: each would take the other's write for its own.
        let Some(own) = self.own_jobs.take(job) else { return Ok(Look::Later(RECONNECT)) };
        let (entry, order) = tokio::try_join!(self.bus.record(job), self.order_for_us(job))?;
        let Some(entry) = entry else {
            tracing::warn!(%job, "the queue named this job, but the books have no record of it");
            return Ok(Look::Over);
        };
        let OrderEntry { order, admitted_nanos, .. } = match order {
            Ok(known) => known,
            Err(NotForUs) => return Ok(Look::Later(NOT_FOR_US)),
        };
        match (order.execution.steering.wish, &entry.record.state) {
            // If the holder of a job that is not wanted is dead, the job is taken from it, and set aside at once.
            (Wish::Train, _) | (Wish::Pause | Wish::Cancel, JobState::Running { .. }) => {}
            // The coordinator queues it again when somebody wants it.
            (
                Wish::Pause | Wish::Cancel,
                JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. },
            ) => return Ok(Look::Over),
        }
        if self.is_others_turn(&entry.record, &order.content.trainer, conditions).await? {
            return Ok(Look::Later(self.time_for_others()));
        }
        let company = if has_gone_wrong(&entry.record) {
            self.pace.alone().await
        } else if let Some(company) = self.pace.among_others() {
            company
        } else {
            return Ok(Look::Later(RECONNECT));
        };
        let age = self.age(job, &entry).await?;
        let timing = &conditions.timing;
        match entry.record.claim(&self.me, age, timing.lease()) {
            Claim::Take { token, record } => {
                let record = record.taken_anew(order.execution.steering.anew_after);
                let record = record.dated(self.bus.server_seconds());
                match self.bus.swap(job, entry.revision, &record).await {
                    Ok(revision) => {
                        let (entry, heartbeat) = ((record, revision), timing.heartbeat());
                        let claimed =
                            Claimed { token, entry, heartbeat, order, admitted_nanos, company, own };
                        Ok(Look::Claimed(Box::new(claimed)))
                    }
                    Err(BusError::Conflict { .. }) => Ok(Look::Later(RECONNECT)),
                    Err(error) => Err(error),
                }
            }
            Claim::Wait(delay) => Ok(Look::Later(delay)),
            Claim::GiveUp(record) => {
                self.bus.swap(job, entry.revision, &record.dated(self.bus.server_seconds())).await?;
                Ok(Look::Over)
            }
            Claim::Finished => Ok(Look::Over),
        }
    }

    /// How long the record has been as it is. Only the age of a job that somebody holds matters. Both times are the
    /// server's, so workers' clocks do not matter. If the server's clock was set back, what counts is how long this
    /// worker has seen the record unchanged.
    async fn age(&self, job: JobId, entry: &BookEntry) -> Result<Duration, BusError> {
        match &entry.record.state {
            JobState::Running { .. } => {}
            JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
                return Ok(Duration::ZERO);
            }
        }
        let now = self.presences.server_time().await?;
        let age = Duration::from_nanos(u64::try_from(now - entry.written_nanos).unwrap_or(0));
        Ok(age.max(self.memory().record_ages.unchanged_for(job, entry.revision)))
    }

    /// Claims one of the jobs that come before `other`, by their priority. Their messages stay in the queue: whoever gets
    /// one sees who holds the job.
    pub(super) async fn claim_first(
        &self,
        other: JobId,
        conditions: &Conditions,
    ) -> Option<Box<Claimed<'_>>> {
        while let Some(job) = conditions.next_before().filter(|job| *job != other) {
            if let Some(claimed) = self.claim_listed(job, conditions).await {
                return Some(claimed);
            }
        }
        None
    }

    /// Claims one of the jobs that come when the queue hands out nothing.
    pub(super) async fn claim_last(&self, conditions: &Conditions) -> Option<Box<Claimed<'_>>> {
        while let Some(job) = conditions.next_after() {
            if let Some(claimed) = self.claim_listed(job, conditions).await {
                return Some(claimed);
            }
        }
        None
    }

    /// Claims a job out of the queue's order, if it waits and this worker may. Errors are harmless: the job is in the queue,
    /// too, or stays in the list.
    async fn claim_listed(&self, job: JobId, conditions: &Conditions) -> Option<Box<Claimed<'_>>> {
        let waits = |entry: &BookEntry| entry.record.state == JobState::Pending;
        if !self.bus.record(job).await.ok().flatten().is_some_and(|entry| waits(&entry)) {
            return None;
        }
        match self.claim(job, conditions).await {
            Ok(Look::Claimed(claimed)) => Some(claimed),
            Ok(Look::Later(_) | Look::Over) => None,
            Err(error) => {
                tracing::debug!(%job, %error, "cannot claim a job out of the queue's order");
                None
            }
        }
    }

    /// The job's order, if this worker can carry it out.
    async fn order_for_us(&self, job: JobId) -> Result<Result<OrderEntry, NotForUs>, BusError> {
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
    fn leave_alone(&self, job: JobId, kind: String, reason: &str) -> NotForUs {
        let left_alone = &mut self.memory().left_alone;
        if left_alone.len() >= REMARKS {
            left_alone.clear();
        }
        if left_alone.insert(kind) {
            tracing::warn!(%job, "not taken, and neither are others of this kind: {reason}");
        }
        NotForUs
    }
}

/// Whether a worker died while it had this job, or could not train it. Such a job is taken alone.
fn has_gone_wrong(record: &JobRecord) -> bool {
    record.losses > 0 || !record.failures.is_empty()
}

/// This worker cannot train the job, but another one may.
struct NotForUs;
