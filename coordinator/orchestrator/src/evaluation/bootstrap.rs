//! Percentile intervals by the bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

use serde::Serialize;
use shared::confusion::Confusion;
use shared::expression::CLASSES;
use shared::rng::{Purpose, Stream};

/// How the intervals are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bootstrap {
    /// Number of resamplings. Each draws as many images as there are, with replacement.
    pub replicates: u32,
    pub seed: u64,
    /// Share of the replicates that an interval spans, such as 0.95.
    pub level: f64,
}

/// The bounds of an interval, F1 in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Intervals of the scores of one set of predictions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Intervals {
    pub macro_f1: Interval,
    pub per_class_f1: [Interval; CLASSES],
}

impl Bootstrap {
    /// Intervals of the F1 scores of `pairs` (true class, predicted class). `None` without pairs or replicates.
    ///
    /// Each replicate has a random stream of its own, so the first replicates do not depend on how many there are. A
    /// class that a replicate has neither drawn nor predicted scores 0 there, as in [`Confusion::per_class_f1`].
    pub fn intervals(&self, pairs: &[(usize, usize)]) -> Option<Intervals> {
        let mut macro_f1 = Vec::new();
        let mut per_class: [Vec<f64>; CLASSES] = Default::default();
        for replicate in 0..self.replicates {
            let mut stream = Stream::new(self.seed, Purpose::Bootstrap, &[u64::from(replicate)]);
            let draw = |_: &_| pairs[stream.below(pairs.len() as u64) as usize];
            let confusion = Confusion::from_pairs(CLASSES, pairs.iter().map(draw));
            macro_f1.push(confusion.macro_f1());
            for (scores, score) in per_class.iter_mut().zip(confusion.per_class_f1()) {
                scores.push(score);
            }
        }
        if pairs.is_empty() || macro_f1.is_empty() {
            return None;
        }
        Some(Intervals {
            macro_f1: self.interval(macro_f1),
            per_class_f1: per_class.map(|scores| self.interval(scores)),
        })
    }

    fn interval(&self, mut scores: Vec<f64>) -> Interval {
        scores.sort_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Interval { low: quantile(&scores, tail), high: quantile(&scores, 1.0 - tail) }
    }
}

/// Linear interpolation between order statistics (Hyndman & Fan 1996, type 7: NumPy's default). `sorted` is not empty.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - place.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Bootstrap = Bootstrap { replicates: 1000, seed: 0, level: 0.95 };

    /// `right` correct and `wrong` false predictions in each class.
    fn pairs(right: usize, wrong: usize) -> Vec<(usize, usize)> {
        let class = |class| {
            let hits = (0..right).map(move |_| (class, class));
            hits.chain((0..wrong).map(move |n| (class, (class + 1 + n % (CLASSES - 1)) % CLASSES)))
        };
        (0..CLASSES).flat_map(class).collect()
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        let sorted = [1.0, 2.0, 4.0, 8.0, 16.0];
        // numpy.quantile([1, 2, 4, 8, 16], [0, 0.025, 0.5, 0.9, 1])
        let expected = [1.0, 1.1, 4.0, 12.8, 16.0];
        for (share, expected) in [0.0, 0.025, 0.5, 0.9, 1.0].into_iter().zip(expected) {
            assert!((quantile(&sorted, share) - expected).abs() < 1e-12);
        }
        assert!((quantile(&[3.0], 0.975) - 3.0).abs() < 1e-12);
    }

    #[test]
    fn perfect_predictions_leave_no_doubt_and_nothing_gives_nothing() {
        let sure = USUAL.intervals(&pairs(40, 0)).unwrap();
        assert_eq!(sure.macro_f1, Interval { low: 100.0, high: 100.0 });
        assert_eq!(USUAL.intervals(&[]), None);
        assert_eq!(Bootstrap { replicates: 0, ..USUAL }.intervals(&pairs(1, 1)), None);
    }

    #[test]
    fn the_interval_is_as_wide_as_the_binomial_one() {
        // 600 images, 70 % right, spread evenly: macro F1 is nearly the accuracy, whose standard error is 1.87.
        let Interval { low, high } = USUAL.intervals(&pairs(70, 30)).unwrap().macro_f1;
        assert!(low < 70.0 && 70.0 < high, "{low} {high}");
        let half = (high - low) / 2.0;
        assert!((half - 1.96 * 1.87).abs() < 0.5, "{half}");
        let Interval { low: less, high: more } =
            Bootstrap { level: 0.5, ..USUAL }.intervals(&pairs(70, 30)).unwrap().macro_f1;
        assert!(low < less && more < high);
    }

    #[test]
    fn equal_seeds_give_equal_intervals() {
        let pairs = pairs(7, 3);
        assert_eq!(USUAL.intervals(&pairs), USUAL.intervals(&pairs));
        assert_ne!(USUAL.intervals(&pairs), Bootstrap { seed: 1, ..USUAL }.intervals(&pairs));
    }
}
