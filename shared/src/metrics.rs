//! Named numbers that a trainer reports, and which of them ranks jobs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most metrics that one report may have.
pub const MOST_METRICS: usize = 256;

/// A metric that any trainer on a GPU may report: the most memory of the GPU that it had at once in an epoch, in bytes.
pub const GPU_PEAK_MEMORY: &str = "gpu_peak_reserved_bytes";

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
pub struct Metrics {
    /// By name. A list, because a map takes ten times the memory for one metric, and a sweep may have many jobs.
    sorted: Vec<(String, f64)>,
}

impl Metrics {
    /// The metrics with these names.
    ///
    /// # Errors
    /// When a name is not plain, or there are too many.
    pub fn of(metrics: impl IntoIterator<Item = (impl Into<String>, f64)>) -> Result<Self, MetricError> {
        let metrics = Self::sorted(metrics.into_iter().map(|(name, value)| (name.into(), value)).collect());
        metrics.check()?;
        Ok(metrics)
    }

    fn sorted(metrics: BTreeMap<String, f64>) -> Self {
        Self { sorted: metrics.into_iter().collect() }
    }

    /// The place of a metric, or where it belongs.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.sorted.binary_search_by(|(known, _)| known.as_str().cmp(name))
    }

    /// Sets a metric whose name is known to be plain, such as one of a trainer's own.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        debug_assert!(is_plain(name), "{name}");
        match self.place(name) {
            Ok(known) => self.sorted[known].1 = value,
            Err(place) => self.sorted.insert(place, (name.to_owned(), value)),
        }
        self
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.place(name).ok().map(|place| self.sorted[place].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.sorted.iter().map(|(name, value)| (name.as_str(), *value))
    }

    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Checks metrics that came in a message: their names reach displays and files.
    ///
    /// # Errors
    /// When a name is not plain, or there are too many.
    pub fn check(&self) -> Result<(), MetricError> {
        if self.sorted.len() > MOST_METRICS {
            return Err(MetricError::TooMany(self.sorted.len()));
        }
        match self.sorted.iter().map(|(name, _)| name).find(|name| !is_plain(name)) {
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
        let finite = self.iter().map(|(name, value)| (name, Some(value).filter(|value| value.is_finite())));
        serializer.collect_map(finite)
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
        Ok(Self::sorted(stored.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect()))
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
    fn names_are_in_order_and_set_once() {
        let metrics = Metrics::default().with("c", 1.0).with("a", 2.0).with("b", 3.0).with("c", 4.0);
        assert_eq!(metrics.iter().collect::<Vec<_>>(), [("a", 2.0), ("b", 3.0), ("c", 4.0)]);
        assert_eq!(Metrics::of([("c", 4.0), ("b", 0.0), ("a", 2.0), ("b", 3.0)]), Ok(metrics.clone()));
        assert_eq!((metrics.get("b"), metrics.get("d")), (Some(3.0), None));
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
