//! Enters a sweep into the books of a server, or attaches to it if another run conducts it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shared::bus::Bus;
use shared::ids::JobId;
use shared::protocol::Timing;
use shared::result::JobResult;
use shared::trainer::DatasetSize;

use super::conductor::{Conductor, Extent, Role};
use super::lease::{Claim, Holder, KeptLease};
use super::wait_out::wait_out;
use super::{prepare, weights};
use crate::ensemble::live::Finished;
use crate::sweep::plan::Plan;
use crate::view::Sink;
use crate::view::model::Snapshot;

/// What a run brings along.
#[derive(Debug)]
pub struct Entering<'a> {
    pub plan: &'a Plan,
    /// The results that are in the run folder.
    pub stored: &'a BTreeMap<JobId, JobResult>,
    /// Number of training samples in the dataset.
    pub dataset_size: DatasetSize,
    /// How many jobs that wait for a worker may be in the server's queue at a time.
    pub most_queued: usize,
    /// Lease and heartbeat to set. `None` keeps those of the server.
    pub timing: Option<Timing>,
    /// No other run uses this server.
    pub ours_alone: bool,
    pub holder: Holder,
}

/// A sweep that is in the books, and about to be conducted or followed.
#[derive(Debug)]
pub struct Entered {
    pub bus: Bus,
    pub conductor: Conductor,
    pub lease: KeptLease,
    /// Jobs whose results in the run folder are outdated.
    pub outdated: BTreeSet<JobId>,
    pub snapshot: Snapshot,
    /// What is known of finished jobs, if the sweep has ensembles.
    pub finished: Vec<(JobId, Finished)>,
}

/// Enters the sweep. Waits out what passes by itself.
///
/// # Errors
/// When the server refuses, cannot be reached, or has an entry that cannot be read.
pub async fn enter(bus: &Bus, entering: Entering<'_>, sink: &mut Sink) -> anyhow::Result<Entered> {
    let Entering { plan, stored, dataset_size, most_queued, timing, ours_alone, holder } = entering;
    let mut claim = Claim::new(bus.clone(), &plan.name, holder);
    let role = wait_out(|text| sink.remark(text), async || Ok(claim.settle(ours_alone).await?)).await?;
    let lease = claim.keep_up(role);
    let admitted = wait_out(
        |text| sink.remark(text),
        async || {
            // Set it even if it is unchanged, because the queue of a restored server does not know it yet.
            let timing = match timing {
                Some(timing) => timing,
                None => bus.timing().await?,
            };
            bus.agree_on(&timing).await?;
            match role {
                Role::Conducting => {
                    weights::share(bus, plan).await?;
                    prepare::admit(bus, plan, stored.keys().copied(), ours_alone).await
                }
                Role::Following => prepare::attach(bus, plan, stored.keys().copied()).await,
            }
        },
    )
    .await?;
    let outdated = admitted.outdated(stored);
    let stored: BTreeMap<JobId, &JobResult> = stored
        .iter()
        .filter(|(job, _)| !outdated.contains(job))
        .map(|(&job, result)| (job, result))
        .collect();
    let engine = admitted.engine(&|job| stored.contains_key(&job));
    let snapshot = first_snapshot(&admitted.plan, &stored);
    let ranking = &admitted.plan.ranking;
    let finished = stored.iter().filter(|_| !admitted.plan.ensembles.is_empty());
    let finished = finished.map(|(&job, result)| (job, Finished::of(result, ranking))).collect();
    if role == Role::Following {
        sink.remark(&format!(
            "another `ferry run` conducts `{}` already: this one follows it, and takes over when that one is gone",
            plan.name
        ));
    }
    let (plan, extent) = (Arc::new(admitted.plan), Extent { dataset_size, most_queued });
    let mut conductor = Conductor::begin(bus.clone(), engine, plan, extent, role);
    conductor.found_listed(&admitted.listed);
    let (_, cost) = conductor.costs();
    for result in stored.values() {
        cost.saw_result(result);
    }
    Ok(Entered { bus: bus.clone(), conductor, lease, outdated, snapshot, finished })
}

/// What is shown first, given the results of earlier runs.
fn first_snapshot(plan: &Plan, stored: &BTreeMap<JobId, &JobResult>) -> Snapshot {
    let (score_name, goal) = (plan.score_name(), plan.ranking.goal);
    let mut snapshot = Snapshot { score_name, goal, ..Snapshot::default() };
    for result in stored.values() {
        if let Some(score) = plan.ranking.score(&result.metrics) {
            snapshot.saw(result.job, score);
        }
    }
    snapshot
}
