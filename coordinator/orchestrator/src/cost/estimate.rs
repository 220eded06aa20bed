//! How long something takes, with an interval.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often the truth is meant to lie within the interval.
pub const COVERAGE: f64 = 0.9;

/// Half the width of a normal distribution's interval with that coverage, in standard deviations.
pub(super) const WIDTH: f64 = 1.645;

/// Standard deviation, on a logarithmic scale, of what no model of single jobs knows, such as other programs that use the
/// machines.
const DRIFT: f64 = 0.02;

/// A time, and the interval in which the truth lies nine times in ten.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// In seconds. The truth is as often below as above it.
    #[serde(rename = "seconds")]
    pub likely: f64,
    #[serde(rename = "low_seconds")]
    pub low: f64,
    #[serde(rename = "high_seconds")]
    pub high: f64,
}

impl Estimate {
    pub const NOTHING: Self = Self { likely: 0.0, low: 0.0, high: 0.0 };

    /// From times as they may be, in seconds. `None` if there are none, or one is more than a clock can show.
    pub fn of(drawn: &[f64]) -> Option<Self> {
        let number = drawn.len() as f64;
        if drawn.is_empty() || drawn.iter().any(|&time| Duration::try_from_secs_f64(time).is_err()) {
            return None;
        }
        if drawn.iter().all(|&time| time <= 0.0) {
            return Some(Self::NOTHING);
        }
        let logs = || drawn.iter().map(|time| time.max(1e-3).ln());
        let mean = logs().sum::<f64>() / number;
        let variance = logs().map(|log| (log - mean).powi(2)).sum::<f64>() / (number - 1.0).max(1.0);
        let spread = WIDTH * (variance + DRIFT * DRIFT).sqrt();
        let [likely, low, high] = [mean, mean - spread, mean + spread].map(f64::exp);
        Duration::try_from_secs_f64(high).ok()?;
        Some(Self { likely, low, high })
    }

    /// True if a time in seconds lies within the interval.
    pub fn holds(&self, seconds: f64) -> bool {
        (self.low..=self.high).contains(&seconds)
    }

    /// Likely, low and high as times.
    pub fn times(&self) -> [Duration; 3] {
        [self.likely, self.low, self.high]
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [likely, low, high] = self.times().map(in_words);
        write!(f, "about {likely} ({low} to {high})")
    }
}

/// A time for people, in its two largest units.
pub fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", seconds.max(1)),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_units() {
        let told = |seconds| in_words(Duration::from_secs(seconds));
        assert_eq!(
            [0, 59, 61, 4_380, 200_000].map(told),
            ["1 s", "59 s", "1 min 1 s", "1 h 13 min", "2 d 7 h"]
        );
    }

    #[test]
    fn an_interval_is_wider_the_more_the_times_differ() {
        let drawn = |spread: f64| [-1.0, 1.0].map(|side| 100.0 * (side * spread).exp());
        let (sure, unsure) = (Estimate::of(&drawn(0.01)).unwrap(), Estimate::of(&drawn(0.5)).unwrap());
        assert!((sure.likely - 100.0).abs() < 1e-9 && (unsure.likely - 100.0).abs() < 1e-9);
        assert!(sure.holds(99.0) && !sure.holds(80.0) && unsure.holds(80.0), "{sure:?} {unsure:?}");
        assert_eq!(Estimate::of(&[0.0, 0.0]), Some(Estimate::NOTHING));
        for impossible in [f64::NAN, -1.0, 1e300] {
            assert_eq!(Estimate::of(&[1.0, impossible]), None);
        }
        assert_eq!(sure.to_string(), "about 1 min 40 s (1 min 36 s to 1 min 44 s)");
    }
}
