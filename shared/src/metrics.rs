//! Named numbers that a trainer reports, and which of them ranks jobs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most metrics that one report may have.
pub const MOST_METRICS: usize = 256;

/// The longest name of a metric, in bytes.
const LONGEST_NAME: usize = 64;

/// Why a metric was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    #[error(
        "{0:?} cannot be the name of a metric: use up to {LONGEST_NAME} letters, digits, `_`, `-` and `.`, and begin \
         with a letter"
    )]
    Name(String),
    #[error("a report has {0} metrics, but at most {MOST_METRICS} are allowed")]
    TooMany(usize),
}

/// Metrics by name. A value that is not finite is stored as null and read back as NaN.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// The metrics with these names.
    ///
    /// # Errors
    /// When a name is not plain, or there are too many.
    pub fn of(metrics: impl IntoIterator<Item = (impl Into<String>, f64)>) -> Result<Self, MetricError> {
        let metrics = Self(metrics.into_iter().map(|(name, value)| (name.into(), value)).collect());
        metrics.check()?;
        Ok(metrics)
    }

    /// Sets a metric whose name is known to be plain, such as one of a trainer's own.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        debug_assert!(is_plain(name), "{name}");
        self.0.insert(name.to_owned(), value);
        self
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks metrics that came in a message: their names reach displays and files.
    ///
    /// # Errors
    /// When a name is not plain, or there are too many.
    pub fn check(&self) -> Result<(), MetricError> {
        if self.0.len() > MOST_METRICS {
            return Err(MetricError::TooMany(self.0.len()));
        }
        match self.0.keys().find(|name| !is_plain(name)) {
            Some(name) => Err(MetricError::Name(name.chars().take(80).collect())),
            None => Ok(()),
        }
    }
}

/// True for a name that is harmless in paths, subjects and displays.
pub(crate) fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.len() <= LONGEST_NAME
        && name.chars().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let finite =
            self.0.iter().map(|(name, value)| (name, Some(*value).filter(|value| value.is_finite())));
        serializer.collect_map(finite)
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
        Ok(Self(stored.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect()))
    }
}

/// One report of a training: how far it was, and its metrics there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Finished epochs.
    pub epoch: u32,
    /// Finished steps of the next epoch; 0 between two epochs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step: u32,
    /// Time since the point before it.
    pub seconds: f64,
    pub metrics: Metrics,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(step: &u32) -> bool {
    *step == 0
}

impl Point {
    /// How far the training was, to compare reports.
    pub fn place(&self) -> (u32, u32) {
        (self.epoch, self.step)
    }
}

/// Whether a higher or a lower value is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Higher is better.
    #[default]
    Max,
    /// Lower is better.
    Min,
}

/// The metric by which jobs are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranking {
    pub metric: String,
    #[serde(default)]
    pub goal: Goal,
}

impl Ranking {
    /// The value that ranks; `None` if it is missing or not finite.
    pub fn score(&self, metrics: &Metrics) -> Option<f64> {
        metrics.get(&self.metric).filter(|value| value.is_finite())
    }

    /// `score`, so that a higher value is always better.
    pub fn merit(&self, score: f64) -> f64 {
        match self.goal {
            Goal::Max => score,
            Goal::Min => -score,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_few() {
        for bad in ["", "../x", "a/b", "a b", "\u{1b}[2J", ".hidden", "1st", &"a".repeat(65)] {
            assert!(matches!(Metrics::of([(bad, 1.0)]), Err(MetricError::Name(_))), "{bad:?}");
        }
        let many = (0..=MOST_METRICS).map(|n| (format!("m{n}"), 0.0));
        assert_eq!(Metrics::of(many), Err(MetricError::TooMany(MOST_METRICS + 1)));
        let good = Metrics::of([("loss.total", 0.1), ("val_f1-macro", 2.0)]).unwrap();
        assert_eq!(serde_json::from_str::<Metrics>(&serde_json::to_string(&good).unwrap()).unwrap(), good);
    }

    #[test]
    fn a_value_that_is_not_a_number_is_stored_and_never_ranks() {
        let metrics = Metrics::of([("loss", f64::NAN), ("f1", 3.0)]).unwrap();
        let text = serde_json::to_string(&metrics).unwrap();
        assert_eq!(text, r#"{"f1":3.0,"loss":null}"#);
        let metrics: Metrics = serde_json::from_str(&text).unwrap();
        assert!(metrics.get("loss").unwrap().is_nan());
        let by = |metric: &str, goal| Ranking { metric: metric.to_owned(), goal };
        assert_eq!(by("loss", Goal::Min).score(&metrics), None);
        assert_eq!(by("f1", Goal::Max).score(&metrics), Some(3.0));
        assert!((by("f1", Goal::Min).merit(3.0) + 3.0).abs() < 1e-12);
    }
}
