//! How long jobs of earlier sweeps took, on the same server or with a run folder beside this one's: all that is known of a
//! sweep before its first epoch.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;
use shared::protocol::{SweepRecord, subjects};
use shared::result::JobResult;
use shared::trainer::DatasetSize;

use super::dataset::Dataset;
use super::work::{self, Work};
use crate::cost::{CostModel, Open};
use crate::run_dir::RunDir;
use crate::sweep::plan::Plan;

/// How many results of one sweep are looked at, and how many run folders, the newest first.
const RESULTS: usize = 64;
const FOLDERS: usize = 16;

/// What a sweep costs that is not in the books, for one worker like those that were measured. `dataset` is the folder of
/// its dataset, and `out` holds run folders.
///
/// # Errors
/// When the dataset cannot be read, or the server does not answer.
pub async fn foretell(
    bus: Option<&Bus>,
    plan: &Plan,
    dataset: Option<&Path>,
    out: &Path,
) -> anyhow::Result<Work> {
    let samples = match (dataset, &plan.dataset) {
        (Some(folder), _) => Dataset::open(folder)?.size(),
        (None, _) => work::size_in(plan).unwrap_or_default(),
    };
    let mut cost = work::cost_model(plan, samples);
    learn(&mut cost, bus, (plan, samples), out, None).await?;
    let open: Vec<Open> = plan.jobs.iter().map(|job| work::waiting(job.id, 0)).collect();
    Ok(Work::left(&mut cost, &open, &[]))
}

/// Learns from sweeps with the same trainer, except `but`. One of which the size of the dataset is not known is left out.
pub(super) async fn learn(
    cost: &mut CostModel,
    bus: Option<&Bus>,
    (plan, dataset_size): (&Plan, DatasetSize),
    out: &Path,
    but: Option<&str>,
) -> Result<(), BusError> {
    let mut known: BTreeSet<String> = but.into_iter().map(str::to_owned).collect();
    if let Some(bus) = bus {
        for key in bus.keys(subjects::SWEEP_KEYS).await? {
            let record: SweepRecord = bus.read(&key, SweepRecord::VERSION).await?;
            if !known.insert(record.name.clone()) {
                continue;
            }
            // It may be removed meanwhile, or have been written by another version.
            let Ok(text) = bus.get_blob(Bucket::Results, &record.plan).await else { continue };
            let Ok(other) = serde_json::from_slice::<Plan>(&text) else { continue };
            let jobs = other.jobs.iter().map(|job| job.id);
            let jobs: BTreeSet<JobId> = jobs.step_by(other.jobs.len().div_ceil(RESULTS).max(1)).collect();
            let mut results = Vec::new();
            bus.each_result(&jobs, |result| results.push(result)).await?;
            learn_from(cost, (plan, dataset_size), &other, &results);
        }
    }
    // The plan of a large sweep is large: that of `but` is not read.
    let is_other = |run: &RunDir| but.is_none_or(|but| !run.root().ends_with(but));
    for run in run_folders(out).into_iter().filter(is_other) {
        let Ok(other) = run.plan() else { continue };
        if known.insert(other.name.clone()) {
            let results = run.some_results(RESULTS).unwrap_or_default();
            learn_from(cost, (plan, dataset_size), &other, &results);
        }
    }
    Ok(())
}

fn learn_from(
    cost: &mut CostModel,
    (plan, dataset_size): (&Plan, DatasetSize),
    other: &Plan,
    results: &[JobResult],
) {
    let (Some(kind), true) = (other.kind(), other.trainer == plan.trainer) else { return };
    let is_same = other.dataset_digest == plan.dataset_digest;
    let samples = if is_same { Some(dataset_size) } else { work::size_in(other) };
    let Some(samples) = samples else { return };
    for result in results {
        let Some(job) = other.jobs.iter().find(|job| job.id == result.job) else { continue };
        let settings = job.settings.to_map();
        cost.saw_elsewhere(kind.effort(&settings, samples), &settings, result);
    }
}

/// The newest run folders in a folder.
fn run_folders(out: &Path) -> Vec<RunDir> {
    let entries = fs::read_dir(out).into_iter().flatten().flatten();
    let mut folders: Vec<(std::time::SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let written = fs::metadata(path.join("plan.json")).and_then(|plan| plan.modified()).ok()?;
            Some((written, path))
        })
        .collect();
    folders.sort_unstable_by(|a, b| b.cmp(a));
    folders.truncate(FOLDERS);
    folders.iter().filter_map(|(_, path)| RunDir::open(path).ok()).collect()
}
