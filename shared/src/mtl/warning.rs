//! Reasons not to trust a finished job's score: the training diverged, or guessing reaches the score.

use super::loss::LossSpec;
use super::report::{CHANCE_LEVEL, VAL_MACRO_F1};
use crate::metrics::Metrics;
use crate::result::JobResult;
use crate::warning::Warning;

/// A loss term above this, without its factor, means divergence: the terms of an untrained network sum to below ten.
const ABSURD: f64 = 1000.0;

/// Everything that speaks against `result`, whose job had the settings `loss`.
pub(super) fn warnings(result: &JobResult, loss: &LossSpec) -> Vec<Warning> {
    let best_epoch = result.best_epoch.unwrap_or_default();
    let mut from_best_on = result.history.iter().filter(|point| point.epoch >= best_epoch);
    let diverged = from_best_on.find_map(|point| diverged(point.epoch, &point.metrics, loss));
    let score = result.metrics.get(VAL_MACRO_F1).zip(result.metrics.get(CHANCE_LEVEL));
    diverged.into_iter().chain(score.and_then(|(score, level)| Warning::of_score(score, level))).collect()
}

fn diverged(epoch: u32, metrics: &Metrics, loss: &LossSpec) -> Option<Warning> {
    let terms = [
        ("cross-entropy", "loss_cross_entropy", 1.0),
        ("affinity", "loss_affinity", loss.affinity_weight),
        ("partition", "loss_partition", loss.partition_weight),
        ("landmark", "loss_landmark", loss.landmark_weight),
    ];
    // Losses are stored with their factors applied; a factor of 0 says nothing about the term.
    let unweighted = terms.into_iter().filter(|(_, _, factor)| *factor > 0.0);
    let mut values = unweighted.filter_map(|(term, name, factor)| Some((term, metrics.get(name)? / factor)));
    let (term, value) = values.find(|(_, value)| !value.is_finite() || value.abs() > ABSURD)?;
    Some(Warning::Diverged { epoch, term, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confusion::Confusion;
    use crate::expression::CLASSES;
    use crate::mtl::report::{EpochReport, LossTerms, MemoryUse};

    fn metrics(landmark: f64) -> Metrics {
        let losses = LossTerms { cross_entropy: 1.8, affinity: 1.0, partition: 0.3, landmark };
        let validation = Confusion::from_pairs(CLASSES, (0..600).map(|i| (i % 6, i % 6))).into();
        let memory = MemoryUse::default();
        let report = EpochReport { epoch: 3, learning_rate: 900.0, losses, validation, seconds: 1.0, memory };
        report.point().metrics
    }

    /// Case 32: divergence.
    #[test]
    fn absurd_and_infinite_losses_are_divergence_and_large_factors_are_not() {
        let loss = LossSpec::default();
        assert_eq!(diverged(3, &metrics(3.9), &loss), None);
        let warning = diverged(3, &metrics(1.7e12), &loss).unwrap();
        assert_eq!(
            warning.to_string(),
            "the training diverged: the landmark loss was 1.7e12 in epoch 3; lower `learning_rate`"
        );
        assert!(diverged(3, &metrics(f64::NAN), &loss).is_some());
        let heavy = LossSpec { landmark_weight: 1e6, ..loss };
        assert_eq!(diverged(3, &metrics(2e6), &heavy), None);
        assert!(diverged(3, &metrics(1.7e12), &heavy).is_some());
    }
}
