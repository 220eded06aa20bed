//! Preparations before the first job runs: the run folder, and the entries of the sweep in the books.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use shared::books::{JobState, Standing, WorkerRecord};
use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;
use shared::protocol::{JobOrder, SweepRecord, subjects};
use shared::result::JobResult;

use super::dataset::Dataset;
use crate::run_dir::{RunDir, RunDirError};
use crate::sweep::plan::Plan;

/// The run folder of a sweep.
pub(super) struct ChosenFolder {
    pub(super) run_dir: RunDir,
    /// What the user should know about the choice.
    pub(super) remark: Option<String>,
}

/// The run folder below `out`, with plan and sample lists in it: the folder with the sweep's name, or a numbered one if
/// that already holds the results of other jobs.
pub(super) fn run_dir(
    out: &Path,
    plan: &Plan,
    dataset: Option<&Dataset>,
) -> Result<ChosenFolder, RunDirError> {
    let usual = out.join(&plan.name);
    let root = RunDir::place(&usual, plan)?;
    let remark = (root != usual).then(|| {
        format!(
            "{} holds a run of `{}` with other jobs or another dataset and is left as it is; this one goes to {}",
            usual.display(),
            plan.name,
            root.display()
        )
    });
    let run_dir = RunDir::create(&root, plan)?;
    for (split, samples) in dataset.map_or_else(Vec::new, Dataset::sample_lists) {
        run_dir.write_samples(split, &samples)?;
    }
    Ok(ChosenFolder { run_dir, remark })
}

/// The results of earlier runs. If a file is damaged, all results are fetched again.
pub(super) fn stored_results(run_dir: &RunDir) -> BTreeMap<JobId, JobResult> {
    match run_dir.load() {
        Ok(record) => record.results,
        Err(error) => {
            tracing::warn!(%error, "results are fetched again");
            BTreeMap::new()
        }
    }
}

/// Jobs whose results in the run folder are older than the user's request to train them again.
pub(super) async fn outdated(
    bus: &Bus,
    stored: &BTreeMap<JobId, JobResult>,
) -> Result<BTreeSet<JobId>, BusError> {
    let mut outdated = BTreeSet::new();
    for (&job, result) in stored {
        if let Some(entry) = bus.record(job).await?
            && result.attempt.0 <= entry.record.retried_after
        {
            outdated.insert(job);
        }
    }
    Ok(outdated)
}

/// Enters the sweep into the books. Jobs that are already in the books keep their state, except that failed ones are
/// opened again and drained workers are trusted again, because the user asks for another try. With `ours_alone` no
/// other coordinator uses this server, so what its queue still holds from another sweep is removed.
///
/// # Errors
/// When the server refuses or does not answer, or an entry in its books cannot be read.
pub async fn admit(bus: &Bus, plan: &Plan, ours_alone: bool) -> anyhow::Result<()> {
    let orders: Vec<JobOrder> = plan.jobs.iter().map(|job| plan.order(job)).collect();
    bus.admit(&orders).await?;
    let drained = trust_again(bus).await?;
    for order in &orders {
        let Some(entry) = bus.record(order.job).await? else { continue };
        let next = match &entry.record.state {
            JobState::Failed { .. } | JobState::Parked { .. } => Some(entry.record.reopened()),
            JobState::Pending | JobState::Running { .. } | JobState::Done { .. } => {
                entry.record.excused(&drained)
            }
        };
        if let Some(next) = next {
            match bus.swap(order.job, entry.revision, &next).await {
                // A worker was faster, so the job is already open.
                Ok(_) | Err(BusError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let text = serde_json::to_vec(plan)?;
    let blob = bus.put_blob(Bucket::Results, &format!("plan.{}", plan.name), text.into()).await?;
    let record = SweepRecord { v: SweepRecord::VERSION, name: plan.name.clone(), plan: blob };
    bus.write(&subjects::sweep_key(&plan.name), &record).await?;
    if ours_alone {
        bus.clear_queue().await?;
    }
    Ok(())
}

/// Trusts all workers again that were on probation or drained, and returns the names of the drained ones. A worker that
/// took itself out stays out until its self-test passes.
async fn trust_again(bus: &Bus) -> anyhow::Result<BTreeSet<String>> {
    let mut drained = BTreeSet::new();
    for record in bus.standings().await? {
        match record.standing {
            Standing::Trusted | Standing::Unfit { .. } => continue,
            Standing::Probation { .. } => {}
            Standing::Drained { .. } => drop(drained.insert(record.name.clone())),
        }
        bus.write_standing(&WorkerRecord::new(&record.name, Standing::Trusted)).await?;
    }
    Ok(drained)
}
