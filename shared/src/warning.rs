//! Reasons not to trust a finished job's score: the training diverged, or guessing reaches the score.

use std::fmt;

use crate::job::loss::LossSpec;
use crate::metrics::chance_level;
use crate::result::{EpochReport, JobResult, Score};

/// A loss term above this, without its factor, means divergence: the terms of an untrained network sum to below ten.
const ABSURD: f64 = 1000.0;

/// One reason not to trust a job's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Warning {
    /// A loss term grew far too large, in the best epoch or later.
    Diverged { epoch: u32, term: &'static str, value: f64 },
    /// Validation macro F1 is not above `level`, which guessing reaches.
    ChanceLevel { level: f64 },
}

impl Warning {
    /// Everything that speaks against `result`, whose job had the settings `loss`.
    pub fn of(result: &JobResult, loss: &LossSpec) -> Vec<Self> {
        let mut from_best_on = result.epochs.iter().filter(|report| report.epoch >= result.best_epoch);
        let diverged = from_best_on.find_map(|report| diverged(report, loss));
        let score = result.best().map(|report| &report.validation);
        diverged.into_iter().chain(score.and_then(Self::of_score)).collect()
    }

    /// The warning that follows from the score alone.
    pub fn of_score(score: &Score) -> Option<Self> {
        let level = chance_level(&score.confusion.truths());
        (score.macro_f1 <= level).then_some(Self::ChanceLevel { level })
    }

    /// A word or two, to print beside a score.
    pub const fn brief(&self) -> &'static str {
        match self {
            Self::Diverged { .. } => "diverged",
            Self::ChanceLevel { .. } => "chance level",
        }
    }
}

fn diverged(report: &EpochReport, loss: &LossSpec) -> Option<Warning> {
    let losses = &report.losses;
    let terms = [
        ("cross-entropy", losses.cross_entropy, 1.0),
        ("affinity", losses.affinity, loss.affinity_weight),
        ("partition", losses.partition, loss.partition_weight),
        ("landmark", losses.landmark, loss.landmark_weight),
    ];
    // Losses are stored with their factors applied; a factor of 0 says nothing about the term.
    let unweighted = terms.into_iter().filter(|(_, _, factor)| *factor > 0.0);
    let mut values = unweighted.map(|(term, value, factor)| (term, value / factor));
    let (term, value) = values.find(|(_, value)| !value.is_finite() || value.abs() > ABSURD)?;
    Some(Warning::Diverged { epoch: report.epoch, term, value })
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diverged { epoch, term, value } => {
                write!(
                    f,
                    "the training diverged: the {term} loss was {value:.1e} in epoch {epoch}; lower `learning_rate`"
                )
            }
            Self::ChanceLevel { level } => {
                write!(f, "at chance level, which is {level:.1} on this validation split")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Confusion;
    use crate::result::{LossTerms, MemoryUse};

    fn report(landmark: f64) -> EpochReport {
        let losses = LossTerms { cross_entropy: 1.8, affinity: 1.0, partition: 0.3, landmark };
        let validation = Confusion::from_pairs((0..600).map(|i| (i % 6, i % 6))).into();
        let memory = MemoryUse::default();
        EpochReport { epoch: 3, learning_rate: 900.0, losses, validation, seconds: 1.0, memory }
    }

    /// Case 32: divergence.
    #[test]
    fn absurd_and_infinite_losses_are_divergence_and_large_factors_are_not() {
        let loss = LossSpec::default();
        assert_eq!(diverged(&report(3.9), &loss), None);
        let warning = diverged(&report(1.7e12), &loss).unwrap();
        assert_eq!(
            warning.to_string(),
            "the training diverged: the landmark loss was 1.7e12 in epoch 3; lower `learning_rate`"
        );
        assert!(diverged(&report(f64::NAN), &loss).is_some());
        let heavy = LossSpec { landmark_weight: 1e6, ..loss };
        assert_eq!(diverged(&report(2e6), &heavy), None);
        assert!(diverged(&report(1.7e12), &heavy).is_some());
    }

    /// Case 32: chance level.
    #[test]
    fn a_score_that_guessing_reaches_is_told_and_a_better_one_is_not() {
        let of = |pairs: fn(usize) -> (usize, usize)| {
            Warning::of_score(&Confusion::from_pairs((0..600).map(pairs)).into())
        };
        let one_class = of(|i| (i % 6, 2)).unwrap();
        assert_eq!(one_class.to_string(), "at chance level, which is 19.5 on this validation split");
        assert_eq!(of(|i| (i % 6, if i % 3 == 0 { i % 6 } else { (i / 6) % 6 })), None);
    }
}
