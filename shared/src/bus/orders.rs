//! Orders: what a job is, and how it is carried out. The first never changes, the second changes by compare-and-swap.

use super::values::{decode, encode};
use super::{Bus, BusError};
use crate::books::JobRecord;
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

impl Bus {
    /// Adds the jobs that are not in the books yet. Existing jobs stay unchanged, except for what a plan says about how
    /// they are carried out. Returns what was requested of jobs before, where it was anything.
    ///
    /// # Errors
    /// When the server does not answer, or an existing order cannot be read.
    pub async fn admit(&self, orders: &[JobOrder]) -> Result<Vec<(JobId, Steering)>, BusError> {
        let pending = encode(&JobRecord::pending());
        let mut steered = Vec::new();
        for order in orders {
            if !self.create(&subjects::order_key(order.job), encode(order)).await? {
                let steering = self.plan_anew(order).await?;
                if steering != Steering::default() {
                    steered.push((order.job, steering));
                }
            }
            self.create(&subjects::record_key(order.job), pending.clone()).await?;
        }
        Ok(steered)
    }

    /// Lets a known job be carried out as the plan of `order` says. What was requested of the job stays, and is returned.
    async fn plan_anew(&self, order: &JobOrder) -> Result<Steering, BusError> {
        loop {
            let missing = || BusError::Missing { what: subjects::order_key(order.job) };
            let known = self.order_entry(order.job).await?.ok_or_else(missing)?;
            let execution = known.order.execution.planned_as(&order.execution);
            let steering = execution.steering;
            if known.order.execution == execution || self.replace_execution(known, execution).await? {
                return Ok(steering);
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
        let Some(entry) = self.entry(&key).await? else { return Ok(None) };
        let order: JobOrder = decode(&key, &entry.value, JobOrder::VERSION)?;
        let admitted_nanos = order.admitted_nanos.map_or(entry.written_nanos, i128::from);
        Ok(Some(OrderEntry { order, revision: entry.revision, admitted_nanos }))
    }

    /// A job's order.
    ///
    /// # Errors
    /// When the server does not answer, or the order is missing or cannot be read.
    pub async fn order(&self, job: JobId) -> Result<JobOrder, BusError> {
        self.read(&subjects::order_key(job), JobOrder::VERSION).await
    }
}
