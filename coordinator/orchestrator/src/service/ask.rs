//! The side of whoever asks for a change of a sweep: enters the request into the books and sees to the answer.

use std::time::Duration;

use shared::bus::Bus;
use shared::ids::RequestId;
use shared::protocol::{Answer, Demand, Request};
use tokio::time::Instant;
use uuid::Uuid;

use super::conductor::Role;
use super::follow::FollowError;
use super::lease::{Claim, Holder};
use super::{plans, unconducted, weights};
use crate::sweep::plan::Plan;

/// The pause before the books are asked again for the answer of another coordinator.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many characters of a name and a host are told.
const LONGEST_NAME: usize = 60;

/// Demands that a sweep gets what `plan` has and it does not have yet. Stores the plan, and the weights that its jobs
/// start from, on the server first.
///
/// # Errors
/// When a file of weights cannot be read, or the server refuses or does not answer.
pub async fn to_add(bus: &Bus, plan: &Plan) -> anyhow::Result<Demand> {
    weights::share(bus, plan).await?;
    Ok(Demand::Add { plan: plans::store(bus, plan).await? })
}

/// A new request of whoever runs this process.
pub fn new_request(sweep: &str, demand: Demand) -> Request {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty() && !user.contains(char::is_control));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let by = format!("{}@{host}", user.as_deref().unwrap_or("somebody"));
    let by: String = by.chars().take(LONGEST_NAME).collect();
    Request::new(RequestId::new(Uuid::new_v4()), sweep, &by, demand)
}

/// Enters a request into the books and sees to its answer: a run that conducts the sweep gives it, or, if there is no such
/// run, this process carries it out. `None` if that run has not answered within `patience`; the request is kept.
///
/// # Errors
/// When the server refuses or does not answer, or the plan of the sweep cannot be read. The request may be in the books
/// all the same, and is carried out later.
pub async fn ask(bus: &Bus, request: &Request, patience: Duration) -> Result<Option<Answer>, FollowError> {
    bus.request(request).await?;
    let mut claim = Claim::brief(bus.clone(), &request.sweep, Holder::here());
    let deadline = Instant::now() + patience;
    while claim.attempt(false).await? == Role::Following {
        if let Some(answer) = bus.requested(request.id).await?.request.answer {
            return Ok(Some(answer));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let lease = claim.keep_up(Role::Conducting);
    let carried_out = unconducted::carry_out(bus, &request.sweep).await;
    lease.give_back().await;
    carried_out?;
    Ok(bus.requested(request.id).await?.request.answer)
}
