//! Requests to a sweep that no run conducts: whoever enters one carries them out, so that they have their effect at once,
//! also on workers that keep training without a coordinator. What is left undone, the next coordinator does.

use std::collections::{BTreeSet, VecDeque};

use shared::books::{CarriedOut, JobState};
use shared::bus::{Bus, BusError};
use shared::ids::JobId;
use shared::protocol::{Demand, JobChange, Prioritised, Priority, Steering, Wish};

use super::follow::{self, FollowError};
use super::plans::{self, Situation};
use crate::engine::requests::{Requests, Step};
use crate::sweep::plan::Plan;

/// Carries out every request to a sweep that has no answer yet, in the order in which they came.
pub(super) async fn carry_out(bus: &Bus, sweep: &str) -> Result<(), FollowError> {
    let mut plan = follow::plan(bus, sweep).await?;
    let mut requests = Requests::default();
    let mut entries = Vec::new();
    bus.each_request(|entry| entries.push(entry)).await?;
    let mut steps = VecDeque::new();
    for entry in entries {
        if entry.request.sweep == sweep && entry.request.answer.is_none() {
            steps.extend(requests.requested(entry.revision, entry.request, &ours(&plan)));
        }
    }
    let mut turns = Turns::default();
    while let Some(step) = steps.pop_front() {
        steps.extend(match step {
            Step::CarryOut { request, job, change } => {
                let outcome = bus.carry_out(job, request, change).await?;
                if let CarriedOut::Done(steering) = &outcome {
                    let waits = follow_up(bus, job, change, steering).await?;
                    turns
                        .changed(bus, job, waits.then(|| steering.priority.unwrap_or(plan.priority)))
                        .await?;
                }
                requests.carried_out(request, job, outcome)
            }
            Step::ChangePlan { request, demand } => {
                let outcome = match plans::change(bus, &plan, request, &demand, Situation::AtRest).await {
                    Ok(changed) => {
                        plan = changed.plan;
                        // Whoever edits a sweep is about to conduct it, and queues its jobs.
                        let is_edit = matches!(demand, Demand::Edit { .. });
                        for (job, steering) in changed.change.steered.iter().filter(|_| !is_edit) {
                            let _waits = follow_up(bus, *job, JobChange::Resume, steering).await?;
                        }
                        Ok(changed.change.remarks)
                    }
                    Err(error) => Err(error.refusal()?),
                };
                requests.plan_changed(request, outcome)
            }
            Step::Answer { request, answer } => {
                // Before the answer, so that whoever is killed in between does it again.
                turns.list(bus).await?;
                bus.answer(request, answer).await?;
                requests.gone(request, &ours(&plan))
            }
            // Nobody else carries anything out while this process has the lease.
            Step::Learn(_) => Vec::new(),
        });
    }
    Ok(())
}

fn ours(plan: &Plan) -> impl Fn(JobId) -> bool {
    let jobs: BTreeSet<JobId> = plan.jobs.iter().map(|job| job.id).collect();
    move |job| jobs.contains(&job)
}

/// The jobs whose place in the order of all may have changed.
#[derive(Default)]
struct Turns {
    changed: BTreeSet<JobId>,
    /// Those of them that workers take out of the queue's order.
    listed: Vec<Prioritised>,
}

impl Turns {
    /// A job waits for a worker, with this priority; or it does not.
    async fn changed(&mut self, bus: &Bus, job: JobId, waits: Option<Priority>) -> Result<(), BusError> {
        if !self.changed.insert(job) {
            self.listed.retain(|entry| entry.job != job);
        }
        let Some(priority) = waits else { return Ok(()) };
        self.listed.push(Prioritised { job, priority });
        if priority < Priority::NORMAL { bus.dequeue(job).await } else { bus.enqueue(job).await.map(drop) }
    }

    /// Lists them, as far as there is room. The others follow when a run conducts the sweep.
    async fn list(&self, bus: &Bus) -> Result<(), BusError> {
        if self.changed.is_empty() { Ok(()) } else { bus.prioritise(&self.changed, &self.listed).await }
    }
}

/// Brings the record of a job that nobody holds into line with what is requested of it, and queues the job. True if it waits
/// for a worker.
async fn follow_up(bus: &Bus, job: JobId, change: JobChange, steering: &Steering) -> Result<bool, BusError> {
    let Some(entry) = bus.record(job).await? else { return Ok(false) };
    let open = match entry.record.following(steering) {
        Some(next) => match bus.swap(job, entry.revision, &next.dated(bus.server_seconds())).await {
            Ok(_) => true,
            // Somebody else was faster. Whoever holds the job follows by itself.
            Err(BusError::Conflict { .. }) => false,
            Err(error) => return Err(error),
        },
        None => change == JobChange::Resume && !entry.record.state.is_final(),
    };
    let is_wanted = steering.wish == Wish::Train;
    if is_wanted && open {
        bus.enqueue(job).await?;
    }
    Ok(is_wanted && (open || entry.record.state == JobState::Pending))
}
