//! The ways to choose an ensemble among candidates, by the samples that they are given. Pure.

use rayon::prelude::*;
use serde::Serialize;

use super::calibration::temperature;
use super::combine::{Candidates, Combination, Rule};

/// Most members that greedy selection adds, the same one perhaps several times.
const MOST_STEPS: usize = 50;

/// How the members are chosen, and how they vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The best job alone.
    Single,
    /// All candidates.
    All,
    /// The best jobs, as many as score best together.
    Best,
    /// Members are added one by one, each time the one that helps most, with replacement (Caruana et al., Ensemble
    /// Selection from Libraries of Models, 2004).
    Greedy,
    /// All candidates, weighted by their score above chance.
    Weighted,
    /// All candidates, each calibrated first.
    Calibrated,
    /// All candidates; the class that most of them predict.
    Majority,
}

impl Method {
    pub const ALL: [Self; 7] =
        [Self::Single, Self::All, Self::Best, Self::Greedy, Self::Weighted, Self::Calibrated, Self::Majority];

    /// Whether anything is learned from the samples. What is not cannot be overfitted to them.
    pub(super) fn chooses(self) -> bool {
        match self {
            Self::Single | Self::Best | Self::Greedy | Self::Weighted | Self::Calibrated => true,
            Self::All | Self::Majority => false,
        }
    }

    /// What it is called for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "best single job",
            Self::All => "all",
            Self::Best => "best k",
            Self::Greedy => "greedy",
            Self::Weighted => "weighted by score",
            Self::Calibrated => "calibrated",
            Self::Majority => "majority vote",
        }
    }

    /// The ensemble that it chooses.
    pub fn choose(self, candidates: &Candidates<'_>) -> Combination {
        let number = candidates.number();
        match self {
            Self::Single => {
                let scores = alone(candidates);
                let best = (0..number).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
                let is_best = |candidate| if Some(candidate) == best { 1.0 } else { 0.0 };
                Combination::soft((0..number).map(is_best).collect())
            }
            Self::All => Combination::soft(vec![1.0; number]),
            Self::Best => best(candidates),
            Self::Greedy => greedy(candidates),
            Self::Weighted => {
                let chance = 100.0 / candidates.classes() as f64;
                let weights: Vec<f64> = alone(candidates).iter().map(|f1| (f1 - chance).max(0.0)).collect();
                let none = weights.iter().all(|weight| *weight == 0.0);
                Combination::soft(if none { vec![1.0; number] } else { weights })
            }
            Self::Calibrated => {
                let temperatures = (0..number).into_par_iter().map(|one| temperature(candidates, one));
                let temperatures: Vec<f64> = temperatures.collect();
                Combination { temperatures: Some(temperatures), ..Combination::soft(vec![1.0; number]) }
            }
            Self::Majority => Combination { rule: Rule::Majority, ..Combination::soft(vec![1.0; number]) },
        }
    }
}

/// Macro F1 of each candidate alone.
fn alone(candidates: &Candidates<'_>) -> Vec<f64> {
    let score = |candidate| candidates.macro_f1(classes(candidates, candidate));
    (0..candidates.number()).into_par_iter().map(score).collect()
}

/// The classes that a candidate predicts.
pub(super) fn classes(candidates: &Candidates<'_>, candidate: usize) -> impl Iterator<Item = usize> {
    candidates.rows(candidate).map(shared::confusion::argmax)
}

/// The candidates in the order of their scores; of equals, the first in the plan comes first.
fn best(candidates: &Candidates<'_>) -> Combination {
    let scores = alone(candidates);
    let mut order: Vec<usize> = (0..candidates.number()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut sums = vec![0.0; candidates.truths().len() * candidates.classes()];
    let mut top = (f64::NEG_INFINITY, 0);
    for (place, &candidate) in order.iter().enumerate() {
        add(candidates, candidate, &mut sums);
        let score = candidates.macro_f1(candidates.predicted(&sums));
        if score > top.0 {
            top = (score, place);
        }
    }
    let mut weights = vec![0.0; candidates.number()];
    for &candidate in &order[..=top.1] {
        weights[candidate] = 1.0;
    }
    Combination::soft(weights)
}

/// The best of all ensembles on the way, and of equals the smallest.
fn greedy(candidates: &Candidates<'_>) -> Combination {
    let number = candidates.number();
    let mut sums = vec![0.0; candidates.truths().len() * candidates.classes()];
    let mut weights = vec![0.0; number];
    let mut top = (f64::NEG_INFINITY, weights.clone());
    for _ in 0..MOST_STEPS {
        let with = |candidate| with_one_more(candidates, &sums, candidate);
        let scores: Vec<f64> = (0..number).into_par_iter().map(with).collect();
        let Some(next) = (0..number).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b])) else { break };
        add(candidates, next, &mut sums);
        weights[next] += 1.0;
        if scores[next] > top.0 {
            top = (scores[next], weights.clone());
        }
    }
    Combination::soft(top.1)
}

fn add(candidates: &Candidates<'_>, candidate: usize, sums: &mut [f64]) {
    for (row, sums) in candidates.rows(candidate).zip(sums.chunks_exact_mut(candidates.classes())) {
        for (sum, p) in sums.iter_mut().zip(row) {
            *sum += f64::from(*p);
        }
    }
}

/// Macro F1 of what `sums` and one more candidate predict.
fn with_one_more(candidates: &Candidates<'_>, sums: &[f64], candidate: usize) -> f64 {
    let rows = candidates.rows(candidate).zip(sums.chunks_exact(candidates.classes()));
    candidates.macro_f1(rows.map(|(row, sums)| {
        let mut best = (0, f64::NEG_INFINITY);
        for (class, (p, sum)) in row.iter().zip(sums).enumerate() {
            let share = sum + f64::from(*p);
            if share > best.1 {
                best = (class, share);
            }
        }
        best.0
    }))
}
