//! What is left of a sweep and in which order it is trained, for whoever follows it.

use std::cmp::Reverse;

use shared::bus::BookEntry;
use shared::ids::JobId;
use shared::protocol::{LiveReport, Presence};
use shared::result::JobResult;

use super::work::{self, Work};
use crate::cost::{CostModel, Open};
use crate::sweep::plan::Plan;

/// What is left of a sweep, by what was measured of it.
#[derive(Debug, Clone, Default)]
pub struct Agenda {
    cost: CostModel,
}

impl Agenda {
    /// Nothing was learned yet. Only ratios of the jobs' efforts matter, so the size of the dataset does not.
    pub fn of(plan: &Plan) -> Self {
        Self { cost: work::cost_model(plan, work::likely_size(plan)) }
    }

    /// Follows a changed plan.
    pub fn follow(&mut self, plan: &Plan) {
        self.cost.add(work::described(plan, plan.jobs.iter(), work::likely_size(plan)));
    }

    /// Learns from a job's record; one of another sweep tells since when its worker is free.
    pub fn saw_record(&mut self, BookEntry { job, record, written_nanos, .. }: &BookEntry) {
        self.cost.saw_record(*job, record, *written_nanos);
    }

    /// Learns from a result of the sweep.
    pub fn saw_result(&mut self, result: &JobResult) {
        self.cost.saw_result(result);
    }

    /// How many epochs a job has.
    pub fn epochs(&self, job: JobId) -> u32 {
        self.cost.epochs(job)
    }

    /// A job that is left to do, with its finished epochs. `holder` is the worker that has it, and `report` what that one
    /// told last of its progress.
    pub fn open(
        &mut self,
        job: JobId,
        epoch: u32,
        holder: Option<&str>,
        report: Option<&LiveReport>,
    ) -> Open {
        match holder {
            Some(worker) => work::held(&mut self.cost, (job, epoch), worker, report),
            None => work::waiting(job, epoch),
        }
    }

    /// What is left of these jobs, for the workers that are there and are not out.
    pub fn left(
        &mut self,
        plan: &Plan,
        open: &[Open],
        present: &[Presence],
        is_out: &dyn Fn(&str) -> bool,
    ) -> Work {
        if open.is_empty() {
            return Work::default();
        }
        let crew = work::crew(&mut self.cost, plan, present, is_out);
        Work::left(&mut self.cost, open, &crew)
    }

    /// The `most` jobs of these that the queue hands out first, each with its finished epochs.
    pub fn next(&self, waiting: &[(JobId, u32)], most: usize) -> Vec<JobId> {
        let place = |&(job, epochs): &(JobId, u32)| (Reverse(self.cost.work(job, epochs)), job);
        let mut places: Vec<_> = waiting.iter().map(place).collect();
        if places.len() > most {
            places.select_nth_unstable(most);
            places.truncate(most);
        }
        places.sort_unstable();
        places.into_iter().map(|(_, job)| job).collect()
    }
}

#[cfg(test)]
mod tests {
    use shared::settings::Settings;
    use shared::trainer::Effort;
    use uuid::Uuid;

    use super::*;
    use crate::cost::Described;

    #[test]
    fn the_jobs_with_the_most_work_come_next() {
        let ids = [1, 2, 3].map(|n| JobId::new(Uuid::from_u128(n)));
        let effort = Effort { epochs: 10, units: 1.0, class: 0 };
        let described = ids.map(|job| Described { job, effort, settings: Settings::default() });
        let agenda = Agenda { cost: CostModel::new(described) };
        let waiting = [(ids[0], 4), (ids[2], 0), (ids[1], 0)];
        assert_eq!(agenda.next(&waiting, 2), [ids[1], ids[2]]);
        assert_eq!(agenda.next(&waiting, 9), [ids[1], ids[2], ids[0]]);
    }
}
