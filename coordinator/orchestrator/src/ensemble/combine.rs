//! Ways in which finished jobs vote together, over the samples of a split whose labels are known. Pure.

use serde::Serialize;
use shared::confusion::{Confusion, argmax};
use shared::predictions::{Matrix, SampleList};

/// The probabilities of several jobs over the same samples, and the true classes.
#[derive(Debug, Clone)]
pub struct Candidates<'a> {
    classes: usize,
    /// The true class of each sample.
    truths: Vec<usize>,
    /// Where each sample is in the matrices.
    rows: Vec<usize>,
    matrices: Vec<&'a [f32]>,
}

/// How the probabilities of the members become one prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The weighted mean of the probabilities (paper section 2.4, where all weights are equal).
    Soft,
    /// The class that most members predict; of equals the one with the higher mean probability.
    Majority,
}

/// An ensemble: how much each candidate counts, and how the members vote.
#[derive(Debug, Clone, PartialEq)]
pub struct Combination {
    pub rule: Rule,
    /// By candidate; 0 for those that are no members.
    pub weights: Vec<f64>,
    /// By candidate: a member's logits are divided by it before they vote. `None` leaves them as they are.
    pub temperatures: Option<Vec<f64>>,
}

impl<'a> Candidates<'a> {
    /// Candidates that predict `samples`, of which those with a label count. `None` without candidates or labels, or if
    /// the matrices are not all of the same size as the list.
    pub fn new(matrices: &[&'a Matrix], samples: &SampleList) -> Option<Self> {
        let classes = matrices.first()?.classes();
        let fits = |matrix: &&Matrix| matrix.classes() == classes && matrix.len() == samples.labels.len();
        let known = samples.labels.iter().enumerate();
        let known = known.filter_map(|(row, label)| label.map(|class| (row, class as usize)));
        let (rows, truths): (Vec<usize>, Vec<usize>) = known.filter(|(_, class)| *class < classes).unzip();
        let all = matrices.iter().all(fits) && !rows.is_empty();
        all.then(|| Self {
            classes,
            truths,
            rows,
            matrices: matrices.iter().map(|one| one.values()).collect(),
        })
    }

    /// The same candidates over some of the samples, by their place.
    #[must_use]
    pub fn over(&self, places: &[usize]) -> Self {
        Self {
            truths: places.iter().map(|&place| self.truths[place]).collect(),
            rows: places.iter().map(|&place| self.rows[place]).collect(),
            ..self.clone()
        }
    }

    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of candidates.
    pub fn number(&self) -> usize {
        self.matrices.len()
    }

    pub fn truths(&self) -> &[usize] {
        &self.truths
    }

    /// A candidate's probabilities, sample by sample.
    pub fn rows(&self, candidate: usize) -> impl Iterator<Item = &'a [f32]> {
        let (matrix, classes) = (self.matrices[candidate], self.classes);
        self.rows.iter().map(move |row| &matrix[row * classes..(row + 1) * classes])
    }

    /// What the members of an ensemble say together: a row of class shares for each sample, each of which adds up to 1.
    pub fn vote(&self, combination: &Combination) -> Vec<f64> {
        let Combination { rule, weights, temperatures } = combination;
        let total: f64 = weights.iter().sum();
        let mut shares = vec![0.0; self.rows.len() * self.classes];
        for member in (0..self.number()).filter(|&member| weights[member] != 0.0) {
            let weight = weights[member] / total;
            let mut scaled = vec![0.0; self.classes];
            for (row, sums) in self.rows(member).zip(shares.chunks_exact_mut(self.classes)) {
                tempered(row, temperatures.as_ref().map(|all| all[member]), &mut scaled);
                match rule {
                    Rule::Soft => {
                        for (sum, p) in sums.iter_mut().zip(&scaled) {
                            *sum += weight * p;
                        }
                    }
                    Rule::Majority => {
                        // Too little to outvote anybody.
                        for (sum, p) in sums.iter_mut().zip(&scaled) {
                            *sum += weight * p * TIE_BREAK;
                        }
                        sums[argmax(row)] += weight * (1.0 - TIE_BREAK);
                    }
                }
            }
        }
        shares
    }

    /// The classes that such shares predict.
    pub fn predicted(&self, shares: &[f64]) -> Vec<usize> {
        shares.chunks_exact(self.classes).map(argmax).collect()
    }

    /// Macro F1 of predicted classes, in percent.
    pub fn macro_f1(&self, predicted: impl IntoIterator<Item = usize>) -> f64 {
        Confusion::from_pairs(self.classes, self.truths.iter().copied().zip(predicted)).macro_f1()
    }
}

/// The weight of mean probabilities in a majority vote.
const TIE_BREAK: f64 = 1e-9;

impl Combination {
    /// Soft voting with these weights.
    pub fn soft(weights: Vec<f64>) -> Self {
        Self { rule: Rule::Soft, weights, temperatures: None }
    }

    /// The candidates that count.
    pub fn members(&self) -> impl Iterator<Item = usize> {
        self.weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0).map(|(member, _)| member)
    }
}

/// A row of probabilities, with its logits divided by `temperature` if there is one (Guo et al., On Calibration of Modern
/// Neural Networks, 2017).
pub(super) fn tempered(row: &[f32], temperature: Option<f64>, scaled: &mut [f64]) {
    let Some(temperature) = temperature else {
        for (to, p) in scaled.iter_mut().zip(row) {
            *to = f64::from(*p);
        }
        return;
    };
    for (to, p) in scaled.iter_mut().zip(row) {
        *to = f64::from(*p).max(f64::MIN_POSITIVE).powf(1.0 / temperature);
    }
    let total: f64 = scaled.iter().sum();
    for p in scaled {
        *p /= total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(labels: &[Option<u32>]) -> SampleList {
        SampleList { ids: (0..labels.len()).map(|n| n.to_string()).collect(), labels: labels.to_vec() }
    }

    #[test]
    fn a_majority_outvotes_a_sure_minority_and_soft_voting_does_not() {
        let unsure = Matrix::from(&[[0.4_f32, 0.6]][..]);
        let sure = Matrix::from(&[[0.95_f32, 0.05]][..]);
        let all = [&unsure, &unsure, &sure];
        let candidates = Candidates::new(&all, &list(&[Some(0)])).unwrap();
        let soft = Combination::soft(vec![1.0; 3]);
        let majority = Combination { rule: Rule::Majority, ..soft.clone() };
        let predicted = |combination| candidates.predicted(&candidates.vote(combination));
        assert_eq!((predicted(&soft), predicted(&majority)), (vec![0], vec![1]));
        let tie = Combination { weights: vec![1.0, 0.0, 1.0], ..majority.clone() };
        assert_eq!(predicted(&tie), [0], "the higher mean probability");
        let shares = candidates.vote(&tie);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{shares:?}");
    }

    #[test]
    fn samples_without_a_label_do_not_count() {
        let matrix = Matrix::from(&[[0.9_f32, 0.1], [0.9, 0.1], [0.2, 0.8]][..]);
        let candidates = Candidates::new(&[&matrix], &list(&[Some(0), None, Some(1)])).unwrap();
        let shares = candidates.vote(&Combination::soft(vec![1.0]));
        assert_eq!((candidates.predicted(&shares), candidates.truths()), (vec![0, 1], &[0, 1][..]));
        assert_eq!(candidates.over(&[1]).truths(), [1]);
        assert!(Candidates::new(&[&matrix], &list(&[None, None, None])).is_none());
        assert!(Candidates::new(&[&matrix], &list(&[Some(0)])).is_none());
    }

    #[test]
    fn a_high_temperature_makes_a_member_less_sure() {
        let mut scaled = [0.0; 2];
        tempered(&[0.9, 0.1], Some(2.0), &mut scaled);
        assert!((scaled[0] - 0.75).abs() < 1e-6, "sqrt(0.9) to sqrt(0.1) is 3 to 1: {scaled:?}");
        tempered(&[1.0, 0.0], Some(2.0), &mut scaled);
        assert!((scaled[0] - 1.0).abs() < 1e-12 && scaled[1] >= 0.0, "{scaled:?}");
    }
}
