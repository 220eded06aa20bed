//! Orders: what a job is, and how it is carried out. The first never changes, the second changes by compare-and-swap.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::server::{Entry, ServerError, Write};
use super::values::{decode, encode};
use super::{BookEntry, Bus, BusError};
use crate::books::{JobRecord, JobState};
use crate::ids::JobId;
use crate::protocol::{Execution, JobOrder, Steering, subjects};

/// A job's order at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderEntry {
    pub order: JobOrder,
    /// The revision that the next compare-and-swap must name.
    pub revision: u64,
    /// Server time at which the job was admitted, in nanoseconds since the Unix epoch. No two servers admit a job in the
    /// same nanosecond, so this identifies the server.
    pub admitted_nanos: i128,
}

/// Jobs to be entered into the books. Their orders need not be in memory all at once.
pub struct Planned<'a> {
    pub jobs: &'a BTreeSet<JobId>,
    pub order: &'a (dyn Fn(JobId) -> JobOrder + Sync),
    /// The first records of those that do not begin at the start, unless somebody has worked on them already.
    pub begun: &'a BTreeMap<JobId, JobRecord>,
    pub known: Known<'a>,
}

/// Which orders that are in the books already may differ from the planned ones.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    Any,
    /// Those of jobs that are not done, and of these. The plan has not changed.
    Open {
        and: &'a BTreeSet<JobId>,
    },
}

impl Known<'_> {
    /// Whether the order must be read of a job with this record.
    fn is_read(self, job: JobId, record: &JobRecord) -> bool {
        match (self, &record.state) {
            (Self::Open { and }, JobState::Done { .. }) => and.contains(&job),
            (Self::Any, _)
            | (
                Self::Open { .. },
                JobState::Pending
                | JobState::Running { .. }
                | JobState::Failed { .. }
                | JobState::Parked { .. },
            ) => true,
        }
    }
}

impl std::fmt::Debug for Planned<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { jobs, order: _, begun: _, known } = self;
        f.debug_struct("Planned").field("jobs", &jobs.len()).field("known", known).finish_non_exhaustive()
    }
}

/// The most writes in one atomic batch: a server takes no more (ADR-50).
const BATCH_MOST: usize = 1000;
/// A batch is closed when its values have this many bytes.
const BATCH_BYTES: usize = 2 << 20;
/// Up to so many writes are faster one by one than in a batch.
const FEW: usize = 16;
/// How many known jobs are planned anew at the same time.
const AT_ONCE: usize = 32;

/// Entries to be created at once.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, key: String, value: Bytes) {
        self.bytes += value.len();
        self.writes.push(Write { key, expected: Some(0), value });
    }

    /// True if there may be no room for the entries of another job.
    fn is_full(&self) -> bool {
        self.writes.len() + 2 > BATCH_MOST || self.bytes >= BATCH_BYTES
    }
}

impl Bus {
    /// Adds the jobs that are not in the books yet. Existing jobs stay unchanged, except for what a plan says about how
    /// they are carried out. Returns what was requested of jobs before, where it was anything.
    ///
    /// # Errors
    /// When the server does not answer, or an existing order cannot be read.
    pub async fn admit(&self, orders: &[JobOrder]) -> Result<Vec<(JobId, Steering)>, BusError> {
        let planned: BTreeMap<JobId, &JobOrder> = orders.iter().map(|order| (order.job, order)).collect();
        let jobs: BTreeSet<JobId> = planned.keys().copied().collect();
        let order = |job| planned[&job].clone();
        let (begun, known) = (BTreeMap::new(), Known::Any);
        self.admit_each(Planned { jobs: &jobs, order: &order, begun: &begun, known }, |_| ()).await
    }

    /// Like [`Self::admit`], for many jobs. The records that they had before go to `recorded`, as from
    /// [`Self::each_record`].
    ///
    /// # Errors
    /// As [`Self::admit`], and when an existing record cannot be read.
    pub async fn admit_each(
        &self,
        Planned { jobs, order: planned, begun, known }: Planned<'_>,
        mut recorded: impl FnMut(BookEntry) + Send,
    ) -> Result<Vec<(JobId, Steering)>, BusError> {
        // The known jobs, and those whose orders must be read.
        let (mut entered, mut read, mut untouched) = (BTreeSet::new(), jobs.clone(), BTreeMap::new());
        let look = |entry: BookEntry| {
            entered.insert(entry.job);
            if begun.contains_key(&entry.job) && entry.record.is_untouched() {
                untouched.insert(entry.job, entry.revision);
            } else {
                untouched.remove(&entry.job);
            }
            if known.is_read(entry.job, &entry.record) {
                read.insert(entry.job);
            } else {
                read.remove(&entry.job);
            }
            recorded(entry);
        };
        self.each_record(jobs, look).await?;
        // What is requested of these, and whether their plan is another one.
        let mut ordered: BTreeMap<JobId, (Steering, bool)> = BTreeMap::new();
        let take = |job, OrderEntry { order: JobOrder { execution, .. }, .. }| {
            let next = execution.planned_as(&planned(job).execution);
            ordered.insert(job, (execution.steering, execution != next));
        };
        self.each_order(&read, take).await?;
        let pending = encode(&JobRecord::pending());
        let (mut batch, mut late) = (Batch::default(), Vec::new());
        for &job in jobs {
            // The order first: whoever sees the record finds it.
            if read.contains(&job) && !ordered.contains_key(&job) {
                batch.add(subjects::order_key(job), encode(&planned(job)));
            }
            if !entered.contains(&job) {
                let record = begun.get(&job).map_or_else(|| pending.clone(), encode);
                batch.add(subjects::record_key(job), record);
            }
            if batch.is_full() {
                late.extend(self.create_all(std::mem::take(&mut batch)).await?);
            }
        }
        late.extend(self.create_all(batch).await?);
        for (job, revision) in untouched {
            match self.swap(job, revision, &begun[&job]).await {
                // A worker was faster.
                Ok(_) | Err(BusError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let anew = ordered.iter().filter(|(_, (_, another))| *another).map(|(&job, _)| job);
        let anew: BTreeSet<JobId> = anew.chain(late).collect();
        let mut steered: BTreeMap<JobId, Steering> =
            ordered.iter().map(|(&job, &(steering, _))| (job, steering)).collect();
        let planning: Vec<_> = anew.into_iter().map(|job| self.plan_anew(planned(job))).collect();
        let mut planning = stream::iter(planning).buffer_unordered(AT_ONCE);
        while let Some((job, steering)) = planning.try_next().await? {
            steered.insert(job, steering);
        }
        steered.retain(|_, steering| *steering != Steering::default());
        Ok(steered.into_iter().collect())
    }

    /// Creates these entries at once, or, if somebody was faster with one of them, one by one. Returns the jobs whose
    /// orders were there already.
    async fn create_all(&self, Batch { writes, .. }: Batch) -> Result<Vec<JobId>, BusError> {
        // A batch of a few writes costs more than the writes.
        if writes.len() > FEW {
            match self.server.batch(&writes).await {
                Ok(_) => return Ok(Vec::new()),
                Err(ServerError::Revision) => {}
                Err(error) => return Err(BusError::failed("enter jobs into the books", error)),
            }
        }
        let mut known = Vec::new();
        for Write { key, value, .. } in writes {
            if !self.create(&key, value).await? {
                known.extend(subjects::job_of_order_key(&key));
            }
        }
        Ok(known)
    }

    /// Lets a known job be carried out as the plan of `order` says. What was requested of the job stays, and is returned.
    async fn plan_anew(&self, order: JobOrder) -> Result<(JobId, Steering), BusError> {
        loop {
            let missing = || BusError::Missing { what: subjects::order_key(order.job) };
            let known = self.order_entry(order.job).await?.ok_or_else(missing)?;
            let execution = known.order.execution.planned_as(&order.execution);
            let steering = execution.steering;
            if known.order.execution == execution || self.replace_execution(known, execution).await? {
                return Ok((order.job, steering));
            }
        }
    }

    /// Changes how a job is carried out. False if somebody else changed its order first.
    pub(super) async fn replace_execution(
        &self,
        known: OrderEntry,
        execution: Execution,
    ) -> Result<bool, BusError> {
        let OrderEntry { order, revision, admitted_nanos } = known;
        let (v, admitted_nanos) = (JobOrder::VERSION, i64::try_from(admitted_nanos).ok());
        let next = JobOrder { v, execution, admitted_nanos, ..order };
        Ok(self.changed(&subjects::order_key(next.job), &next, revision).await?.is_some())
    }

    /// A job's order as it stands in the books, if there is one.
    ///
    /// # Errors
    /// When the server does not answer, or the order cannot be read.
    pub async fn order_entry(&self, job: JobId) -> Result<Option<OrderEntry>, BusError> {
        let key = subjects::order_key(job);
        self.entry(&key).await?.as_ref().map(order_entry).transpose()
    }

    /// A job's order.
    ///
    /// # Errors
    /// When the server does not answer, or the order is missing or cannot be read.
    pub async fn order(&self, job: JobId) -> Result<JobOrder, BusError> {
        self.read(&subjects::order_key(job), JobOrder::VERSION).await
    }
}

pub(super) fn order_entry(entry: &Entry) -> Result<OrderEntry, BusError> {
    let order: JobOrder = decode(&entry.key, &entry.value, JobOrder::VERSION)?;
    let admitted_nanos = order.admitted_nanos.map_or(entry.written_nanos, i128::from);
    Ok(OrderEntry { order, revision: entry.revision, admitted_nanos })
}
