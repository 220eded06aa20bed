//! How often a training stores checkpoints. No result depends on it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a training stores a checkpoint besides the one after each epoch. In text: `epoch`, `200 steps`, `5 minutes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CheckpointEvery {
    /// After each epoch only.
    #[default]
    Epoch,
    /// This many steps after the last one.
    Steps(NonZeroU32),
    /// This many minutes after the last one, at the end of a step.
    Minutes(NonZeroU32),
}

/// A text that is not a [`CheckpointEvery`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not say how often to store checkpoints: write `epoch`, `200 steps` or `5 minutes`")]
pub struct NotADistance(String);

impl CheckpointEvery {
    /// Whether a checkpoint is due, `steps` and `time` after the last one.
    pub fn is_due(self, steps: u32, time: Duration) -> bool {
        match self {
            Self::Epoch => false,
            Self::Steps(every) => steps >= every.get(),
            Self::Minutes(every) => time >= Duration::from_mins(every.get().into()),
        }
    }
}

impl FromStr for CheckpointEvery {
    type Err = NotADistance;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotADistance(text.chars().take(80).collect());
        let count = |number: &str| number.parse().map_err(|_| wrong());
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["epoch"] => Ok(Self::Epoch),
            [number, "step" | "steps"] => Ok(Self::Steps(count(number)?)),
            [number, "minute" | "minutes"] => Ok(Self::Minutes(count(number)?)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for CheckpointEvery {
    type Error = NotADistance;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CheckpointEvery> for String {
    fn from(every: CheckpointEvery) -> Self {
        every.to_string()
    }
}

impl fmt::Display for CheckpointEvery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch => f.write_str("epoch"),
            Self::Steps(count) => write!(f, "{count} steps"),
            Self::Minutes(count) => write!(f, "{count} minutes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        for text in ["epoch", "1 steps", "200 steps", "5 minutes"] {
            assert_eq!(text.parse::<CheckpointEvery>().unwrap().to_string(), text);
        }
        assert_eq!("1 step".parse(), "1 steps".parse::<CheckpointEvery>());
        for wrong in ["", "steps", "0 steps", "-1 minutes", "1.5 minutes", "5 hours", "5 minutes more"] {
            assert!(
                wrong.parse::<CheckpointEvery>().unwrap_err().to_string().contains("200 steps"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_checkpoint_is_due_by_steps_or_by_time() {
        let (minute, steps) = (Duration::from_mins(1), |text: &str| text.parse::<CheckpointEvery>().unwrap());
        assert!(!CheckpointEvery::Epoch.is_due(1_000_000, 1000 * minute));
        assert!(steps("3 steps").is_due(3, Duration::ZERO) && !steps("3 steps").is_due(2, 1000 * minute));
        assert!(steps("2 minutes").is_due(0, 2 * minute) && !steps("2 minutes").is_due(1000, minute));
    }
}
