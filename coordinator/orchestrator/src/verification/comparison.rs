//! The numbers of two trainings of one job, side by side, and the grade of their likeness.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shared::metrics::{Metrics, Point};
use shared::predictions::Matrix;

use super::section::{Evidence, Outcome, Section};

/// Numbers that are not the same in both trainings, each in `then` and `now`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Unequal {
    /// A metric of a report. `None` if it is not there.
    Report { epoch: u32, step: u32, metric: String, then: Option<f64>, now: Option<f64> },
    /// A metric that the job ended with.
    Result { metric: String, then: Option<f64>, now: Option<f64> },
    /// The probability that differs most among predictions, by row and class from 0.
    Prediction { predictions: String, row: usize, class: usize, then: f32, now: f32 },
    /// Predictions of different size: rows and classes. `None` if they are not there.
    Size { predictions: String, then: Option<(usize, usize)>, now: Option<(usize, usize)> },
}

/// Two trainings side by side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Comparison {
    /// How many numbers were compared.
    pub numbers: usize,
    /// How many of them have other bits.
    pub unequal: usize,
    /// The metrics among those, in order, and for each set of predictions the probability that differs most.
    pub differences: Vec<Unequal>,
}

/// How well a training is reproduced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Grade {
    /// All numbers have the same bits.
    BitExact,
    /// No difference is larger than epsilon.
    WithinEpsilon { largest: f64 },
    /// Some are. Infinite if a number is missing or not finite.
    NotReproduced { largest: f64 },
}

impl Unequal {
    /// The difference as it is compared with epsilon: the absolute one, divided by the larger magnitude if that exceeds 1.
    /// Infinite if it has no size.
    pub fn difference(&self) -> f64 {
        match *self {
            Self::Report { then: Some(then), now: Some(now), .. }
            | Self::Result { then: Some(then), now: Some(now), .. } => difference(then, now),
            Self::Prediction { then, now, .. } => difference(then.into(), now.into()),
            Self::Report { .. } | Self::Result { .. } | Self::Size { .. } => f64::INFINITY,
        }
    }
}

fn difference(then: f64, now: f64) -> f64 {
    let difference = (then - now).abs() / then.abs().max(now.abs()).max(1.0);
    if difference.is_finite() { difference } else { f64::INFINITY }
}

impl Comparison {
    /// The largest difference; 0 if there is none.
    fn largest(&self) -> f64 {
        self.differences.iter().map(Unequal::difference).fold(0.0, f64::max)
    }

    /// An epsilon of 0 asks for the same bits.
    pub fn grade(&self, epsilon: f64) -> Grade {
        let largest = self.largest();
        if self.differences.is_empty() {
            Grade::BitExact
        } else if largest <= epsilon && epsilon > 0.0 {
            Grade::WithinEpsilon { largest }
        } else {
            Grade::NotReproduced { largest }
        }
    }

    fn metric(&mut self, then: Option<f64>, now: Option<f64>, unequal: impl FnOnce() -> Unequal) {
        self.numbers += 1;
        if !are_same(then, now) {
            self.unequal += 1;
            self.differences.push(unequal());
        }
    }

    fn metrics(
        &mut self,
        (then, now): (&Metrics, &Metrics),
        counts: &dyn Fn(&str) -> bool,
        unequal: impl Fn(String, Option<f64>, Option<f64>) -> Unequal,
    ) {
        let names: BTreeSet<&str> = then.iter().chain(now.iter()).map(|(name, _)| name).collect();
        for name in names.into_iter().filter(|name| counts(name)) {
            let (then, now) = (then.get(name), now.get(name));
            self.metric(then, now, || unequal(name.to_owned(), then, now));
        }
    }

    fn predictions(&mut self, name: &str, then: Option<&Matrix>, now: Option<&Matrix>) {
        match (then, now) {
            (Some(then), Some(now)) if size(then) == size(now) => self.probabilities(name, then, now),
            (then, now) => {
                let values = then.or(now).map_or(0, |matrix| matrix.values().len());
                self.numbers += values;
                self.unequal += values;
                let (predictions, then, now) = (name.to_owned(), then.map(size), now.map(size));
                self.differences.push(Unequal::Size { predictions, then, now });
            }
        }
    }

    /// Predictions of the same size.
    fn probabilities(&mut self, name: &str, then: &Matrix, now: &Matrix) {
        self.numbers += then.values().len();
        let pairs = then.values().iter().copied().zip(now.values().iter().copied()).enumerate();
        let mut worst: Option<Unequal> = None;
        for (place, (then_value, now_value)) in pairs {
            if are_same(Some(then_value.into()), Some(now_value.into())) {
                continue;
            }
            self.unequal += 1;
            let (row, class) = (place / then.classes(), place % then.classes());
            let predictions = name.to_owned();
            let other = Unequal::Prediction { predictions, row, class, then: then_value, now: now_value };
            if worst.as_ref().is_none_or(|worst| other.difference() > worst.difference()) {
                worst = Some(other);
            }
        }
        self.differences.extend(worst);
    }
}

fn size(matrix: &Matrix) -> (usize, usize) {
    (matrix.len(), matrix.classes())
}

/// True if both are there with the same bits, or neither is. Of a value that is not a number, the bits do not count: they
/// depend on the machine, and are not stored with metrics.
fn are_same(then: Option<f64>, now: Option<f64>) -> bool {
    match (then, now) {
        (Some(then), Some(now)) => then.to_bits() == now.to_bits() || then.is_nan() && now.is_nan(),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Compares what a training has left with what training `section` of it again gave. `counts` tells which metrics are
/// about what was computed.
pub fn compare(
    then: &Evidence,
    section: &Section,
    now: &Evidence,
    counts: &dyn Fn(&str) -> bool,
) -> Comparison {
    let within = |evidence: &Evidence| -> BTreeMap<(u32, u32), Metrics> {
        let reports: Vec<&Point> = evidence.reports.iter().filter(|report| section.has(report)).collect();
        reports.into_iter().map(|report| (report.place(), report.metrics.clone())).collect()
    };
    let (reported, again) = (within(then), within(now));
    let mut comparison = Comparison::default();
    let (places, none) = (reported.keys().chain(again.keys()).collect::<BTreeSet<_>>(), Metrics::default());
    for place in places {
        let (epoch, step) = *place;
        let both = (reported.get(place).unwrap_or(&none), again.get(place).unwrap_or(&none));
        let unequal = |metric, then, now| Unequal::Report { epoch, step, metric, then, now };
        comparison.metrics(both, counts, unequal);
    }
    if section.to_the_end {
        let none = Outcome::default();
        let ended = then.outcome.as_ref().unwrap_or(&none);
        let again = now.outcome.as_ref().unwrap_or(&none);
        let unequal = |metric, then, now| Unequal::Result { metric, then, now };
        comparison.metrics((&ended.metrics, &again.metrics), counts, unequal);
        let names: BTreeSet<&String> = ended.predictions.keys().chain(again.predictions.keys()).collect();
        for name in names {
            comparison.predictions(name, ended.predictions.get(name), again.predictions.get(name));
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(epoch: u32, metrics: &[(&str, f64)]) -> Point {
        let metrics = Metrics::of(metrics.iter().copied()).unwrap();
        Point { epoch, step: 0, seconds: f64::from(epoch), metrics }
    }

    fn whole(until: u32) -> Section {
        Section { from: None, until, to_the_end: false }
    }

    fn evidence(reports: Vec<Point>) -> Evidence {
        Evidence { reports, ..Evidence::default() }
    }

    fn compared(then: &Evidence, now: &Evidence, section: &Section) -> Comparison {
        compare(then, section, now, &|metric| metric != "memory")
    }

    #[test]
    fn equal_bits_are_exact_and_times_and_the_machine_do_not_count() {
        let then = evidence(vec![point(1, &[("f1", 61.5), ("loss", f64::NAN), ("memory", 1.0)])]);
        let mut now = evidence(vec![point(1, &[("f1", 61.5), ("loss", f64::NAN), ("memory", 2.0)])]);
        now.reports[0].seconds = 99.0;
        let comparison = compared(&then, &now, &whole(1));
        assert_eq!((comparison.numbers, comparison.grade(0.0)), (2, Grade::BitExact));
    }

    #[test]
    fn a_difference_is_graded_by_its_size() {
        let then = evidence(vec![point(1, &[("f1", 50.0), ("loss", 0.5)])]);
        let now = evidence(vec![point(1, &[("f1", 50.5), ("loss", 0.5)])]);
        let comparison = compared(&then, &now, &whole(1));
        assert_eq!((comparison.numbers, comparison.unequal), (2, 1));
        let metric = "f1".to_owned();
        let unequal = Unequal::Report { epoch: 1, step: 0, metric, then: Some(50.0), now: Some(50.5) };
        assert_eq!(comparison.differences, [unequal]);
        let largest = 0.5 / 50.5;
        assert_eq!(comparison.grade(0.01), Grade::WithinEpsilon { largest });
        assert_eq!(comparison.grade(0.001), Grade::NotReproduced { largest });
        // Numbers below 1 are compared as they are.
        assert!((difference(0.5, 0.25) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn an_epsilon_of_0_asks_for_the_same_bits() {
        let (then, now) = (evidence(vec![point(1, &[("a", 0.0)])]), evidence(vec![point(1, &[("a", -0.0)])]));
        let comparison = compared(&then, &now, &whole(1));
        assert_eq!(comparison.grade(1e-9), Grade::WithinEpsilon { largest: 0.0 });
        assert_eq!(comparison.grade(0.0), Grade::NotReproduced { largest: 0.0 });
    }

    #[test]
    fn what_is_missing_or_not_a_number_is_not_reproduced_whatever_epsilon_is() {
        let then = evidence(vec![point(1, &[("f1", 50.0)]), point(2, &[("f1", 51.0)])]);
        let shorter = evidence(vec![point(1, &[("f1", 50.0)])]);
        let diverged = evidence(vec![point(1, &[("f1", 50.0)]), point(2, &[("f1", f64::NAN)])]);
        for now in [shorter, diverged] {
            let comparison = compared(&then, &now, &whole(2));
            assert_eq!(comparison.unequal, 1);
            let Grade::NotReproduced { largest } = comparison.grade(1e9) else { panic!("{comparison:?}") };
            assert!(largest.is_infinite());
        }
        let comparison = compared(&then, &evidence(Vec::new()), &whole(1));
        assert_eq!(comparison.numbers, 1, "the second epoch is not in the section");
    }

    #[test]
    fn predictions_are_compared_at_the_end_alone() {
        let matrix = |values: [f32; 4]| Matrix::new(2, values.to_vec()).unwrap();
        let with = |predictions: &[(&str, Matrix)]| {
            let predictions = predictions.iter().map(|(name, matrix)| ((*name).to_owned(), matrix.clone()));
            let outcome = Outcome { predictions: predictions.collect(), ..Outcome::default() };
            Evidence { outcome: Some(outcome), ..Evidence::default() }
        };
        let then = with(&[("validation", matrix([0.5, 0.5, 0.25, 0.75])), ("test", matrix([0.0; 4]))]);
        let now = with(&[("validation", matrix([0.5, 0.5, 0.375, 0.5]))]);
        let end = Section { from: None, until: 0, to_the_end: true };
        assert_eq!(compared(&then, &now, &whole(0)).numbers, 0);
        let comparison = compared(&then, &now, &end);
        assert_eq!((comparison.numbers, comparison.unequal), (8, 6));
        let predictions = "validation".to_owned();
        assert_eq!(
            comparison.differences,
            [
                Unequal::Size { predictions: "test".to_owned(), then: Some((2, 2)), now: None },
                Unequal::Prediction { predictions, row: 1, class: 1, then: 0.75, now: 0.5 },
            ]
        );
        assert_eq!(compared(&then, &then, &end).grade(0.0), Grade::BitExact);
        // Which bits a number that is none has depends on the machine.
        let [one, other] = [f32::NAN, f32::from_bits(f32::NAN.to_bits() | 1)]
            .map(|nan| with(&[("validation", matrix([0.5, nan, 0.25, -nan]))]));
        assert_eq!(compared(&one, &other, &end).grade(0.0), Grade::BitExact);
    }
}
