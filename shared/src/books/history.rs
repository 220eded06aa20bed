//! What a training has told so far. A job's record keeps it until the job is done: then the result has it. Pure.

use serde::{Deserialize, Serialize};

use super::{JobRecord, LOG_TAIL};
use crate::ids::Attempt;
use crate::log::shortened;
use crate::metrics::Point;

/// The most reports that a record keeps; the oldest are dropped. A record is written with every heartbeat.
pub const MOST_REPORTS: usize = 1000;

/// The most metrics that the reports of a record have together.
const MOST_VALUES: usize = 8192;

/// The reports of a training, and the end of its log.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// How many reports were dropped because there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u32,
    /// Oldest first.
    pub reports: Vec<Reported>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogTail>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One report, and the attempt that made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    pub attempt: Attempt,
    pub point: Point,
}

/// The last lines that an attempt logged, at most [`LOG_TAIL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTail {
    pub attempt: Attempt,
    /// How many lines the attempt logged before these.
    pub before: u64,
    pub lines: Vec<String>,
}

impl History {
    /// All that an attempt has reported, however much it is.
    pub fn of(attempt: Attempt, reports: Vec<Point>) -> Self {
        let reports = reports.into_iter().map(|point| Reported { attempt, point }).collect();
        Self { reports, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what an attempt has reported up to a checkpoint at `end`. Reports from there on are of an earlier attempt,
    /// whose checkpoints were lost, and are dropped.
    fn add(&mut self, attempt: Attempt, reports: Vec<Point>, end: (u32, u32)) {
        let first = reports.first().map(Point::place);
        self.reports
            .retain(|old| old.point.place() <= end && first.is_none_or(|first| old.point.place() < first));
        self.reports.extend(reports.into_iter().map(|point| Reported { attempt, point }));
        let mut values: usize = self.reports.iter().map(|reported| reported.point.metrics.len()).sum();
        let mut surplus = 0;
        while self.reports.len() - surplus > MOST_REPORTS || values > MOST_VALUES {
            values -= self.reports[surplus].point.metrics.len();
            surplus += 1;
        }
        self.reports.drain(..surplus);
        self.dropped = self.dropped.saturating_add(u32::try_from(surplus).unwrap_or(u32::MAX));
    }
}

impl LogTail {
    /// The last of these lines. `before` lines were logged before all of them.
    pub fn of(attempt: Attempt, before: u64, lines: &[String]) -> Self {
        let surplus = lines.len().saturating_sub(LOG_TAIL);
        let lines = lines[surplus..].iter().map(|line| shortened(line)).collect();
        Self { attempt, before: before.saturating_add(surplus as u64), lines }
    }
}

impl JobRecord {
    /// With what the holder has reported up to the newest checkpoint.
    #[must_use]
    pub fn reported(mut self, attempt: Attempt, reports: Vec<Point>) -> Self {
        if let Some(end) = self.checkpoints.last().map(super::Checkpoint::place) {
            self.history.add(attempt, reports, end);
        }
        self
    }

    /// With the end of the holder's log.
    #[must_use]
    pub fn logged(mut self, log: Option<LogTail>) -> Self {
        if log.is_some() {
            self.history.log = log;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LONGEST_LINE;
    use crate::metrics::Metrics;

    fn point(epoch: u32) -> Point {
        let metrics = Metrics::default().with("score", f64::from(epoch));
        Point { epoch, step: 0, seconds: 1.0, metrics }
    }

    fn told(history: &History) -> Vec<(u32, u32)> {
        history.reports.iter().map(|reported| (reported.attempt.0, reported.point.epoch)).collect()
    }

    #[test]
    fn reports_of_lost_checkpoints_make_room_for_those_of_the_next_attempt() {
        let mut history = History::default();
        for epoch in 1..=5 {
            history.add(Attempt(1), vec![point(epoch)], (epoch, 0));
        }
        history.add(Attempt(2), Vec::new(), (3, 20));
        assert_eq!(told(&history), [(1, 1), (1, 2), (1, 3)], "it goes on within epoch 4");
        history.add(Attempt(2), vec![point(4), point(5)], (5, 0));
        assert_eq!(told(&history), [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5)]);
        history.add(Attempt(3), vec![point(3)], (3, 0));
        assert_eq!(told(&history), [(1, 1), (1, 2), (3, 3)]);
    }

    /// docs/events.md gives this size.
    #[test]
    fn a_hundred_reports_of_ten_metrics_take_at_most_50_kb() {
        let mut history = History::default();
        for epoch in 1..=100 {
            let value = |n: u32| 1.0 / f64::from(3 + epoch * n);
            let metrics = (0..10).fold(Metrics::default(), |metrics, n| {
                metrics.with(&format!("validation_metric_{n}"), value(n))
            });
            history.add(Attempt(1), vec![Point { metrics, ..point(epoch) }], (epoch, 0));
        }
        let size = serde_json::to_string(&history).unwrap().len();
        assert!((40_000..=50_000).contains(&size), "{size}");
    }

    #[test]
    fn a_record_stays_small() {
        let mut history = History::default();
        let many = (0..200).fold(Metrics::default(), |metrics, n| metrics.with(&format!("m{n}"), 0.0));
        for epoch in 1..=100 {
            history.add(Attempt(1), vec![Point { metrics: many.clone(), ..point(epoch) }], (epoch, 0));
        }
        assert_eq!((history.reports.len(), history.dropped), (40, 60));
        assert_eq!(history.reports[39].point.epoch, 100);
        let long = vec!["x".repeat(10_000); LOG_TAIL + 3];
        let tail = LogTail::of(Attempt(1), 7, &long);
        assert_eq!((tail.before, tail.lines.len(), tail.lines[0].len()), (10, LOG_TAIL, LONGEST_LINE));
    }
}
