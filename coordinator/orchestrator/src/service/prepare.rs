//! Preparations before the first job runs: the run folder, and the entries of the sweep in the books.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use shared::books::{JobRecord, JobState, Standing, WorkerRecord};
use shared::bus::{BookEntry, Bus, BusError, Known, Planned, RequestEntry};
use shared::ids::JobId;
use shared::protocol::{Demand, Priorities, Steering, SweepRecord};
use shared::result::JobResult;

use super::dataset::Dataset;
use super::garbage;
use super::plans::{self, ChangeError, Encoded};
use crate::engine::Engine;
use crate::run_dir::{Found, RunDir, RunDirError};
use crate::sweep::difference::Difference;
use crate::sweep::plan::{Plan, PlannedJob};

/// Where the run folder of a sweep is, or will be. Nothing is written before a run is sure to begin.
#[derive(Debug)]
pub(super) struct RunFolder {
    root: PathBuf,
    /// True if the plan is stored there.
    is_stored: bool,
    /// The plan of the run folder, with what was requested of the sweep before, whose results are in the folder. What
    /// counts is what the books say later.
    plan: Plan,
    /// What the user should know about the choice.
    pub(super) remark: Option<String>,
}

impl RunFolder {
    /// Below `out`: the folder with the sweep's name, or a numbered one if that holds the results of other jobs. `edited`
    /// are the jobs that the sweep had before its file was edited.
    pub(super) fn choose(out: &Path, plan: &Plan, edited: &BTreeSet<JobId>) -> Result<Self, RunDirError> {
        let usual = out.join(&plan.name);
        let (root, found) = RunDir::place(&usual, plan, edited)?;
        let (continued, is_stored) = match found {
            Found::Same => (plan.clone(), true),
            Found::Other(stored) if stored.name == plan.name => {
                (plans::continued(plan.clone(), *stored), false)
            }
            Found::Other(_) | Found::Nothing => (plan.clone(), false),
        };
        let remark = (root != usual).then(|| {
            format!(
                "{} holds a run of `{}` with other jobs or another dataset and is left as it is; this one goes to {}",
                usual.display(),
                plan.name,
                root.display()
            )
        });
        Ok(Self { root, is_stored, plan: continued, remark })
    }

    /// The run folder as it is; `None` if there is none yet.
    pub(super) fn existing(&self) -> Option<RunDir> {
        RunDir::open(&self.root).ok()
    }

    /// Makes an empty run folder, to be locked before anything is written into it.
    pub(super) fn make(&self) -> Result<RunDir, RunDirError> {
        RunDir::make(&self.root)
    }

    /// Stores plan and sample lists in the run folder, and makes again what was deleted in it.
    pub(super) fn fill(&self, dataset: Option<&Dataset>) -> Result<(), RunDirError> {
        let run_dir =
            if self.is_stored { RunDir::make(&self.root)? } else { RunDir::create(&self.root, &self.plan)? };
        for (split, samples) in dataset.map_or_else(Vec::new, Dataset::sample_lists) {
            run_dir.write_samples(split, &samples)?;
        }
        Ok(())
    }

    /// The results of earlier runs. If a file is damaged, all results are fetched again.
    pub(super) fn results(&self, run_dir: &RunDir) -> BTreeMap<JobId, JobResult> {
        match run_dir.results_of(&self.plan) {
            Ok(results) => results,
            Err(error) => {
                tracing::warn!(%error, "results are fetched again");
                BTreeMap::new()
            }
        }
    }

    /// The plan that is stored in the folder.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// Where the run folder of a plan is before anything is known of its sweep, and how many of its jobs have a result there.
pub(super) fn finished(out: &Path, plan: &Plan) -> (PathBuf, usize) {
    let Ok(folder) = RunFolder::choose(out, plan, &BTreeSet::new()) else {
        return (out.join(&plan.name), 0);
    };
    let stored =
        RunDir::open(&folder.root).map_or_else(|_| BTreeMap::new(), |run_dir| folder.results(&run_dir));
    let finished = plan.jobs.iter().filter(|job| stored.contains_key(&job.id)).count();
    (folder.root, finished)
}

/// A sweep that is in the books.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Its plan, with what was requested of the sweep before.
    pub(super) plan: Plan,
    /// What was requested of its jobs before.
    steered: Vec<(JobId, Steering)>,
    /// The jobs that workers take out of the queue's order.
    pub(super) listed: Priorities,
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
        engine.steered(self.steered.iter().copied(), self.until)
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
    let untrusted = untrusted(bus).await?;
    let requested = named_in_requests(bus).await?;
    let (plan, steered, mut opening) = loop {
        let known = bus.sweep(&plan.name).await?;
        let own = Encoded::of(plan)?;
        let (plan, is_known, is_own) = match &known {
            Some((record, _)) => match own.unless_same(bus, &record.plan).await {
                Ok(None) => (plan.clone(), true, true),
                Ok(Some(stored)) => {
                    let continued = plans::continued(plan.clone(), stored.clone());
                    // An edit is a request of its own. Whoever made one in the meantime is right.
                    let is_edited = !Difference::between(&stored, &continued).is_empty();
                    (if is_edited { stored } else { continued }, true, false)
                }
                Err(ChangeError::Bus(error)) if error.is_transient() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!("what was requested of this sweep earlier cannot be read: {error}");
                    (plan.clone(), false, true)
                }
            },
            None => (plan.clone(), false, true),
        };
        let planned: BTreeMap<JobId, &PlannedJob> = plan.jobs.iter().map(|job| (job.id, job)).collect();
        let jobs = planned.keys().copied().collect();
        let mut opening = Opening::of(&jobs, &untrusted);
        let look = |entry| opening.saw(entry);
        let known_orders = if is_known { Known::Open { and: &requested } } else { Known::Any };
        let order = |job| plan.order(planned[&job]);
        let begun = BTreeMap::new();
        let entered = Planned { jobs: &jobs, order: &order, begun: &begun, known: known_orders };
        let steered = bus.admit_each(entered, look).await?;
        let (generation, changed_by, revision) =
            known.map_or((0, None, 0), |(record, revision)| (record.generation, record.changed_by, revision));
        let blob = if is_own { own } else { Encoded::of(&plan)? }.store(bus).await;
        let (v, name) = (SweepRecord::VERSION, plan.name.clone());
        let record = SweepRecord { v, name, plan: blob, generation, changed_by };
        // Somebody may change the plan at the same time.
        if bus.swap_sweep(&record, revision).await? {
            break (plan, steered, opening);
        }
    };
    let others = stored.filter(|job| !opening.retried.contains_key(job)).collect();
    bus.each_record(&others, |entry| opening.saw_other(&entry)).await?;
    opening.carry_out(bus).await?;
    trust_again(bus, untrusted).await?;
    if ours_alone {
        bus.clear_queue().await?;
    }
    let (listed, _) = bus.priorities().await?;
    Ok(Admitted { plan, steered, listed, until, retried: opening.retried })
}

/// The jobs of which something was ever requested. Orders of other jobs are as they were planned.
async fn named_in_requests(bus: &Bus) -> Result<BTreeSet<JobId>, BusError> {
    let mut named = BTreeSet::new();
    let look = |entry: RequestEntry| match entry.request.demand {
        Demand::Jobs { jobs, .. } | Demand::Withdraw { jobs } => named.extend(jobs),
        // They change the plan, and with it the orders.
        Demand::Add { .. } | Demand::Edit { .. } => {}
    };
    bus.each_request(look).await?;
    Ok(named)
}

/// Opens failed jobs again, and takes back what failed on drained workers.
struct Opening {
    /// Names of the drained workers.
    drained: BTreeSet<String>,
    /// The jobs of the sweep, and those with a result in the run folder, each with its last attempt before it was asked
    /// to be trained again.
    retried: BTreeMap<JobId, u32>,
    /// The records to write, with the revisions that they replace.
    changes: BTreeMap<JobId, (u64, JobRecord)>,
}

impl Opening {
    fn of(jobs: &BTreeSet<JobId>, untrusted: &[WorkerRecord]) -> Self {
        let drained = untrusted.iter().filter(|record| matches!(record.standing, Standing::Drained { .. }));
        let retried = jobs.iter().map(|&job| (job, outdated_after(&JobRecord::pending()))).collect();
        Self {
            drained: drained.map(|record| record.name.clone()).collect(),
            retried,
            changes: BTreeMap::new(),
        }
    }

    /// A record of a job of the sweep. One that has changed meanwhile comes again.
    fn saw(&mut self, entry: BookEntry) {
        self.saw_other(&entry);
        let BookEntry { job, record, revision, .. } = entry;
        let next = match &record.state {
            JobState::Failed { .. } | JobState::Parked { .. } => Some(record.reopened()),
            JobState::Pending | JobState::Running { .. } | JobState::Done { .. } => {
                record.excused(&self.drained)
            }
        };
        match next {
            Some(next) => drop(self.changes.insert(job, (revision, next))),
            None => drop(self.changes.remove(&job)),
        }
    }

    /// A record of a job that the sweep no longer has.
    fn saw_other(&mut self, entry: &BookEntry) {
        self.retried.insert(entry.job, outdated_after(&entry.record));
    }

    async fn carry_out(&mut self, bus: &Bus) -> Result<(), BusError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        // Of the entries that this process has read so far, none need be new.
        garbage::server_time(bus).await?;
        let now = bus.server_seconds();
        for (job, (revision, next)) in std::mem::take(&mut self.changes) {
            match bus.swap(job, revision, &next.dated(now)).await {
                // A worker was faster, so the job is already open.
                Ok(_) | Err(BusError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
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
    let plan = plans::load(bus, &record.plan).await?;
    let jobs = plan.jobs.iter().map(|job| job.id).collect();
    let steered = plans::steering_of(bus, &jobs).await?;
    let steered = steered.into_iter().filter(|(_, steering)| *steering != Steering::default()).collect();
    let mut retried = BTreeMap::new();
    let look = |entry: BookEntry| retried.extend([(entry.job, outdated_after(&entry.record))]);
    bus.each_record(&stored.collect(), look).await?;
    let (listed, _) = bus.priorities().await?;
    Ok(Admitted { plan, steered, listed, until, retried })
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

/// The workers on probation and the drained ones. One that took itself out stays out until its self-test passes.
async fn untrusted(bus: &Bus) -> Result<Vec<WorkerRecord>, BusError> {
    let mut untrusted = bus.standings().await?;
    untrusted.retain(|record| match record.standing {
        Standing::Probation { .. } | Standing::Drained { .. } => true,
        Standing::Trusted | Standing::Unfit { .. } => false,
    });
    Ok(untrusted)
}

async fn trust_again(bus: &Bus, untrusted: Vec<WorkerRecord>) -> Result<(), BusError> {
    for record in untrusted {
        bus.write_standing(&WorkerRecord::new(&record.name, Standing::Trusted)).await?;
    }
    Ok(())
}
