//! Confusion counts and the F1 scores that follow from them.

use serde::{Deserialize, Serialize};

use crate::expression::CLASSES;

/// Confusion counts: `counts[true][predicted]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confusion {
    pub counts: [[u64; CLASSES]; CLASSES],
}

impl Confusion {
    /// Counts pairs of (true class, predicted class). Class indices of 6 and more are not counted.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut confusion = Self::default();
        for (truth, predicted) in pairs {
            if let Some(cell) = confusion.counts.get_mut(truth).and_then(|row| row.get_mut(predicted)) {
                *cell += 1;
            }
        }
        confusion
    }

    /// One-vs-rest F1 per class in percent: 2·TP / (2·TP + FP + FN). A class that is neither present nor
    /// predicted scores 0 and still counts in the mean (the default of scikit-learn).
    pub fn per_class_f1(&self) -> [f64; CLASSES] {
        std::array::from_fn(|class| {
            let hits = self.counts[class][class];
            let truths: u64 = self.counts[class].iter().sum();
            let predictions: u64 = self.counts.iter().map(|row| row[class]).sum();
            match truths + predictions {
                0 => 0.0,
                total => 100.0 * (2 * hits) as f64 / total as f64,
            }
        })
    }

    /// The challenge's metric: unweighted mean of the six class F1 scores, in percent.
    pub fn macro_f1(&self) -> f64 {
        self.per_class_f1().iter().sum::<f64>() / CLASSES as f64
    }

    /// Number of samples counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }
}

/// Index of the largest value; ties go to the lowest index. Empty input gives 0.
pub fn argmax(values: &[f32]) -> usize {
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

    #[test]
    fn perfect_predictions_score_one_hundred() {
        let confusion = Confusion::from_pairs((0..60).map(|i| (i % 6, i % 6)));
        assert!((confusion.macro_f1() - 100.0).abs() < 1e-12);
    }

    #[test]
    fn a_hand_case_with_absent_classes() {
        // Truth 0 0 0 1, predicted 0 0 1 1: F1(0) = 4/5, F1(1) = 2/3, the other four classes 0.
        let confusion = Confusion::from_pairs([(0, 0), (0, 0), (0, 1), (1, 1)]);
        let f1 = confusion.per_class_f1();
        assert!((f1[0] - 80.0).abs() < 1e-12 && (f1[1] - 200.0 / 3.0).abs() < 1e-12);
        assert!((confusion.macro_f1() - (80.0 + 200.0 / 3.0) / 6.0).abs() < 1e-12);
        assert_eq!(confusion.total(), 4);
    }

    #[test]
    fn ties_go_to_the_lowest_class() {
        assert_eq!(argmax(&[0.1, 0.4, 0.4, 0.1]), 1);
        assert_eq!(argmax(&[]), 0);
    }
}
