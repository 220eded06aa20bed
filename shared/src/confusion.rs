//! Confusion counts of any number of classes, and the F1 scores that follow from them.

use serde::{Deserialize, Serialize};

/// Confusion counts: `counts[true][predicted]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confusion {
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Counts pairs of (true class, predicted class) among `classes` classes. Pairs with another class index are not
    /// counted.
    pub fn from_pairs(classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut confusion = Self { counts: vec![vec![0; classes]; classes] };
        for (truth, predicted) in pairs {
            if let Some(cell) = confusion.counts.get_mut(truth).and_then(|row| row.get_mut(predicted)) {
                *cell += 1;
            }
        }
        confusion
    }

    /// One-vs-rest F1 per class in percent: 2·TP / (2·TP + FP + FN). A class that is neither present nor
    /// predicted scores 0 and still counts in the mean (the default of scikit-learn).
    pub fn per_class_f1(&self) -> Vec<f64> {
        let f1 = |class: usize| {
            let hits = self.counts[class].get(class).copied().unwrap_or_default();
            let truths = sum(&self.counts[class]);
            let predictions = sum(self.counts.iter().filter_map(|row| row.get(class)));
            match truths.saturating_add(predictions) {
                0 => 0.0,
                total => 100.0 * hits.saturating_mul(2) as f64 / total as f64,
            }
        };
        (0..self.counts.len()).map(f1).collect()
    }

    /// The challenge's metric: unweighted mean of the classes' F1 scores, in percent. 0 without classes.
    pub fn macro_f1(&self) -> f64 {
        self.per_class_f1().iter().sum::<f64>() / self.counts.len().max(1) as f64
    }

    /// Number of samples counted.
    pub fn total(&self) -> u64 {
        sum(self.counts.iter().flatten())
    }

    /// Number of samples of each true class.
    pub fn truths(&self) -> Vec<u64> {
        self.counts.iter().map(sum).collect()
    }
}

/// A sum of counts, which may come from elsewhere and be absurd.
fn sum<'a>(counts: impl IntoIterator<Item = &'a u64>) -> u64 {
    counts.into_iter().fold(0, |sum, count| sum.saturating_add(*count))
}

/// Scores of one split, F1 in percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub macro_f1: f64,
    pub per_class_f1: Vec<f64>,
    pub confusion: Confusion,
}

impl From<Confusion> for Score {
    fn from(confusion: Confusion) -> Self {
        Self { macro_f1: confusion.macro_f1(), per_class_f1: confusion.per_class_f1(), confusion }
    }
}

/// The macro F1, in percent, that a guess reaches on a split with these numbers of samples per true class: its mean
/// plus two standard deviations. A score at or below it may be luck.
///
/// The guess draws each class as often as it occurs, with share p. The F1 of a class is then p on average, so macro F1
/// is one over the number of classes whatever the shares are; no other guess that ignores the images has a higher mean.
/// The variance of F1 is that of its linearisation, (1 - p)(1 - 3p/4) / N, and classes are taken as independent.
pub fn chance_level(truths: &[u64]) -> f64 {
    let total = sum(truths) as f64;
    if total == 0.0 {
        return 0.0;
    }
    let shares = truths.iter().map(|&count| count as f64 / total);
    let present = shares.filter(|share| *share > 0.0);
    let variance: f64 = present.map(|p| (1.0 - p) * (1.0 - 0.75 * p) / total).sum();
    let classes = truths.len() as f64;
    100.0 * (1.0 + 2.0 * variance.sqrt()) / classes
}

/// Index of the largest value; ties go to the lowest index. Empty input gives 0.
pub fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if value > &values[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    const CLASSES: usize = 6;

    #[test]
    fn perfect_predictions_score_one_hundred() {
        let confusion = Confusion::from_pairs(CLASSES, (0..60).map(|i| (i % 6, i % 6)));
        assert!((confusion.macro_f1() - 100.0).abs() < 1e-12);
    }

    #[test]
    fn a_hand_case_with_absent_classes() {
        // Truth 0 0 0 1, predicted 0 0 1 1: F1(0) = 4/5, F1(1) = 2/3, the other four classes 0.
        let confusion = Confusion::from_pairs(CLASSES, [(0, 0), (0, 0), (0, 1), (1, 1)]);
        let f1 = confusion.per_class_f1();
        assert!((f1[0] - 80.0).abs() < 1e-12 && (f1[1] - 200.0 / 3.0).abs() < 1e-12);
        assert!((confusion.macro_f1() - (80.0 + 200.0 / 3.0) / 6.0).abs() < 1e-12);
        assert_eq!(confusion.total(), 4);
    }

    #[test]
    fn guesses_seldom_pass_the_chance_level() {
        for truths in [[100; CLASSES], [20; CLASSES], [66, 55, 39, 264, 522, 54], [50, 50, 0, 50, 50, 50]] {
            let labels: Vec<usize> =
                truths.iter().enumerate().flat_map(|(c, &n)| std::iter::repeat_n(c, n as usize)).collect();
            let level = chance_level(&truths);
            let mut stream = Stream::new(3, Purpose::Shuffle, &truths);
            let guess = |stream: &mut Stream| labels[stream.below(labels.len() as u64) as usize];
            let scores: Vec<f64> = (0..1000)
                .map(|_| {
                    Confusion::from_pairs(CLASSES, labels.iter().map(|&c| (c, guess(&mut stream)))).macro_f1()
                })
                .collect();
            let mean = scores.iter().sum::<f64>() / 1000.0;
            assert!((mean - 100.0 / 6.0).abs() < 0.5, "{truths:?}: {mean}");
            let above = scores.iter().filter(|score| **score > level).count();
            assert!((1..=50).contains(&above), "{truths:?}: {above} of 1000 above {level}");
        }
        assert_eq!(chance_level(&[0; CLASSES]).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn always_naming_one_class_is_at_chance_level() {
        let confusion = Confusion::from_pairs(CLASSES, (0..60).map(|i| (i % 6, 4)));
        assert!(confusion.macro_f1() < chance_level(&confusion.truths()));
    }

    #[test]
    fn absurd_counts_end_nothing() {
        let confusion = Confusion { counts: vec![vec![u64::MAX, u64::MAX], vec![1]] };
        assert_eq!(confusion.truths(), [u64::MAX, 1]);
        assert!(confusion.macro_f1().is_finite() && chance_level(&confusion.truths()).is_finite());
    }

    #[test]
    fn ties_go_to_the_lowest_class() {
        assert_eq!(argmax(&[0.1, 0.4, 0.4, 0.1]), 1);
        assert_eq!(argmax::<f32>(&[]), 0);
    }
}
