//! Reads from a server what became of a job. Whoever may read the books may do that.

use shared::books::JobState;
use shared::bus::{Bus, BusError, RequestEntry};
use shared::protocol::Wish;

use super::follow::{self, FollowError};
use crate::story::{InBooks, Story};
use crate::sweep::plan::{Plan, PlannedJob};

/// The plan of a sweep on a server.
///
/// # Errors
/// When the server does not know the sweep, does not answer, or has a plan that cannot be read.
pub async fn sweep_plan(bus: &Bus, sweep: &str) -> Result<Plan, FollowError> {
    follow::plan(bus, sweep).await
}

/// What became of a job of `plan`; `None` if the server does not know the job.
///
/// # Errors
/// When the server does not answer, or an entry of the job cannot be read.
pub async fn story(bus: &Bus, plan: &Plan, job: &PlannedJob) -> Result<Option<Story>, BusError> {
    let Some(entry) = bus.record(job.id).await? else { return Ok(None) };
    let order = bus.order_entry(job.id).await?;
    let result = match &entry.record.state {
        JobState::Done { .. } => match bus.result(job.id).await {
            Ok(result) => Some(result),
            Err(BusError::Missing { .. }) => None,
            Err(error) => return Err(error),
        },
        JobState::Pending | JobState::Running { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
            None
        }
    };
    let mut requests = Vec::new();
    let keep = |entry: RequestEntry| {
        // Others may name very many jobs.
        if entry.request.demand.is_about(job.id) {
            requests.push((seconds(entry.written_nanos), entry.request));
        }
    };
    bus.each_request(keep).await?;
    let (standings, present) = (bus.standings().await?, bus.workers().await?);
    let known = InBooks {
        record: &entry.record,
        written: seconds(entry.written_nanos),
        ordered: order.as_ref().and_then(|order| seconds(order.admitted_nanos)),
        wish: order.map_or(Wish::Train, |order| order.order.execution.steering.wish),
        result: result.as_ref(),
        requests: &requests,
        standings: &standings,
        present: &present,
    };
    Ok(Some(Story::of_books(plan, job, &known)))
}

fn seconds(nanos: i128) -> Option<u64> {
    u64::try_from(nanos / 1_000_000_000).ok()
}
