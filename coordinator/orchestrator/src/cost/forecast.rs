//! What was foretold of the rest of a sweep, at its start and at each quarter, beside what came. Pure.

use serde::{Deserialize, Serialize};

use super::estimate::Estimate;

/// The parts of a sweep's work at which its end is foretold, in percent.
const MARKS: [u32; 4] = [0, 25, 50, 75];

/// How many of the newest jobs' errors are kept.
const MOST_ERRORS: usize = 1000;

/// What is kept in the run folder. Times count only while a `ferry run` conducts the sweep.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Forecasts {
    /// How many jobs the sweep has. When they change, everything begins anew.
    pub jobs: usize,
    /// The work that was left when it began. Only ratios are meaningful.
    pub work: f64,
    /// For how many seconds it has run since.
    pub ran_seconds: f64,
    /// True once the sweep is done.
    pub is_over: bool,
    /// At most one for each mark, in their order.
    pub forecasts: Vec<Forecast>,
    /// By how many percent the foretold seconds per epoch of each job were wrong: the newest ones, rounded.
    pub epoch_errors: Vec<f64>,
}

/// What was foretold at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The mark that was passed, in percent of the work.
    pub percent: u32,
    /// When that was, in the sweep's own time.
    pub ran_seconds: f64,
    pub workers: usize,
    #[serde(flatten)]
    pub left: Estimate,
}

/// A moment of a running sweep.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub jobs: usize,
    /// Those that are left, and their work.
    pub open: usize,
    pub work: f64,
    pub workers: usize,
    pub left: Option<Estimate>,
}

/// A forecast beside what came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    pub percent: u32,
    pub workers: usize,
    pub foretold: Estimate,
    pub real_seconds: f64,
}

impl Compared {
    /// How much too long the forecast was, in percent of what came; negative if it was too short.
    pub fn error(&self) -> f64 {
        100.0 * (self.foretold.likely / self.real_seconds.max(1e-3) - 1.0)
    }

    pub fn held(&self) -> bool {
        self.foretold.holds(self.real_seconds)
    }
}

impl Forecasts {
    /// The sweep has run for `seconds` more, and this is how it looks now.
    pub fn look(&mut self, seconds: f64, moment: Moment) {
        if self.is_over && moment.open == 0 && self.jobs == moment.jobs {
            return; // Nothing is left to do for this run.
        }
        if self.is_over || self.jobs != moment.jobs {
            *self = Self { jobs: moment.jobs, work: moment.work, ..Self::default() };
        }
        self.ran_seconds += seconds;
        let Some(left) = moment.left else { return };
        let done = if self.work > 0.0 { 100.0 * (1.0 - moment.work / self.work) } else { 0.0 };
        // If several marks were passed at once, the last one counts.
        let Some(&percent) = MARKS.iter().rev().find(|&&mark| done >= f64::from(mark)) else { return };
        if done < 100.0 && self.forecasts.last().is_none_or(|last| last.percent < percent) {
            let (ran_seconds, workers) = (self.ran_seconds, moment.workers);
            self.forecasts.push(Forecast { percent, ran_seconds, workers, left });
        }
    }

    /// The sweep is done, after so many more seconds. False if it was before.
    pub fn end(&mut self, seconds: f64) -> bool {
        if self.is_over {
            return false;
        }
        self.ran_seconds += seconds;
        self.is_over = true;
        true
    }

    /// Takes how far off the foretold epochs of jobs were, as parts.
    pub fn take(&mut self, errors: impl IntoIterator<Item = f64>) {
        self.epoch_errors.extend(errors.into_iter().map(|error| (1000.0 * error).round() / 10.0));
        let surplus = self.epoch_errors.len().saturating_sub(MOST_ERRORS);
        self.epoch_errors.drain(..surplus);
    }

    /// Each forecast beside what came; none while the sweep runs.
    pub fn compared(&self) -> Vec<Compared> {
        let compare = |forecast: &Forecast| Compared {
            percent: forecast.percent,
            workers: forecast.workers,
            foretold: forecast.left,
            real_seconds: (self.ran_seconds - forecast.ran_seconds).max(0.0),
        };
        if self.is_over { self.forecasts.iter().map(compare).collect() } else { Vec::new() }
    }

    /// The median error of foretold seconds per epoch, in percent, and of how many jobs.
    pub fn epoch_error(&self) -> Option<(f64, usize)> {
        let mut errors = self.epoch_errors.clone();
        errors.sort_unstable_by(f64::total_cmp);
        errors.get(errors.len() / 2).map(|&median| (median, errors.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(work: f64) -> Moment {
        let left = Estimate { likely: work, low: 0.9 * work, high: 1.1 * work };
        Moment { jobs: 4, open: 2, work, workers: 1, left: Some(left) }
    }

    fn run() -> Forecasts {
        let mut forecasts = Forecasts::default();
        forecasts.look(0.0, Moment { left: None, ..moment(100.0) });
        for work in [99.0, 90.0, 70.0, 60.0, 20.0, 10.0] {
            forecasts.look(10.0, moment(work));
        }
        forecasts
    }

    #[test]
    fn each_mark_is_foretold_once() {
        let mut forecasts = run();
        assert!(forecasts.compared().is_empty(), "it still runs");
        assert!(forecasts.end(20.0) && !forecasts.end(1.0));
        let told: Vec<_> = forecasts
            .compared()
            .iter()
            .map(|one| (one.percent, one.real_seconds as u32, one.error().round() as i32, one.held()))
            .collect();
        assert_eq!(told, [(0, 70, 41, false), (25, 50, 40, false), (75, 30, -33, false)]);
        let before = forecasts.clone();
        forecasts.look(5.0, Moment { open: 0, ..moment(0.0) });
        assert_eq!(forecasts, before, "a run with nothing to do changes nothing");
        forecasts.look(5.0, moment(25.0));
        assert!(!forecasts.is_over && (forecasts.work - 25.0).abs() < 1e-9, "a job is trained again");
    }

    #[test]
    fn an_edited_sweep_begins_anew() {
        let mut forecasts = run();
        forecasts.look(10.0, Moment { jobs: 5, ..moment(200.0) });
        assert_eq!((forecasts.work, forecasts.forecasts.len()), (200.0, 1));
        assert!((forecasts.ran_seconds - 10.0).abs() < 1e-9);
    }

    #[test]
    fn errors_are_kept_in_bounds() {
        let mut forecasts = Forecasts::default();
        assert_eq!(forecasts.epoch_error(), None);
        forecasts.take((0..2 * MOST_ERRORS).map(|n| n as f64 / 1e4));
        assert_eq!(forecasts.epoch_error(), Some((15.0, MOST_ERRORS)));
    }
}
