//! The workers that a run starts on its own machine: how many, under which names, and announced before they start.

use shared::bus::{Bus, Endpoint};
use shared::protocol::Presence;
use shared::unique_name::UniqueName;

use super::run_request::{RunContext, RunRequest};
use super::tenure::Tenure;
use crate::fleet::{self, Fleet, Slot, WorkerSetup};
use crate::sweep::plan::Plan;

/// Starts the workers of this machine, unless another ferry has some. Their names begin with `host`.
pub(super) async fn start(
    &RunContext { request, tenure, .. }: &RunContext<'_>,
    endpoint: &Endpoint,
    bus: &Bus,
    host: Option<&UniqueName>,
) -> anyhow::Result<Fleet> {
    let slots = match tenure {
        Tenure::Own(_) | Tenure::Beside => {
            fleet::slots(&request.gpus, cores(), threads(&request.plan), request.workers)
        }
        Tenure::Guest { .. } => Vec::new(),
    };
    let setup = WorkerSetup {
        program: fleet::worker_program()?,
        endpoint: endpoint.clone(),
        data: request.dataset.clone(),
        logs: request.home.logs()?,
        name_prefix: host.map_or_else(String::new, |host| format!("{}-", host.as_str())),
    };
    announce_workers(bus, &setup, &slots, &request.plan).await;
    Ok(Fleet::start(setup, slots)?)
}

/// Tells the workers that others are about to start, so that the second try of a failed job can wait for one of them.
async fn announce_workers(bus: &Bus, setup: &WorkerSetup, slots: &[Slot], plan: &Plan) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for slot in slots {
        // It offers more, but only this sweep's jobs could wait for it so soon.
        let trainers = vec![plan.trainer.clone()];
        if let Err(error) = bus.appear(&Presence::announced(&setup.worker_name(slot), &host, trainers)).await
        {
            tracing::debug!(%error, "cannot announce a worker");
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many characters of a host's name are kept, to leave room for the slot's name after it.
const HOST_NAME: usize = 32;

/// The prefix of the names of this run's workers, unique among the runs on this host. A run with its own server needs
/// none.
pub(super) fn host_name(request: &RunRequest) -> Option<UniqueName> {
    request.server.as_ref()?;
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host = node.split('.').next().unwrap_or_default();
    // Keep the end of the name, because numbered host names differ at their end.
    let surplus = host.chars().count().saturating_sub(HOST_NAME);
    Some(UniqueName::free("run", &host.chars().skip(surplus).collect::<String>()))
}

/// The most threads that a job of the sweep asks for.
fn threads(plan: &Plan) -> usize {
    let kind = plan.kind();
    let threads =
        kind.iter().flat_map(|kind| plan.jobs.iter().map(|job| kind.threads(&job.settings.to_map())));
    threads.max().unwrap_or(1)
}
