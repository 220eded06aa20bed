//! Preparations before the first job runs: the run folder, and the entries of the sweep in the books.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use shared::books::{JobRecord, JobState, Standing, WorkerRecord};
use shared::bus::{BookEntry, Bus, BusError};
use shared::ids::JobId;
use shared::plural::count;
use shared::protocol::{Steering, SweepRecord};
use shared::result::JobResult;

use super::dataset::Dataset;
use super::plans::{self, ChangeError};
use crate::engine::Engine;
use crate::run_dir::{RunDir, RunDirError};
use crate::sweep::plan::{Plan, PlannedJob};

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
    let (root, stored) = RunDir::place(&usual, plan)?;
    // With what was requested before, whose results are in the folder. What counts is what the books say later.
    let stored = stored.filter(|stored| stored.name == plan.name);
    let continued = stored.map_or_else(|| plan.clone(), |stored| plans::continued(plan.clone(), stored));
    let remark = (root != usual).then(|| {
        format!(
            "{} holds a run of `{}` with other jobs or another dataset and is left as it is; this one goes to {}",
            usual.display(),
            plan.name,
            root.display()
        )
    });
    let run_dir = RunDir::create(&root, &continued)?;
    for (split, samples) in dataset.map_or_else(Vec::new, Dataset::sample_lists) {
        run_dir.write_samples(split, &samples)?;
    }
    Ok(ChosenFolder { run_dir, remark })
}

/// The results of earlier runs. If a file is damaged, all results are fetched again.
pub(super) fn stored_results(run_dir: &RunDir) -> BTreeMap<JobId, JobResult> {
    match run_dir.results() {
        Ok(results) => results,
        Err(error) => {
            tracing::warn!(%error, "results are fetched again");
            BTreeMap::new()
        }
    }
}

/// A sweep that is in the books.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Its plan, with what was requested of the sweep before.
    pub(super) plan: Plan,
    /// What was requested of its jobs before.
    steered: Vec<(JobId, Steering)>,
    /// The jobs that workers take before all others.
    first: Vec<JobId>,
    /// Revision of the newest request or answer before all of this was read.
    until: u64,
    /// Jobs that were asked to be trained again: the results of their attempts up to this one are outdated. Of jobs that
    /// are not done, as far as the books know, every result is.
    retried: BTreeMap<JobId, u32>,
}

impl Admitted {
    /// An engine for the sweep. The results of the jobs in `stored` are in the run folder.
    pub(super) fn engine(&self, stored: &dyn Fn(JobId) -> bool) -> Engine {
        let engine = Engine::new(self.plan.jobs.iter().map(|job| job.id), stored);
        engine.steered(self.steered.iter().copied(), self.first.iter().copied(), self.until)
    }

    /// Those of the results in the run folder that are older than the user's request to train their jobs again.
    pub(super) fn outdated(&self, stored: &BTreeMap<JobId, JobResult>) -> BTreeSet<JobId> {
        let outdated = |result: &&JobResult| {
            self.retried.get(&result.job).is_some_and(|&retried_after| result.attempt.0 <= retried_after)
        };
        stored.values().filter(outdated).map(|result| result.job).collect()
    }
}

/// Enters the sweep into the books. Jobs that are already in the books keep their state, except that failed ones are
/// opened again and drained workers are trusted again, because the user asks for another try. What was requested of the
/// sweep and its jobs before stays. With `ours_alone` no other coordinator uses this server, so what its queue still
/// holds from another sweep is removed. `stored` are the jobs whose results are in the run folder.
///
/// # Errors
/// When the server refuses or does not answer, or an entry in its books cannot be read.
pub(super) async fn admit(
    bus: &Bus,
    plan: &Plan,
    stored: impl Iterator<Item = JobId>,
    ours_alone: bool,
) -> anyhow::Result<Admitted> {
    let until = bus.newest_request().await?;
    let (plan, steered) = loop {
        let known = bus.sweep(&plan.name).await?;
        let plan = match &known {
            Some((record, _)) => match plans::load(bus, &record.plan).await {
                Ok(stored) => plans::continued(plan.clone(), stored),
                Err(ChangeError::Bus(error)) if error.is_transient() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!("what was requested of this sweep earlier cannot be read: {error}");
                    plan.clone()
                }
            },
            None => plan.clone(),
        };
        let planned: BTreeMap<JobId, &PlannedJob> = plan.jobs.iter().map(|job| (job.id, job)).collect();
        let jobs = planned.keys().copied().collect();
        let steered = bus.admit_each(&jobs, &|job| plan.order(planned[&job])).await?;
        let (generation, changed_by, revision) =
            known.map_or((0, None, 0), |(record, revision)| (record.generation, record.changed_by, revision));
        let blob = plans::store(bus, &plan).await?;
        let (v, name) = (SweepRecord::VERSION, plan.name.clone());
        let record = SweepRecord { v, name, plan: blob, generation, changed_by };
        // Somebody may change the plan at the same time.
        if bus.swap_sweep(&record, revision).await? {
            break (plan, steered);
        }
    };
    let drained = trust_again(bus).await?;
    let retried = open_again(bus, &plan, stored, &drained).await?;
    if ours_alone {
        bus.clear_queue().await?;
    }
    Ok(Admitted { plan, steered, first: bus.first().await?, until, retried })
}

/// Opens failed jobs again, and takes back what failed on drained workers. Returns the jobs that were asked to be
/// trained again, each with its last attempt before that.
async fn open_again(
    bus: &Bus,
    plan: &Plan,
    stored: impl Iterator<Item = JobId>,
    drained: &BTreeSet<String>,
) -> Result<BTreeMap<JobId, u32>, BusError> {
    let planned: BTreeSet<JobId> = plan.jobs.iter().map(|job| job.id).collect();
    let jobs: BTreeSet<JobId> = planned.iter().copied().chain(stored).collect();
    let (mut retried, mut changes) = (BTreeMap::new(), BTreeMap::new());
    let look = |BookEntry { job, record, revision, .. }| {
        retried.insert(job, outdated_after(&record));
        let next = match &record.state {
            JobState::Failed { .. } | JobState::Parked { .. } => Some(record.reopened()),
            JobState::Pending | JobState::Running { .. } | JobState::Done { .. } => record.excused(drained),
        };
        // A record that has changed meanwhile comes again.
        match next.filter(|_| planned.contains(&job)) {
            Some(next) => drop(changes.insert(job, (revision, next))),
            None => drop(changes.remove(&job)),
        }
    };
    bus.each_record(&jobs, look).await?;
    for (job, (revision, next)) in changes {
        match bus.swap(job, revision, &next).await {
            // A worker was faster, so the job is already open.
            Ok(_) | Err(BusError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(retried)
}

/// Another run conducts a different sweep of this name.
#[derive(Debug, thiserror::Error)]
#[error(
    "a different sweep named `{sweep}` is running on this server: {difference}; wait until it has ended, or give this one \
     another name"
)]
pub struct AnotherPlan {
    sweep: String,
    difference: String,
}

/// How the plan of a sweep file, with what was requested of the sweep, differs from the one in the books.
fn difference(file: &Plan, books: &Plan) -> Option<String> {
    let ids = |plan: &Plan| -> BTreeSet<JobId> { plan.jobs.iter().map(|job| job.id).collect() };
    let (wanted, known) = (ids(file), ids(books));
    let (more, less) = (wanted.difference(&known).count(), known.difference(&wanted).count());
    if more + less > 0 {
        return Some(format!(
            "{} only in this file, {} only in that one",
            count(more, "job"),
            count(less, "job")
        ));
    }
    let same =
        file.ensembles == books.ensembles && file.tables == books.tables && file.ranking == books.ranking;
    (!same).then(|| "its ensembles, tables or ranking differ".to_owned())
}

/// What a run begins with that follows another one: the sweep as that one has entered it into the books.
pub(super) async fn attach(
    bus: &Bus,
    plan: &Plan,
    stored: impl Iterator<Item = JobId>,
) -> anyhow::Result<Admitted> {
    let until = bus.newest_request().await?;
    let missing = || BusError::Missing { what: format!("sweep `{}`", plan.name) };
    let (record, _) = bus.sweep(&plan.name).await?.ok_or_else(missing)?;
    let known = plans::load(bus, &record.plan).await?;
    if let Some(difference) = difference(&plans::continued(plan.clone(), known.clone()), &known) {
        return Err(AnotherPlan { sweep: known.name, difference }.into());
    }
    let plan = known;
    let jobs = plan.jobs.iter().map(|job| job.id).collect();
    let steered = plans::steering_of(bus, &jobs).await?;
    let steered = steered.into_iter().filter(|(_, steering)| *steering != Steering::default()).collect();
    let mut retried = BTreeMap::new();
    let look = |entry: BookEntry| retried.extend([(entry.job, outdated_after(&entry.record))]);
    bus.each_record(&stored.collect(), look).await?;
    Ok(Admitted { plan, steered, first: bus.first().await?, until, retried })
}

/// Results of attempts up to this one are outdated.
fn outdated_after(record: &JobRecord) -> u32 {
    match record.state {
        JobState::Done { .. } => record.retried_after,
        JobState::Pending | JobState::Running { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
            u32::MAX
        }
    }
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
