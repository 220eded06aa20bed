//! Generations of a plan: jobs, ensembles and tables that are added while a sweep runs, and jobs that are withdrawn.
//!
//! The plan in the books changes by compare-and-swap, with the request that asked for it, so that a coordinator that
//! takes over after a crash neither loses a change nor makes it twice.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use shared::blob::BlobRef;
use shared::books::CarriedOut;
use shared::bus::{BookEntry, Bucket, Bus, BusError, Known, OrderEntry, Planned};
use shared::ids::{JobId, RequestId};
use shared::protocol::{Demand, JobChange, Steering, SweepRecord, Wish, subjects};

use super::continued::{self, ContinuedError};
use crate::engine::PlanChange;
use crate::engine::requests::{NOT_OURS, except, in_words};
use crate::sweep::difference::Difference;
use crate::sweep::plan::{Plan, PlannedJob, Requested};
use crate::sweep::queries;

/// How many jobs are cancelled at the same time.
const AT_ONCE: usize = 32;

/// A plan after a change.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChangedPlan {
    pub(super) plan: Plan,
    pub(super) change: PlanChange,
    /// The records of the jobs that were asked for, as far as there were any before.
    pub(super) records: Vec<BookEntry>,
}

/// Why a plan was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    /// It cannot be changed so.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl ChangeError {
    /// The answer to whoever asked for the change, if it can never be made; else the error, which passes by itself.
    pub(super) fn refusal(self) -> Result<String, BusError> {
        match self {
            Self::Refused(why) => Ok(why),
            Self::Bus(error) if error.is_transient() => Err(error),
            Self::Bus(error) => Ok(error.to_string()),
        }
    }
}

impl From<ContinuedError> for ChangeError {
    fn from(error: ContinuedError) -> Self {
        match error {
            ContinuedError::Bus(error) => Self::Bus(error),
            ContinuedError::Shortened(_) => Self::Refused(error.to_string()),
        }
    }
}

/// A plan as the books store it. That of a large sweep is large, so it is written once.
#[derive(Debug)]
pub(super) struct Encoded {
    blob: BlobRef,
    text: Bytes,
}

impl Encoded {
    pub(super) fn of(plan: &Plan) -> Result<Self, ChangeError> {
        let text = serde_json::to_vec(plan)
            .map_err(|error| ChangeError::Refused(format!("the plan cannot be stored: {error}")))?;
        Ok(Self { blob: BlobRef::of(&format!("plan.{}", plan.name), &text), text: text.into() })
    }

    /// Stores it as it is referred to in the books.
    pub(super) async fn store(self, bus: &Bus) -> BlobRef {
        bus.store_blob(Bucket::Results, &self.blob, self.text).await;
        self.blob
    }

    /// The plan of a sweep in the books; `None` if it is this one, which is usual, so that it need not be fetched.
    pub(super) async fn unless_same(&self, bus: &Bus, known: &BlobRef) -> Result<Option<Plan>, ChangeError> {
        if self.blob == *known { Ok(None) } else { Ok(Some(load(bus, known).await?)) }
    }
}

/// Fetches a plan.
pub(super) async fn load(bus: &Bus, blob: &BlobRef) -> Result<Plan, ChangeError> {
    let text = bus.get_blob(Bucket::Results, blob).await?;
    serde_json::from_slice(&text)
        .map_err(|error| ChangeError::Refused(format!("the plan cannot be read: {error}")))
}

/// Whether a run follows the plan that is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Situation {
    /// A run conducts the sweep, with the trainer and the dataset that it began with.
    Conducted,
    AtRest,
}

/// Changes the plan of the sweep of `plan` as a request demands, in the books and in the orders of its jobs. The outcome
/// is compared with `plan`, which is the one that the coordinator follows. Doing it again changes nothing more.
pub(super) async fn change(
    bus: &Bus,
    plan: &Plan,
    request: RequestId,
    demand: &Demand,
    situation: Situation,
) -> Result<ChangedPlan, ChangeError> {
    let mut strangers = Vec::new();
    let changed = loop {
        let Some((record, revision)) = bus.sweep(&plan.name).await? else {
            return Err(ChangeError::Refused("this server does not know the sweep".to_owned()));
        };
        let known = load(bus, &record.plan).await?;
        if record.changed_by == Some(request) || bus.is_answered(request).await? {
            break known;
        }
        let next = match demand {
            Demand::Add { plan: blob } => {
                let (next, added) = added(&known, load(bus, blob).await?)?;
                let orders: Vec<_> = added.iter().map(|&job| next.order(&next.jobs[job])).collect();
                // The jobs come before the plan that lists them: a plan must not name a job that the books do not know.
                bus.admit(&orders).await?;
                next
            }
            Demand::Edit { plan: blob } => {
                prepare_edit(bus, request, known, load(bus, blob).await?, situation).await?
            }
            Demand::Withdraw { jobs } => {
                let (ours, unknown) = divided(&known, jobs);
                strangers =
                    in_words(&unknown.iter().map(|&job| (job, NOT_OURS.to_owned())).collect::<Vec<_>>());
                if ours.is_empty() {
                    return Err(ChangeError::Refused(strangers.join("; ")));
                }
                withdrawn(&known, &ours)
            }
            Demand::Jobs { .. } => {
                return Err(ChangeError::Refused("it does not change the plan".to_owned()));
            }
        };
        let record = SweepRecord {
            v: SweepRecord::VERSION,
            plan: Encoded::of(&next)?.store(bus).await,
            generation: record.generation + 1,
            changed_by: Some(request),
            ..record
        };
        if bus.swap_sweep(&record, revision).await? {
            break next;
        }
    };
    let mut change = difference(plan, &changed);
    change.remarks.extend(except(strangers));
    let mut records = Vec::new();
    match demand {
        Demand::Withdraw { jobs } => cancel(bus, &plan.name, request, jobs).await?,
        Demand::Add { plan: blob } => {
            let jobs = load(bus, blob).await?.jobs.iter().map(|job| job.id).collect();
            change.steered = wanted_again(bus, request, &jobs).await?;
            records = records_of(bus, &jobs).await?;
        }
        Demand::Edit { .. } => {
            let jobs = change.added.iter().copied().collect();
            change.steered = steering_of(bus, &jobs).await?.into_iter().collect();
            records = records_of(bus, &jobs).await?;
        }
        Demand::Jobs { .. } => {}
    }
    Ok(ChangedPlan { plan: changed, change, records })
}

/// The plan that takes the place of `known` when the sweep file has the plan `file` now. Does what must be true before the
/// books show it, so that nothing is left to do for it after a crash: its jobs have orders, with what was requested of those whose place they take, those that are no longer wanted are
/// cancelled, and those that are wanted again are not.
async fn prepare_edit(
    bus: &Bus,
    request: RequestId,
    known: Plan,
    file: Plan,
    situation: Situation,
) -> Result<Plan, ChangeError> {
    let known = continued::still_withdrawn(bus, known, &file).await?;
    let next = edited(&known, file, situation)?;
    let planned: BTreeMap<JobId, &PlannedJob> = next.jobs.iter().map(|job| (job.id, job)).collect();
    let difference = Difference::between(&known, &next);
    let begun = continued::records(bus, &known, &next, &difference).await?;
    let (jobs, order) = (planned.keys().copied().collect(), |job| next.order(planned[&job]));
    bus.admit_each(Planned { jobs: &jobs, order: &order, begun: &begun, known: Known::Any }, |_| ()).await?;
    continued::keep_requested(bus, request, &known, &next, &difference).await?;
    cancel(bus, &next.name, request, &difference.gone().collect::<Vec<_>>()).await?;
    wanted_again(bus, request, &difference.come().collect()).await?;
    Ok(next)
}

/// What another run has changed on a request, compared with `plan`.
pub(super) async fn learn(bus: &Bus, plan: &Plan, demand: &Demand) -> Result<ChangedPlan, ChangeError> {
    let (now, mut change) = match demand {
        Demand::Jobs { .. } => (plan.clone(), PlanChange::default()),
        Demand::Add { .. } | Demand::Withdraw { .. } | Demand::Edit { .. } => {
            let Some((record, _)) = bus.sweep(&plan.name).await? else {
                return Err(ChangeError::Refused("this server does not know the sweep".to_owned()));
            };
            let now = load(bus, &record.plan).await?;
            let change = difference(plan, &now);
            (now, change)
        }
    };
    let jobs = match demand {
        Demand::Jobs { jobs, .. } => jobs,
        Demand::Add { .. } | Demand::Withdraw { .. } | Demand::Edit { .. } => &change.added,
    };
    let jobs = jobs.iter().copied().collect();
    change.steered = steering_of(bus, &jobs).await?.into_iter().collect();
    Ok(ChangedPlan { plan: now, change, records: records_of(bus, &jobs).await? })
}

/// What is requested of these jobs, as far as the books know them.
///
/// # Errors
/// When the server does not answer, or an order cannot be read.
pub async fn steering_of(bus: &Bus, jobs: &BTreeSet<JobId>) -> Result<BTreeMap<JobId, Steering>, BusError> {
    let mut steered = BTreeMap::new();
    let look = |job, known: OrderEntry| steered.extend([(job, known.order.execution.steering)]);
    bus.each_order(jobs, look).await?;
    Ok(steered)
}

/// The records of these jobs, as far as there are any.
async fn records_of(bus: &Bus, jobs: &BTreeSet<JobId>) -> Result<Vec<BookEntry>, BusError> {
    let mut records = BTreeMap::new();
    bus.each_record(jobs, |entry| drop(records.insert(entry.job, entry))).await?;
    Ok(records.into_values().collect())
}

/// Jobs that are added are wanted, though they may have been withdrawn before, which cancelled them. Returns what is
/// requested of them now.
async fn wanted_again(
    bus: &Bus,
    request: RequestId,
    jobs: &BTreeSet<JobId>,
) -> Result<Vec<(JobId, Steering)>, ChangeError> {
    let mut steered = steering_of(bus, jobs).await?;
    for (&job, steering) in steered.iter_mut().filter(|(_, steering)| steering.wish == Wish::Cancel) {
        match bus.carry_out(job, request, JobChange::Resume).await? {
            CarriedOut::Done(now) => *steering = now,
            CarriedOut::Refused(_) => {} // It is done.
        }
    }
    Ok(steered.into_iter().collect())
}

/// `plan` with what `more` has and it has not, and the positions of the added jobs.
fn added(plan: &Plan, more: Plan) -> Result<(Plan, Vec<usize>), ChangeError> {
    let refused = |why: String| Err(ChangeError::Refused(why));
    if more.name != plan.name {
        return refused(format!("it is a plan of the sweep `{}`", more.name));
    }
    if more.trainer != plan.trainer {
        return refused(format!("its jobs are of trainer {}, not {}", more.trainer, plan.trainer));
    }
    if more.dataset_digest != plan.dataset_digest {
        return refused("it has another dataset".to_owned());
    }
    let mut next = plan.clone();
    let first = next.jobs.len();
    let known: BTreeSet<JobId> = plan.jobs.iter().map(|job| job.id).collect();
    for job in more.jobs.into_iter().filter(|job| !known.contains(&job.id)) {
        next.requested.withdrawn.remove(&job.id);
        next.requested.jobs.insert(job.id);
        next.jobs.push(job);
    }
    for rule in more.ensembles {
        if plan.ensembles.iter().all(|known| known.name != rule.name) {
            next.requested.ensembles.insert(rule.name.clone());
            next.ensembles.push(rule);
        }
    }
    for rule in more.tables {
        if plan.tables.iter().all(|known| known.title != rule.title) {
            next.requested.tables.insert(rule.title.clone());
            next.tables.push(rule);
        }
    }
    let weights: BTreeSet<&String> = plan.weights.iter().map(|file| &file.digest).collect();
    next.weights.extend(more.weights.into_iter().filter(|file| !weights.contains(&file.digest)));
    resize(&mut next);
    if next == *plan {
        return refused("the sweep has all of it already".to_owned());
    }
    let added = (first..next.jobs.len()).collect();
    Ok((next, added))
}

/// Those of `jobs` that the plan has, and the others.
fn divided(plan: &Plan, jobs: &[JobId]) -> (Vec<JobId>, Vec<JobId>) {
    let known: BTreeSet<JobId> = plan.jobs.iter().map(|job| job.id).collect();
    jobs.iter().partition(|job| known.contains(job))
}

fn withdrawn(plan: &Plan, jobs: &[JobId]) -> Plan {
    let mut next = plan.clone();
    for job in jobs {
        next.requested.jobs.remove(job);
        next.requested.withdrawn.insert(*job);
    }
    let gone = &next.requested.withdrawn;
    next.jobs.retain(|job| !gone.contains(&job.id));
    resize(&mut next);
    next
}

/// What becomes of `known` when its sweep file was edited and has the plan `file` now.
fn edited(known: &Plan, file: Plan, situation: Situation) -> Result<Plan, ChangeError> {
    let refused = |why: String| Err(ChangeError::Refused(why));
    if file.name != known.name {
        return refused(format!("it is a plan of the sweep `{}`", file.name));
    }
    match situation {
        Situation::Conducted if file.trainer != known.trainer => refused(format!(
            "the sweep is running with trainer {}, and the edited file has {}: stop it first",
            known.trainer, file.trainer
        )),
        Situation::Conducted if file.dataset_digest != known.dataset_digest => refused(
            "the sweep is running with another dataset than that of the edited file: stop it first"
                .to_owned(),
        ),
        Situation::Conducted | Situation::AtRest => Ok(continued(file, known.clone())),
    }
}

/// The plan of a sweep file with what was requested of the same sweep before, which `stored` holds. A sweep of another
/// trainer or dataset begins afresh.
pub(super) fn continued(mut plan: Plan, stored: Plan) -> Plan {
    if stored.trainer != plan.trainer || stored.dataset_digest != plan.dataset_digest {
        return plan;
    }
    let Requested { jobs, ensembles, tables, withdrawn } = &stored.requested;
    plan.jobs.retain(|job| !withdrawn.contains(&job.id));
    let known: BTreeSet<JobId> = plan.jobs.iter().map(|job| job.id).collect();
    plan.jobs
        .extend(stored.jobs.into_iter().filter(|job| jobs.contains(&job.id) && !known.contains(&job.id)));
    let known: BTreeSet<String> = plan.ensembles.iter().map(|rule| rule.name.clone()).collect();
    let more = stored.ensembles.into_iter();
    plan.ensembles.extend(more.filter(|rule| ensembles.contains(&rule.name) && !known.contains(&rule.name)));
    let known: BTreeSet<String> = plan.tables.iter().map(|rule| rule.title.clone()).collect();
    let more = stored.tables.into_iter();
    plan.tables.extend(more.filter(|rule| tables.contains(&rule.title) && !known.contains(&rule.title)));
    let known: BTreeSet<String> = plan.weights.iter().map(|file| file.digest.clone()).collect();
    plan.weights.extend(stored.weights.into_iter().filter(|file| !known.contains(&file.digest)));
    plan.requested = stored.requested;
    resize(&mut plan);
    plan
}

/// Brings the sizes of the ensembles up to date.
fn resize(plan: &mut Plan) {
    for rule in &mut plan.ensembles {
        rule.size = queries::size(&rule.members, &plan.jobs).most;
    }
}

/// Stops the work on withdrawn jobs, unless another sweep asks for them.
async fn cancel(bus: &Bus, sweep: &str, request: RequestId, jobs: &[JobId]) -> Result<(), ChangeError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut wanted: BTreeSet<JobId> = BTreeSet::new();
    for key in bus.keys(subjects::SWEEP_KEYS).await? {
        let record: SweepRecord = bus.read(&key, SweepRecord::VERSION).await?;
        if record.name != sweep {
            wanted.extend(load(bus, &record.plan).await?.jobs.iter().map(|job| job.id));
        }
    }
    let unwanted = jobs.iter().filter(|job| !wanted.contains(job));
    let cancelling: Vec<_> = unwanted.map(|&job| bus.carry_out(job, request, JobChange::Cancel)).collect();
    let mut cancelling = stream::iter(cancelling).buffer_unordered(AT_ONCE);
    while cancelling.try_next().await?.is_some() {}
    Ok(())
}

/// What `after` has that `before` has not, and the other way round.
fn difference(before: &Plan, after: &Plan) -> PlanChange {
    let difference = Difference::between(before, after);
    PlanChange {
        added: difference.come().collect(),
        withdrawn: difference.gone().collect(),
        steered: Vec::new(),
        remarks: difference.summary(),
    }
}
