//! A sweep file compared with the books, before a run acts on it: what is done, what is left to do, what the edit of the
//! file adds and drops, and what that costs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use shared::books::JobRecord;
use shared::bus::{BookEntry, Bus, BusError};
use shared::ids::JobId;
use shared::protocol::{SweepRecord, Wish};
use shared::trainer::DatasetSize;

use super::continued::{self, Shortened};
use super::dataset::Dataset;
use super::lease;
use super::plans::{self, ChangeError, Encoded};
use super::progress::{JobProgress, Stage};
use super::work::{self, Work};
use crate::cost::{CostModel, Open};
use crate::sweep::continuation::{Continuation, Continuations};
use crate::sweep::difference::Difference;
use crate::sweep::plan::Plan;
use crate::view::labels::Labels;

/// Results of so many finished jobs tell how long an epoch takes.
const MEASURED: usize = 64;

/// A sweep file against a sweep in the books.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub difference: Difference,
    /// The jobs that the file asks for, and those that it no longer asks for.
    pub jobs: BTreeMap<JobId, JobProgress>,
    /// Names of all these jobs for people.
    pub labels: Labels,
    /// What is left to do, for the workers that are there, or for one.
    pub work: Work,
    /// New jobs that go on from the checkpoint of another one, each with that one and its finished epochs there.
    pub going_on: BTreeMap<JobId, (JobId, u32)>,
    /// Jobs that are the same training as a new one, for another number of epochs.
    pub origins: BTreeSet<JobId>,
    /// The jobs to which the file gives fewer epochs than they have been trained for. Then it cannot be followed.
    pub shortened: Vec<Shortened>,
    /// Another `ferry run` conducts the sweep.
    pub is_conducted: bool,
}

impl Comparison {
    /// The jobs that the file no longer asks for, and from which no other goes on. Nothing is lost of one that has no
    /// finished epochs if the file only gives it another number of epochs.
    pub fn lost(&self) -> impl Iterator<Item = JobId> {
        let used: BTreeSet<JobId> = self.going_on.values().map(|(job, _)| *job).collect();
        let is_lost = move |job: &JobId| self.has_epochs(*job) || !self.origins.contains(job);
        self.difference.gone().filter(move |job| !used.contains(job) && is_lost(job))
    }

    /// True if the job has finished epochs, here or in a job that it goes on from.
    pub fn has_epochs(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|progress| progress.epoch > 0)
    }
}

/// Compares a plan with what the books say of its sweep. `None` if they do not know the sweep. `dataset` is the folder of
/// the plan's dataset.
///
/// # Errors
/// When the dataset cannot be read, the server does not answer, or an entry in its books cannot be read.
pub async fn compare(bus: &Bus, file: &Plan, dataset: Option<&Path>) -> anyhow::Result<Option<Comparison>> {
    let dataset = dataset.map(Dataset::open).transpose()?;
    compare_with(bus, file, dataset.as_ref().map_or_else(DatasetSize::default, Dataset::size)).await
}

/// The plan of a sweep in the books; `None` if it is that of its file.
async fn unless_same(bus: &Bus, record: &SweepRecord, file: &Plan) -> Result<Option<Plan>, ChangeError> {
    Encoded::of(file)?.unless_same(bus, &record.plan).await
}

/// Like [`compare`], with a dataset of this size.
pub(super) async fn compare_with(
    bus: &Bus,
    file: &Plan,
    dataset_size: DatasetSize,
) -> anyhow::Result<Option<Comparison>> {
    let Some((record, _)) = bus.sweep(&file.name).await? else { return Ok(None) };
    let known = match unless_same(bus, &record, file).await {
        Ok(known) => known,
        Err(ChangeError::Bus(error)) if error.is_transient() => return Err(error.into()),
        Err(error) => {
            tracing::debug!(%error, "the plan in the books cannot be read, so the sweep is entered anew");
            return Ok(None);
        }
    };
    // Of a large sweep, a plan is large.
    let (difference, continuations, both) = match known {
        None => (Difference::between(file, file), Continuations::default(), Cow::Borrowed(file)),
        Some(known) => {
            let known = continued::still_withdrawn(bus, known, file).await?;
            let mut next = plans::continued(file.clone(), known.clone());
            let difference = Difference::between(&known, &next);
            let continuations = Continuations::between(&known, &next);
            let gone: BTreeSet<JobId> = difference.gone().collect();
            next.jobs.extend(known.jobs.into_iter().filter(|job| gone.contains(&job.id)));
            (difference, continuations, Cow::Owned(next))
        }
    };
    let gone: BTreeSet<JobId> = difference.gone().collect();
    let mut cost = work::cost_model(&both, dataset_size);
    let origins = continuations.origins();
    let (mut jobs, records) = progress(bus, &both, &mut cost, &continuations.all()).await?;
    let mut going_on = BTreeMap::new();
    for job in continuations.jobs() {
        let found = continuations.of(job, |job| records.get(&job));
        if let (Some(Continuation { origin, checkpoint }), Some(progress)) = (found, jobs.get_mut(&job))
            && records.get(&job).is_none_or(JobRecord::is_untouched)
        {
            progress.epoch = checkpoint.epoch;
            going_on.insert(job, (origin.job, checkpoint.epoch));
        }
    }
    continued::wanted_again(&mut jobs, &difference, &continuations);
    let trained =
        |job| jobs.get(&job).map_or((0, false), |progress| (progress.epoch, progress.state == Stage::Done));
    let shortened = continued::shortened(&difference, &continuations, &trained);
    let open = jobs.iter().filter(|(job, progress)| !gone.contains(job) && progress.is_left_to_do());
    let open: Vec<Open> = open.map(|(&job, progress)| work::waiting(job, progress.epoch)).collect();
    let (present, out) = (bus.workers().await?, work::workers_out(bus).await?);
    let crew = work::crew(&mut cost, &both, &present, &|name| out.contains(name));
    let work = Work::left(&mut cost, &open, &crew);
    let labels = Labels::of(&both);
    let is_conducted = lease::is_held(bus, &file.name).await?;
    Ok(Some(Comparison { difference, jobs, labels, work, going_on, origins, shortened, is_conducted }))
}

/// How far the jobs of a plan have come, and the records of some of them. The cost model learns from what was measured.
async fn progress(
    bus: &Bus,
    plan: &Plan,
    cost: &mut CostModel,
    recorded: &BTreeSet<JobId>,
) -> Result<(BTreeMap<JobId, JobProgress>, BTreeMap<JobId, JobRecord>), BusError> {
    let ids: BTreeSet<JobId> = plan.jobs.iter().map(|job| job.id).collect();
    let new = |&job: &JobId| (job, JobProgress { state: Stage::Open, epoch: 0, epochs: cost.epochs(job) });
    let mut jobs: BTreeMap<JobId, JobProgress> = ids.iter().map(new).collect();
    let mut records = BTreeMap::new();
    let look = |BookEntry { job, record, written_nanos, .. }: BookEntry| {
        cost.saw_record_of_many(job, &record, written_nanos);
        jobs.insert(job, JobProgress::of(&record, cost.epochs(job)));
        if recorded.contains(&job) {
            records.insert(job, record);
        }
    };
    bus.each_record(&ids, look).await?;
    cost.saw_all();
    let waiting = jobs.iter().filter(|(_, job)| job.state == Stage::Open).map(|(&job, _)| job).collect();
    for (job, steering) in plans::steering_of(bus, &waiting).await? {
        let state = match steering.wish {
            Wish::Train => continue,
            Wish::Pause => Stage::Paused,
            Wish::Cancel => Stage::Cancelled,
        };
        jobs.entry(job).and_modify(|progress| progress.state = state);
    }
    let done = jobs.iter().filter(|(_, job)| job.state == Stage::Done).map(|(&job, _)| job);
    let done: Vec<JobId> = done.collect();
    let some = done.iter().copied().step_by(done.len().div_ceil(MEASURED).max(1)).collect();
    bus.each_result(&some, |result| cost.saw_result(&result)).await?;
    Ok((jobs, records))
}
