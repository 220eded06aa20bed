//! How long jobs take: an estimate from their settings, corrected by measured epochs. Only used for order and ETA.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use shared::ids::JobId;
use shared::trainer::Effort;

#[derive(Debug, Clone, Default)]
struct Rate {
    seconds: f64,
    units: f64,
}

/// What has been learned about this sweep's speed. Jobs of one class take the same time per unit, so what is learned from
/// one is used for the others.
#[derive(Debug, Clone, Default)]
pub struct CostModel {
    efforts: BTreeMap<JobId, Effort>,
    classes: BTreeMap<u32, Rate>,
    all: Rate,
}

impl CostModel {
    pub fn new(efforts: impl IntoIterator<Item = (JobId, Effort)>) -> Self {
        Self { efforts: efforts.into_iter().collect(), ..Self::default() }
    }

    /// Takes jobs that were added to the sweep.
    pub fn add(&mut self, efforts: impl IntoIterator<Item = (JobId, Effort)>) {
        self.efforts.extend(efforts);
    }

    /// How many epochs the job has; 0 if the model does not know it.
    pub fn epochs(&self, job: JobId) -> u32 {
        self.efforts.get(&job).map_or(0, |effort| effort.epochs)
    }

    /// Learns that an epoch of `job` took `seconds`, as its worker reported.
    pub fn learn(&mut self, job: JobId, seconds: f64) {
        let effort = self.efforts.get(&job).filter(|_| Duration::try_from_secs_f64(seconds).is_ok());
        let Some(&Effort { units, class, .. }) = effort else { return };
        for rate in [self.classes.entry(class).or_default(), &mut self.all] {
            rate.seconds += seconds;
            rate.units += units;
        }
    }

    /// Estimated seconds for the remaining epochs of a job; `None` before any epoch was measured.
    pub fn remaining(&self, job: JobId, finished_epochs: u32) -> Option<f64> {
        let effort = self.efforts.get(&job)?;
        let rate = self.classes.get(&effort.class).unwrap_or(&self.all);
        (rate.units > 0.0).then(|| self.units(job, finished_epochs) * rate.seconds / rate.units)
    }

    /// A job's remaining work, for comparison with others. The most comes first, so that the sweep ends with short jobs,
    /// which fill the workers evenly (LPT, Graham 1969).
    pub fn work(&self, job: JobId, finished_epochs: u32) -> u64 {
        ordered(self.units(job, finished_epochs))
    }

    fn units(&self, job: JobId, finished_epochs: u32) -> f64 {
        let effort = self.efforts.get(&job);
        effort.map_or(0.0, |effort| f64::from(effort.epochs.saturating_sub(finished_epochs)) * effort.units)
    }

    /// Time until the last worker is free when `open` (job, finished epochs) are given out longest first.
    pub fn eta(&self, open: &[(JobId, u32)], workers: usize) -> Option<Duration> {
        let mut times: Vec<f64> =
            open.iter().map(|&(job, done)| self.remaining(job, done)).collect::<Option<_>>()?;
        times.sort_unstable_by(|a, b| b.total_cmp(a));
        // By their bits: see [`ordered`].
        let mut loads: BinaryHeap<Reverse<u64>> =
            (0..workers.max(1)).map(|_| Reverse(ordered(0.0))).collect();
        let mut longest = 0.0_f64;
        for time in times {
            if let Some(mut least) = loads.peek_mut() {
                let load = f64::from_bits(least.0) + time;
                longest = longest.max(load);
                *least = Reverse(ordered(load));
            }
        }
        Duration::try_from_secs_f64(longest).ok()
    }
}

/// Non-negative floats order like their bits.
fn ordered(value: f64) -> u64 {
    value.max(0.0).to_bits()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> JobId {
        JobId::new(Uuid::from_u128(n))
    }

    fn effort(units: f64) -> Effort {
        Effort { epochs: 12, units, class: 1 }
    }

    #[test]
    fn more_work_comes_first() {
        let model = CostModel::new([(id(1), effort(0.2)), (id(2), effort(0.9)), (id(3), effort(1.0))]);
        let mut jobs = [(id(1), 0), (id(2), 0), (id(3), 0)];
        let longest_first =
            |jobs: &mut [(JobId, u32)]| jobs.sort_by_key(|&(job, done)| Reverse(model.work(job, done)));
        longest_first(&mut jobs);
        assert_eq!(jobs.map(|(job, _)| job), [id(3), id(2), id(1)]);
        let mut partly = [(id(1), 0), (id(3), 12)];
        longest_first(&mut partly);
        assert_eq!(partly[0].0, id(1), "a job with no epoch left has no work left");
    }

    #[test]
    fn what_was_learned_from_one_job_tells_of_the_others() {
        let mut model = CostModel::new([(id(1), effort(0.2)), (id(2), effort(0.4))]);
        assert_eq!(model.eta(&[(id(1), 0)], 1), None);
        model.learn(id(1), 3.0);
        let remaining = model.remaining(id(2), 10).unwrap();
        assert!((remaining - 12.0).abs() < 1e-9, "two epochs at twice the images: {remaining}");
    }

    #[test]
    fn the_eta_is_the_longest_load_of_lpt() {
        let mut model = CostModel::new((1..=3).map(|n| (id(n), effort(0.2))));
        model.learn(id(1), 1.0);
        let open: Vec<_> = (1..=3).map(|n| (id(n), 0)).collect();
        assert_eq!(model.eta(&open, 2), Some(Duration::from_secs(24)));
        assert_eq!(model.eta(&open, 3), Some(Duration::from_secs(12)));
        assert_eq!(model.eta(&[], 3), Some(Duration::ZERO));
    }

    #[test]
    fn impossible_times_are_not_learned_from() {
        let mut model = CostModel::new([(id(1), effort(0.2))]);
        for seconds in [-1.0, 1e300, f64::NAN, f64::INFINITY] {
            model.learn(id(1), seconds);
            assert_eq!(model.eta(&[(id(1), 0)], 1), None);
        }
        // A possible value, but more than a clock can show.
        model.learn(id(1), 1.8e19);
        assert_eq!(model.eta(&[(id(1), 0)], 1), None);
    }
}
