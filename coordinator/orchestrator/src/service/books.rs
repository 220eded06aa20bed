//! What the books say of a sweep's jobs, read at once, in any process that may read them.

use std::collections::{BTreeMap, BTreeSet};

use shared::books::{JobRecord, JobState};
use shared::bus::{BookEntry, Bus, BusError};
use shared::ids::JobId;
use shared::protocol::{Presence, Steering, Wish};
use shared::result::JobResult;

use super::plans;
use super::progress::finished_epochs;
use super::work::{self, Work};
use crate::cost::{CostModel, Open};
use crate::sweep::plan::Plan;

/// What the books say of a sweep's jobs.
#[derive(Debug, Default)]
pub(super) struct Books {
    records: BTreeMap<JobId, BookEntry>,
    /// Without their logs.
    pub(super) results: BTreeMap<JobId, JobResult>,
    /// What was requested of the jobs that have not ended.
    steered: BTreeMap<JobId, Steering>,
    /// Names of the workers that get no more jobs.
    pub(super) out: BTreeSet<String>,
}

impl Books {
    /// Reads them in a few passes, whatever the size of the sweep.
    pub(super) async fn read(bus: &Bus, plan: &Plan) -> Result<Self, BusError> {
        let jobs: BTreeSet<JobId> = plan.jobs.iter().map(|job| job.id).collect();
        let mut records = BTreeMap::new();
        bus.each_record(&jobs, |entry| drop(records.insert(entry.job, entry))).await?;
        let in_state = |is: fn(&JobState) -> bool| {
            let entries = records.iter().filter(move |(_, entry)| is(&entry.record.state));
            entries.map(|(&job, _)| job).collect::<BTreeSet<JobId>>()
        };
        let mut results = BTreeMap::new();
        let done = in_state(|state| matches!(state, JobState::Done { .. }));
        bus.each_result(&done, |result| drop(results.insert(result.job, result.without_log()))).await?;
        let open = in_state(|state| matches!(state, JobState::Pending | JobState::Running { .. }));
        let steered = plans::steering_of(bus, &open).await?;
        let out = work::workers_out(bus).await?;
        Ok(Self { records, results, steered, out })
    }

    pub(super) fn record(&self, job: JobId) -> Option<&JobRecord> {
        self.records.get(&job).map(|entry| &entry.record)
    }

    pub(super) fn steering(&self, job: JobId) -> Steering {
        self.steered.get(&job).copied().unwrap_or_default()
    }

    /// A model that has learned from all of it. Only ratios of the jobs' efforts matter, so the size of the dataset does
    /// not.
    pub(super) fn cost(&self, plan: &Plan) -> CostModel {
        let mut cost = work::cost_model(plan, work::likely_size(plan));
        work::learn(&mut cost, self.records.values());
        for result in self.results.values() {
            cost.saw_result(result);
        }
        cost
    }

    /// The jobs that are left to do. Failed ones are not: only another run tries them again.
    pub(super) fn open(&self, plan: &Plan, cost: &mut CostModel) -> Vec<Open> {
        let open = plan.jobs.iter().filter_map(|job| {
            let record = self.record(job.id);
            let epoch = record.map_or(0, |record| finished_epochs(record, cost.epochs(job.id)));
            let open = match record.map(|record| &record.state) {
                None | Some(JobState::Pending) => work::waiting(job.id, epoch),
                Some(JobState::Running { token, .. }) => {
                    work::held(cost, (job.id, epoch), token.owner.name(), None)
                }
                Some(JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. }) => {
                    return None;
                }
            };
            (self.steering(job.id).wish != Wish::Cancel).then_some(open)
        });
        open.collect()
    }

    /// What is left to do, for the workers that are there and may train.
    pub(super) fn left(&self, plan: &Plan, present: &[Presence]) -> Work {
        let mut cost = self.cost(plan);
        let open = self.open(plan, &mut cost);
        if open.is_empty() {
            return Work::default();
        }
        let crew = work::crew(&mut cost, plan, present, &|name| self.out.contains(name));
        Work::left(&mut cost, &open, &crew)
    }
}
