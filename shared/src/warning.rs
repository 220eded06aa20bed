//! Reasons not to trust a finished job's score.

use std::fmt;

use crate::confusion::{Score, chance_level};

/// One reason not to trust a job's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Warning {
    /// A loss term grew far too large, in the best epoch or later.
    Diverged { epoch: u32, term: &'static str, value: f64 },
    /// Validation macro F1 is not above `level`, which guessing reaches.
    ChanceLevel { level: f64 },
}

impl Warning {
    /// The warning that follows from a score and the level that guessing reaches.
    pub fn of_score(macro_f1: f64, level: f64) -> Option<Self> {
        (macro_f1 <= level).then_some(Self::ChanceLevel { level })
    }

    /// The warning that follows from a confusion matrix alone.
    pub fn of_confusion(score: &Score) -> Option<Self> {
        Self::of_score(score.macro_f1, chance_level(&score.confusion.truths()))
    }

    /// A word or two, to print beside a score.
    pub const fn brief(&self) -> &'static str {
        match self {
            Self::Diverged { .. } => "diverged",
            Self::ChanceLevel { .. } => "chance level",
        }
    }
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
    use crate::confusion::Confusion;

    /// Case 32: chance level.
    #[test]
    fn a_score_that_guessing_reaches_is_told_and_a_better_one_is_not() {
        let of = |pairs: fn(usize) -> (usize, usize)| {
            Warning::of_confusion(&Confusion::from_pairs(6, (0..600).map(pairs)).into())
        };
        let one_class = of(|i| (i % 6, 2)).unwrap();
        assert_eq!(one_class.to_string(), "at chance level, which is 19.5 on this validation split");
        assert_eq!(of(|i| (i % 6, if i % 3 == 0 { i % 6 } else { (i / 6) % 6 })), None);
    }
}
