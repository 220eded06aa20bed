//! The user who asks for changes of the sweep while it runs.

use std::sync::Arc;
use std::time::Duration;

use orchestrator::service::{to_add, to_edit};
use shared::bus::Bus;
use shared::ids::{JobId, RequestId};
use shared::protocol::{Demand, JobChange, Request};
use uuid::Uuid;

use super::history::{Ask, History};
use super::sweep::Sweep;

/// Where the user asks.
pub(super) trait Place: Send + Sync {
    fn history(&self) -> &History;
    fn sweep(&self) -> &Sweep;
    fn connect(&self) -> Bus;
    fn now(&self) -> Duration;
    fn is_over(&self) -> bool;
    fn note(&self, note: &str);
    /// The request brings a plan of these jobs.
    fn asks_for(&self, request: RequestId, jobs: Vec<JobId>);
    /// Whether a request has no answer yet.
    fn waits(&self) -> bool;
    /// Jobs of the sweep that are paused.
    fn paused(&self) -> Vec<JobId>;
}

/// How often the user looks whether a request has its answer.
const LOOK: Duration = Duration::from_secs(1);

/// Enters the requests of the history into the books. After the last fault, resumes what is paused then, because otherwise
/// the sweep would never end.
pub(super) async fn ask(place: Arc<impl Place>) {
    let bus = place.connect();
    let mut ids = (1_u128..).map(|n| RequestId::new(Uuid::from_u128(n)));
    let until = |at: Duration| tokio::time::sleep(at.saturating_sub(place.now()));
    for (at, ask) in &place.history().asks {
        until(*at).await;
        let Some(id) = ids.next().filter(|_| !place.is_over()) else { return };
        place.note(&format!("request {id}: {ask:?}"));
        enter(&*place, &bus, id, ask).await;
    }
    until(place.history().faults_end).await;
    loop {
        while !place.is_over() && place.waits() {
            tokio::time::sleep(LOOK).await;
        }
        let paused = place.paused();
        let Some(id) = ids.next().filter(|_| !paused.is_empty() && !place.is_over()) else { return };
        place.note(&format!("request {id}: resume {paused:?}"));
        let demand = Demand::Jobs { jobs: paused, change: JobChange::Resume };
        request(&bus, id, demand).await;
    }
}

async fn enter(place: &impl Place, bus: &Bus, id: RequestId, ask: &Ask) {
    let ids = |jobs: &[usize]| -> Vec<JobId> { place.sweep().ids(jobs) };
    let demand = match ask {
        Ask::Jobs { jobs, change } => Demand::Jobs { jobs: ids(jobs), change: *change },
        Ask::Withdraw { jobs } => Demand::Withdraw { jobs: ids(jobs) },
        Ask::Add { jobs } | Ask::Edit { jobs } => {
            place.asks_for(id, ids(jobs));
            let plan = place.sweep().plan_of(place.history(), jobs);
            loop {
                let demand = match ask {
                    Ask::Edit { .. } => to_edit(bus, &plan).await,
                    Ask::Add { .. } | Ask::Jobs { .. } | Ask::Withdraw { .. } => to_add(bus, &plan).await,
                };
                match demand {
                    Ok(demand) => break demand,
                    Err(_) => tokio::time::sleep(LOOK).await,
                }
            }
        }
    };
    request(bus, id, demand).await;
}

/// Enters a request, again and again while the server is away.
async fn request(bus: &Bus, id: RequestId, demand: Demand) {
    let request = Request::new(id, "simulated", "user", demand);
    while bus.request(&request).await.is_err() {
        tokio::time::sleep(LOOK).await;
    }
}
