//! Jobs of an edited sweep that go on where other jobs have got to, because only their number of epochs was changed.

use std::collections::{BTreeMap, BTreeSet};

use shared::books::{Checkpoint, History, JobRecord, JobState};
use shared::bus::{BookEntry, Bucket, Bus, BusError, OrderEntry};
use shared::ids::{JobId, RequestId};

use super::progress::{JobProgress, Stage};
use crate::sweep::continuation::{self, Continuation, Continuations};
use crate::sweep::difference::{ChangedJob, Difference};
use crate::sweep::plan::Plan;

/// Why the jobs of an edited sweep cannot be entered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContinuedError {
    #[error("it gives {} epochs to job {}, which has been trained for {}", .0.epochs, .0.before, .0.trained)]
    Shortened(Shortened),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// A job to which an edit gives fewer epochs than it has been trained for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortened {
    /// The job that has been trained.
    pub before: JobId,
    /// The job that the edited file asks for.
    pub job: JobId,
    /// The setting that was edited.
    pub setting: String,
    pub epochs: u32,
    /// How many epochs have been trained.
    pub trained: u32,
}

/// The jobs that the edit shortens too much. `trained` tells how many epochs a job has finished, and whether it has a
/// result: one that has may come back, because nothing is thrown away that it would need.
pub(super) fn shortened(
    difference: &Difference,
    continuations: &Continuations,
    trained: &dyn Fn(JobId) -> (u32, bool),
) -> Vec<Shortened> {
    let too_short = |&ChangedJob { before, after: job, ref settings }: &ChangedJob| {
        let epochs = continuations.epochs(job, before)?;
        let (setting, (trained, _), (_, is_done)) =
            (settings.first()?.name.clone(), trained(before), trained(job));
        (trained > epochs && !is_done).then_some(Shortened { before, job, setting, epochs, trained })
    };
    difference.changed.iter().filter_map(too_short).collect()
}

/// What is to become of the jobs that an edit brings. They are wanted, though those that were dropped earlier are still
/// cancelled in the books; but what takes the place of a paused or cancelled job stays so.
pub(super) fn wanted_again(
    jobs: &mut BTreeMap<JobId, JobProgress>,
    difference: &Difference,
    continuations: &Continuations,
) {
    for job in difference.come() {
        if let Some(progress) = jobs.get_mut(&job)
            && progress.state == Stage::Cancelled
        {
            progress.state = Stage::Open;
        }
    }
    for (before, after) in continuations.replaced(difference) {
        let requested = match jobs.get(&before).map(|progress| &progress.state) {
            Some(state @ (Stage::Paused | Stage::Cancelled)) => state.clone(),
            Some(Stage::Open | Stage::Failed { .. } | Stage::Done) | None => continue,
        };
        if let Some(progress) = jobs.get_mut(&after)
            && matches!(progress.state, Stage::Open | Stage::Paused)
        {
            progress.state = requested;
        }
    }
}

/// The first records of the jobs that only `next` has and that go on from jobs of `known`. Jobs that `next` has again, and
/// on which somebody has worked before, go on from where they are.
///
/// # Errors
/// When the edit would throw epochs of a job away that it only shortens, the server does not answer, or an entry in its
/// books cannot be read.
pub(super) async fn records(
    bus: &Bus,
    known: &Plan,
    next: &Plan,
    difference: &Difference,
) -> Result<BTreeMap<JobId, JobRecord>, ContinuedError> {
    let continuations = Continuations::between(known, next);
    let mut records: BTreeMap<JobId, JobRecord> = BTreeMap::new();
    let take = |BookEntry { job, record, .. }| drop(records.insert(job, record));
    bus.each_record(&continuations.all(), take).await?;
    let epochs = |plan: &Plan| -> Vec<(JobId, u32)> {
        plan.jobs.iter().map(|job| (job.id, plan.epochs_of(job))).collect()
    };
    let epochs: BTreeMap<JobId, u32> = epochs(known).into_iter().chain(epochs(next)).collect();
    let trained = |job| {
        let progress = records.get(&job).map(|record| JobProgress::of(record, epochs[&job]));
        progress.map_or((0, false), |progress| (progress.epoch, progress.state == Stage::Done))
    };
    if let Some(first) = shortened(difference, &continuations, &trained).into_iter().next() {
        return Err(ContinuedError::Shortened(first));
    }
    let mut begun = BTreeMap::new();
    for job in continuations.jobs() {
        if records.get(&job).is_none_or(JobRecord::is_untouched)
            && let Some(record) = going_on(bus, job, &continuations, &mut records).await?
        {
            begun.insert(job, record);
        }
    }
    Ok(begun)
}

/// The first record of a job that goes on from another one, if there is anything to go on from.
async fn going_on(
    bus: &Bus,
    job: JobId,
    continuations: &Continuations,
    records: &mut BTreeMap<JobId, JobRecord>,
) -> Result<Option<JobRecord>, BusError> {
    let mut lost = BTreeSet::new();
    loop {
        let known = &*records;
        let found = continuations.of(job, |job| known.get(&job));
        let Some(Continuation { origin, checkpoint }) = found else { return Ok(None) };
        let record = &known[&origin.job];
        let own = if record.lends_checkpoints() {
            Ok(checkpoint.clone())
        } else {
            copied(bus, job, checkpoint).await
        };
        let error = match own {
            Ok(own) => {
                let told = told(bus, origin.job, record).await?;
                return Ok(Some(JobRecord::going_on_from(&own, origin, told)));
            }
            Err(error) => error,
        };
        // The origin may have trained on, and have newer checkpoints by now.
        let name = checkpoint.blob.name.clone();
        let now = bus.record(origin.job).await?;
        let mut now = now.map_or_else(JobRecord::pending, |entry| entry.record);
        if now.checkpoints.iter().any(|checkpoint| checkpoint.blob.name == name) {
            if error.is_transient() {
                return Err(error);
            }
            tracing::warn!(%job, %error, "cannot go on from this checkpoint");
            lost.insert(name);
        }
        now.checkpoints.retain(|checkpoint| !lost.contains(&checkpoint.blob.name));
        records.insert(origin.job, now);
    }
}

/// Lets the jobs that take the place of shorter or longer ones be carried out as was requested of those. It comes before
/// those are cancelled, and what this request has cancelled already is done.
pub(super) async fn keep_requested(
    bus: &Bus,
    request: RequestId,
    known: &Plan,
    next: &Plan,
    difference: &Difference,
) -> Result<(), BusError> {
    let continuations = Continuations::between(known, next);
    let replaced: BTreeMap<JobId, JobId> = continuations.replaced(difference).collect();
    let mut steered = BTreeMap::new();
    let look = |job, known: OrderEntry| steered.extend([(job, known.order.execution.steering)]);
    bus.each_order(&replaced.keys().copied().collect(), look).await?;
    steered.retain(|_, steering| !steering.is_plain() && steering.changed_by != Some(request));
    for (before, steering) in steered {
        bus.take_place(replaced[&before], request, &steering).await?;
    }
    Ok(())
}

/// The plan in the books, where the jobs of an edited file that take the place of withdrawn ones are withdrawn, too.
pub(super) async fn still_withdrawn(bus: &Bus, mut known: Plan, file: &Plan) -> Result<Plan, BusError> {
    let mut withdrawn = BTreeMap::new();
    let look = |job, known: OrderEntry| drop(withdrawn.insert(job, known.order.content));
    bus.each_order(&known.requested.withdrawn, look).await?;
    let more = continuation::still_withdrawn(&known, file, &withdrawn);
    known.requested.withdrawn.extend(more);
    Ok(known)
}

/// A checkpoint as another job's own.
async fn copied(bus: &Bus, job: JobId, checkpoint: &Checkpoint) -> Result<Checkpoint, BusError> {
    let bytes = bus.get_blob(Bucket::Checkpoints, &checkpoint.blob).await?;
    let stem = format!("{job}.0.{}-{}", checkpoint.epoch, checkpoint.step);
    let blob = bus.put_blob(Bucket::Checkpoints, &stem, bytes).await?;
    Ok(Checkpoint { blob, ..checkpoint.clone() })
}

/// What a training has reported: when it is done, its result has it.
async fn told(bus: &Bus, job: JobId, record: &JobRecord) -> Result<History, BusError> {
    match &record.state {
        JobState::Done { token, stopped_after: None } => {
            Ok(History::of(token.attempt, bus.result(job).await?.history))
        }
        JobState::Done { stopped_after: Some(_), .. }
        | JobState::Pending
        | JobState::Running { .. }
        | JobState::Failed { .. }
        | JobState::Parked { .. } => Ok(record.history.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sweep;

    fn plan(groups: &str) -> Plan {
        let text = format!("name: edited\ntrainer: empty\ngroups: {groups}\n");
        sweep::plan(&text, Path::new(""), Path::new("")).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    #[test]
    fn a_shorter_job_with_a_result_may_come_back() {
        let before = plan("{a: {matrix: {seed: [0, 1]}, settings: {epochs: 8}}}");
        let after = plan("{a: {matrix: {seed: [0, 1]}, settings: {epochs: 4}}}");
        let (difference, continuations) =
            (Difference::between(&before, &after), Continuations::between(&before, &after));
        let [old, new] = [&before, &after].map(|plan| [plan.jobs[0].id, plan.jobs[1].id]);
        // Both have been trained for 6 epochs, and seed 0 has a result after 4.
        let trained = |job: JobId| if old.contains(&job) { (6, false) } else { (0, job == new[0]) };
        let setting = "epochs".to_owned();
        let refused = Shortened { before: old[1], job: new[1], setting, epochs: 4, trained: 6 };
        assert_eq!(shortened(&difference, &continuations, &trained), std::slice::from_ref(&refused));
        let refused = ContinuedError::Shortened(refused).to_string();
        let expected = format!("it gives 4 epochs to job {}, which has been trained for 6", old[1]);
        assert_eq!(refused, expected);
    }

    #[test]
    fn what_comes_back_is_wanted_unless_it_takes_the_place_of_what_is_not() {
        let before = plan("{a: {matrix: {seed: [0, 1]}, settings: {epochs: 4}}}");
        let after = plan("{a: {matrix: {seed: [0, 1, 2]}, settings: {epochs: 8}}}");
        let (difference, continuations) =
            (Difference::between(&before, &after), Continuations::between(&before, &after));
        let states = [Stage::Paused, Stage::Open, Stage::Cancelled, Stage::Cancelled, Stage::Cancelled];
        let all = before.jobs.iter().chain(&after.jobs).map(|job| job.id);
        let progress = states.map(|state| JobProgress { state, epoch: 0, epochs: 8 });
        let mut jobs: BTreeMap<JobId, JobProgress> = all.zip(progress).collect();
        wanted_again(&mut jobs, &difference, &continuations);
        let found: Vec<&Stage> = after.jobs.iter().map(|job| &jobs[&job.id].state).collect();
        assert_eq!(found, [&Stage::Paused, &Stage::Open, &Stage::Open]);
    }
}
