//! How much work the jobs of a plan are, as their trainer estimates it, and what is left of it.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use shared::ids::JobId;
use shared::metrics::Point;
use shared::plural::count;
use shared::trainer::Effort;

use crate::engine::cost::CostModel;
use crate::sweep::plan::{Plan, PlannedJob};

/// What is left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Work {
    pub jobs: usize,
    pub epochs: u64,
    /// How many workers share it.
    pub workers: usize,
    /// How long they take; `None` before any epoch was measured.
    #[serde(rename = "seconds", serialize_with = "in_seconds")]
    pub time: Option<Duration>,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn in_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

impl Work {
    /// What is left of these jobs, each with its finished epochs.
    pub(super) fn left(cost: &CostModel, open: &[(JobId, u32)], workers: usize) -> Self {
        let epochs = |&(job, finished): &(JobId, u32)| u64::from(cost.epochs(job).saturating_sub(finished));
        let time = cost.eta(open, workers);
        Self { jobs: open.len(), epochs: open.iter().map(epochs).sum(), workers, time }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, epochs, workers, time } = self;
        if *jobs == 0 {
            return f.write_str("nothing");
        }
        write!(f, "{}, {}", count(*jobs, "job"), count(*epochs as usize, "epoch"))?;
        match time {
            Some(time) => write!(f, ", about {} on {}", in_words(*time), count(*workers, "worker")),
            None => Ok(()),
        }
    }
}

/// A time for people, in its two largest units.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", seconds.max(1)),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// A cost model that knows the jobs of a plan, and has learned nothing yet.
pub(super) fn cost_model(plan: &Plan, train_samples: usize) -> CostModel {
    CostModel::new(efforts(plan, plan.jobs.iter(), train_samples))
}

/// How much work each of these jobs is. Jobs of a trainer that this program does not know are all alike.
pub(super) fn efforts<'a>(
    plan: &'a Plan,
    jobs: impl Iterator<Item = &'a PlannedJob> + 'a,
    train_samples: usize,
) -> impl Iterator<Item = (JobId, Effort)> + 'a {
    let (alike, kind) = (Effort { epochs: 1, units: 1.0, class: 0 }, plan.kind());
    let effort = move |settings: &_| kind.map_or(alike, |kind| kind.effort(settings, train_samples));
    jobs.map(move |job| (job.id, effort(&job.settings.to_map())))
}

/// Learns from what a training reported: its time over all epochs.
pub(super) fn learn<'a>(cost: &mut CostModel, job: JobId, reports: impl Iterator<Item = &'a Point>) {
    let (mut seconds, mut epochs) = (0.0, 0);
    for point in reports {
        (seconds, epochs) = (seconds + point.seconds, point.epoch);
    }
    if epochs > 0 {
        cost.learn(job, seconds / f64::from(epochs));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn times_are_told_in_their_largest_units() {
        let told = |seconds| in_words(Duration::from_secs(seconds));
        assert_eq!(
            [0, 59, 61, 4_380, 200_000].map(told),
            ["1 s", "59 s", "1 min 1 s", "1 h 13 min", "2 d 7 h"]
        );
    }

    #[test]
    fn what_is_left_is_shared_by_the_workers() {
        let ids = [1, 2].map(|n| JobId::new(Uuid::from_u128(n)));
        let mut cost = CostModel::new(ids.map(|job| (job, Effort { epochs: 10, units: 1.0, class: 0 })));
        let open = ids.map(|job| (job, 4));
        assert_eq!(Work::left(&cost, &open, 2).to_string(), "2 jobs, 12 epochs");
        cost.learn(ids[0], 30.0);
        assert_eq!(
            Work::left(&cost, &open, 2).to_string(),
            "2 jobs, 12 epochs, about 3 min 0 s on 2 workers"
        );
        assert_eq!(Work::left(&cost, &open, 1).to_string(), "2 jobs, 12 epochs, about 6 min 0 s on 1 worker");
        assert_eq!(Work::left(&cost, &[], 1).to_string(), "nothing");
    }
}
