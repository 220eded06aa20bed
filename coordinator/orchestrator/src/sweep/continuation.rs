//! Which jobs of an edited sweep can go on where jobs of the earlier plan have got to: those that are the same but for
//! their number of epochs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use shared::books::{Checkpoint, JobRecord, Origin};
use shared::ids::JobId;
use shared::job::Job;
use shared::kinds;

use super::difference::Difference;
use super::plan::{Plan, PlannedJob};

/// The jobs that each new job could go on from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Continuations(BTreeMap<JobId, Candidates>);

#[derive(Debug, Clone, PartialEq)]
struct Candidates {
    /// How many epochs the new job has.
    epochs: u32,
    origins: Vec<Origin>,
}

/// A new job, and the one that it goes on from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Continuation<'a> {
    pub origin: Origin,
    pub checkpoint: &'a Checkpoint,
}

impl Continuations {
    /// For the jobs of `after` that `before` does not have.
    pub fn between(before: &Plan, after: &Plan) -> Self {
        let old: BTreeSet<JobId> = before.jobs.iter().map(|job| job.id).collect();
        let come: Vec<&PlannedJob> = after.jobs.iter().filter(|job| !old.contains(&job.id)).collect();
        if come.is_empty() {
            return Self::default();
        }
        let mut origins: BTreeMap<JobId, Vec<Origin>> = BTreeMap::new();
        for job in &before.jobs {
            if let Some((trajectory, epochs)) = trajectory(before, job) {
                origins.entry(trajectory).or_default().push(Origin { job: job.id, epochs });
            }
        }
        let candidates = come.into_iter().filter_map(|job| {
            let (trajectory, epochs) = trajectory(after, job)?;
            let origins = origins.get(&trajectory)?.clone();
            Some((job.id, Candidates { epochs, origins }))
        });
        Self(candidates.collect())
    }

    /// All jobs that something could go on from.
    pub fn origins(&self) -> BTreeSet<JobId> {
        self.0.values().flat_map(|candidates| &candidates.origins).map(|origin| origin.job).collect()
    }

    /// These, and the jobs that could go on from them.
    pub fn all(&self) -> BTreeSet<JobId> {
        self.origins().into_iter().chain(self.jobs()).collect()
    }

    /// The jobs that could go on from another.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.0.keys().copied()
    }

    /// What this job goes on from: the newest checkpoint that is not beyond its end. `record` knows the records.
    pub fn of<'a>(
        &self,
        job: JobId,
        record: impl Fn(JobId) -> Option<&'a JobRecord>,
    ) -> Option<Continuation<'a>> {
        let Candidates { epochs, origins } = self.0.get(&job)?;
        let usable = origins.iter().filter_map(|&origin| {
            let checkpoint = record(origin.job)?.checkpoint_within(*epochs)?;
            Some(Continuation { origin, checkpoint })
        });
        usable.max_by_key(|continuation| continuation.checkpoint.place())
    }

    /// Of the jobs that take the place of others, those that are the same but for their number of epochs: before and after.
    pub fn replaced<'a>(&'a self, difference: &'a Difference) -> impl Iterator<Item = (JobId, JobId)> + 'a {
        let pairs = difference.changed.iter().map(|job| (job.before, job.after));
        pairs.filter(move |&(before, after)| self.epochs(after, before).is_some())
    }

    /// How many epochs the new job has, if it is the same as `other` but for that.
    pub fn epochs(&self, job: JobId, other: JobId) -> Option<u32> {
        let Candidates { epochs, origins } = self.0.get(&job)?;
        origins.iter().any(|origin| origin.job == other).then_some(*epochs)
    }
}

/// The new jobs of `file` that only take the place of withdrawn ones: they are the same but for their number of epochs, and
/// so is no job that `known` has and `file` has not. `withdrawn` are the jobs that were withdrawn from `known`.
pub fn still_withdrawn(known: &Plan, file: &Plan, withdrawn: &BTreeMap<JobId, Job>) -> BTreeSet<JobId> {
    let ids = |plan: &Plan| -> BTreeSet<JobId> { plan.jobs.iter().map(|job| job.id).collect() };
    let (old, new) = (ids(known), ids(file));
    let gone = withdrawn.iter().filter(|(job, _)| !new.contains(job));
    let gone: BTreeSet<JobId> = gone.filter_map(|(_, job)| Some(kinds::lasting(job, 1)?.id())).collect();
    if gone.is_empty() {
        return BTreeSet::new();
    }
    let replaced = known.jobs.iter().filter(|job| !new.contains(&job.id));
    let replaced: BTreeSet<JobId> = replaced.filter_map(|job| Some(trajectory(known, job)?.0)).collect();
    let come = file.jobs.iter().filter(|job| !old.contains(&job.id) && !withdrawn.contains_key(&job.id));
    let withdrawn = come.filter(|job| {
        trajectory(file, job).is_some_and(|(job, _)| gone.contains(&job) && !replaced.contains(&job))
    });
    withdrawn.map(|job| job.id).collect()
}

/// What all jobs have in common that differ in their number of epochs alone, and that number. `None` for trainers whose
/// longer trainings differ from the start.
fn trajectory(plan: &Plan, job: &PlannedJob) -> Option<(JobId, u32)> {
    let shortest: Job = kinds::lasting(&plan.order(job).content, 1)?;
    Some((shortest.id(), plan.epochs_of(job)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shared::blob::BlobRef;

    use super::*;

    fn plan(groups: &str) -> Plan {
        let text = format!("name: edited\ntrainer: empty\ngroups: {groups}\n");
        super::super::plan(&text, Path::new(""), Path::new(""))
            .unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    fn record(epoch: u32) -> JobRecord {
        let blob = BlobRef { name: format!("c{epoch}"), sha256: String::new(), size: 1 };
        let checkpoints = vec![Checkpoint { epoch, step: 0, blob, origin: None }];
        JobRecord { checkpoints, ..JobRecord::pending() }
    }

    #[test]
    fn a_withdrawn_job_does_not_come_back_with_more_epochs() {
        let mut before = plan("{a: {matrix: {seed: [0, 1], epochs: [4]}}}");
        let gone = before.jobs.remove(0);
        let withdrawn = BTreeMap::from([(gone.id, before.order(&gone).content)]);
        let longer = plan("{a: {matrix: {seed: [0, 1, 2], epochs: [8]}}}");
        let still = still_withdrawn(&before, &longer, &withdrawn);
        assert_eq!(still, BTreeSet::from([longer.jobs[0].id]));
        let both = plan("{a: {matrix: {seed: [0, 1], epochs: [4, 8]}}}");
        assert!(
            still_withdrawn(&before, &both, &withdrawn).is_empty(),
            "another job is asked for besides it"
        );
    }

    #[test]
    fn a_job_goes_on_from_the_newest_checkpoint_that_is_not_beyond_its_end() {
        let before = plan("{a: {matrix: {seed: [0, 1], epochs: [4, 8]}}}");
        let after = plan("{a: {matrix: {seed: [0, 2], epochs: [4, 6, 12]}}}");
        let continuations = Continuations::between(&before, &after);
        // Of seed 0, those with 6 and 12 epochs; seed 2 is another training.
        assert_eq!((continuations.jobs().count(), continuations.origins().len()), (2, 2));
        let records: BTreeMap<JobId, JobRecord> = before
            .jobs
            .iter()
            .map(|job| {
                (
                    job.id,
                    record(u32::try_from(job.settings.get("epochs").unwrap().as_u64().unwrap()).unwrap()),
                )
            })
            .collect();
        let from = |epochs: u64| {
            let job =
                after.jobs.iter().find(|job| job.settings.get("epochs") == Some(&epochs.into())).unwrap();
            let found = continuations.of(job.id, |job| records.get(&job));
            found.map(|found| (found.origin.epochs, found.checkpoint.epoch))
        };
        assert_eq!([from(4), from(6), from(12)], [None, Some((4, 4)), Some((8, 8))]);
        assert_eq!(continuations.of(after.jobs[1].id, |_| None), None, "nothing is known of them");
    }
}
