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
use super::plans::Encoded;
use super::{unconducted, weights};
use crate::sweep::plan::Plan;

/// The pause before the books are asked again for the answer of another coordinator.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long to wait for another run to carry out the edit of a sweep file.
const EDIT_PATIENCE: Duration = Duration::from_mins(1);
/// How many characters of a name and a host are told.
const LONGEST_NAME: usize = 60;

/// Demands that a sweep gets what `plan` has and it does not have yet. Stores the plan, and the weights that its jobs
/// start from, on the server first.
///
/// # Errors
/// When a file of weights cannot be read, or the server refuses or does not answer.
pub async fn to_add(bus: &Bus, plan: &Plan) -> anyhow::Result<Demand> {
    weights::share(bus, plan).await?;
    Ok(Demand::Add { plan: Encoded::of(plan)?.store(bus).await })
}

/// Demands that a sweep follows its edited file, which has this plan now. Stores what [`to_add`] stores.
///
/// # Errors
/// As [`to_add`].
pub async fn to_edit(bus: &Bus, plan: &Plan) -> anyhow::Result<Demand> {
    weights::share(bus, plan).await?;
    Ok(Demand::Edit { plan: Encoded::of(plan)?.store(bus).await })
}

/// Why a sweep does not follow its edited file.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("`{sweep}` cannot follow the edited file: {why}")]
    Refused { sweep: String, why: String },
    #[error(
        "the `ferry run` that conducts `{sweep}` has not answered for {} s; the edit is kept, and carried out when it does",
        EDIT_PATIENCE.as_secs()
    )]
    Unanswered { sweep: String },
    #[error(
        "another `ferry run` has just changed `{sweep}`: run this again to see how the file differs from it now"
    )]
    Overtaken { sweep: String },
}

/// Lets a sweep that is in the books follow its edited file, and returns what has changed. `me` is the run that asks.
///
/// # Errors
/// [`EditError`], and when a file of weights cannot be read, or the server refuses or does not answer.
pub(super) async fn edit(bus: &Bus, plan: &Plan, me: &Holder) -> anyhow::Result<Vec<String>> {
    let request = new_request(&plan.name, to_edit(bus, plan).await?);
    let sweep = plan.name.clone();
    match ask_as(me, bus, &request, EDIT_PATIENCE).await? {
        Some(Answer::Done { remarks }) if remarks.is_empty() => Ok(vec!["nothing changes".to_owned()]),
        Some(Answer::Done { remarks }) => Ok(remarks),
        Some(Answer::Refused { why }) => Err(EditError::Refused { sweep, why }.into()),
        Some(Answer::Superseded { by }) => {
            let why = format!("a later edit, request {by}, has taken its place");
            Err(EditError::Refused { sweep, why }.into())
        }
        None => Err(EditError::Unanswered { sweep }.into()),
    }
}

/// A new request of whoever runs this process.
pub fn new_request(sweep: &str, demand: Demand) -> Request {
    Request::new(RequestId::new(Uuid::new_v4()), sweep, &asker(), demand)
}

/// Whoever runs this process, as others are told.
pub fn asker() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty() && !user.contains(char::is_control));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let by = format!("{}@{host}", user.as_deref().unwrap_or("somebody"));
    by.chars().take(LONGEST_NAME).collect()
}

/// Enters a request into the books and sees to its answer: a run that conducts the sweep gives it, or, if there is no such
/// run, this process carries it out. `None` if that run has not answered within `patience`; the request is kept.
///
/// # Errors
/// When the server refuses or does not answer, or the plan of the sweep cannot be read. The request may be in the books
/// all the same, and is carried out later.
pub async fn ask(bus: &Bus, request: &Request, patience: Duration) -> Result<Option<Answer>, FollowError> {
    ask_as(&Holder::here(), bus, request, patience).await
}

/// Like [`ask`]. Whoever holds the lease of the sweep as `me` need not wait for it.
async fn ask_as(
    me: &Holder,
    bus: &Bus,
    request: &Request,
    patience: Duration,
) -> Result<Option<Answer>, FollowError> {
    bus.request(request).await?;
    let mut claim = Claim::brief(bus.clone(), &request.sweep, me.clone());
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
