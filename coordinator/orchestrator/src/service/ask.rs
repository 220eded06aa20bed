//! The side of whoever asks for a change of a sweep: enters the request into the books and waits for the answer.

use std::time::Duration;

use shared::bus::{Bus, BusError};
use shared::protocol::{Answer, Demand, Request, subjects};

use super::{plans, weights};
use crate::sweep::plan::Plan;

/// Demands that a sweep gets what `plan` has and it does not have yet. Stores the plan, and the weights that its jobs
/// start from, on the server first.
///
/// # Errors
/// When a file of weights cannot be read, or the server refuses or does not answer.
pub async fn to_add(bus: &Bus, plan: &Plan) -> anyhow::Result<Demand> {
    weights::share(bus, plan).await?;
    Ok(Demand::Add { plan: plans::store(bus, plan).await? })
}

/// Enters a request into the books, and waits up to `patience` for its answer. `None` means that it is kept: the next
/// coordinator of the sweep answers it.
///
/// # Errors
/// When the server refuses or does not answer.
pub async fn ask(bus: &Bus, request: &Request, patience: Duration) -> Result<Option<Answer>, BusError> {
    bus.request(request).await?;
    let mut requests = bus.feed(&[subjects::REQUEST_KEYS]);
    let answered = async {
        loop {
            let entry = requests.request().await;
            if let Some(answer) = entry.request.answer.filter(|_| entry.request.id == request.id) {
                return answer;
            }
        }
    };
    Ok(tokio::time::timeout(patience, answered).await.ok())
}
