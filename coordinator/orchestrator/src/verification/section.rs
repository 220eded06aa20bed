//! What a training has left to compare with, and the part of it that is trained again.

use std::collections::BTreeMap;

use shared::books::Checkpoint;
use shared::metrics::{Metrics, Point};
use shared::plural::count;
use shared::predictions::Matrix;

/// What a training has left.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// In order.
    pub reports: Vec<Point>,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// Those that are stored.
    pub checkpoints: Vec<Checkpoint>,
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// How many epochs it had.
    pub epochs: u32,
    pub metrics: Metrics,
    /// By name.
    pub predictions: BTreeMap<String, Matrix>,
}

/// A part of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Where it begins; `None` for the start.
    pub from: Option<Checkpoint>,
    /// The epoch after which it ends.
    pub until: u32,
    /// True if the training itself ended after that epoch.
    pub to_the_end: bool,
}

/// Why no part of a training can be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NothingToCompare {
    #[error("it has not reported an epoch yet")]
    NoReport,
    #[error("neither training has any metric or prediction there")]
    NoNumber,
    #[error(
        "the reports of its first epochs are not kept, and it is trained from the start; to get to its oldest report, say \
         --epochs {oldest}"
    )]
    NotKept { oldest: u32 },
}

impl Evidence {
    /// The part of `epochs` epochs from the newest checkpoint after which there are reports, or from the start if there
    /// is no such checkpoint or `from_start` asks for that. It ends earlier where the reports end.
    ///
    /// # Errors
    /// When there is nothing in it to compare.
    pub fn section(&self, epochs: u32, from_start: bool) -> Result<Section, NothingToCompare> {
        let newest = self.reports.last().map(Point::place);
        let before_a_report = |checkpoint: &&Checkpoint| newest.is_some_and(|last| checkpoint.place() < last);
        let usable = self.checkpoints.iter().filter(|_| !from_start).filter(before_a_report);
        let from = usable.max_by_key(|checkpoint| checkpoint.place()).cloned();
        let last = self.outcome.as_ref().map_or(newest.map_or(0, |(epoch, _)| epoch), |end| end.epochs);
        let until = from.as_ref().map_or(0, |from| from.epoch).saturating_add(epochs).min(last);
        let section = Section { from, until, to_the_end: self.outcome.is_some() && until == last };
        if section.to_the_end || self.reports.iter().any(|report| section.has(report)) {
            return Ok(section);
        }
        match self.reports.first() {
            Some(first) => Err(NothingToCompare::NotKept { oldest: first.epoch }),
            None => Err(NothingToCompare::NoReport),
        }
    }
}

impl Section {
    /// Whether a report lies in it.
    pub fn has(&self, report: &Point) -> bool {
        let begin = self.from.as_ref().map_or((0, 0), Checkpoint::place);
        begin < report.place() && report.place() <= (self.until, 0)
    }
}

impl std::fmt::Display for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.from {
            Some(from) => write!(f, "from the checkpoint after {from} to epoch {}", self.until),
            None => write!(f, "from the start, {}", count(self.until as usize, "epoch")),
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::blob::BlobRef;

    use super::*;

    fn checkpoint(epoch: u32, step: u32) -> Checkpoint {
        let blob = BlobRef { name: "c".into(), sha256: String::new(), size: 1 };
        Checkpoint { epoch, step, blob, origin: None }
    }

    fn reports(epochs: std::ops::RangeInclusive<u32>) -> Vec<Point> {
        epochs.map(|epoch| Point { epoch, step: 0, seconds: 1.0, metrics: Metrics::default() }).collect()
    }

    fn ended(epochs: u32) -> Outcome {
        Outcome { epochs, ..Outcome::default() }
    }

    #[track_caller]
    fn check(evidence: &Evidence, epochs: u32, from: Option<(u32, u32)>, until: u32, to_the_end: bool) {
        let section = evidence.section(epochs, false).unwrap();
        let place = section.from.as_ref().map(Checkpoint::place);
        assert_eq!((place, section.until, section.to_the_end), (from, until, to_the_end));
    }

    #[test]
    fn a_finished_job_is_trained_from_the_start() {
        let checkpoints = vec![checkpoint(4, 0)];
        let done = Evidence { reports: reports(1..=4), outcome: Some(ended(4)), checkpoints };
        check(&done, 1, None, 1, false);
        check(&done, 4, None, 4, true);
        check(&done, 99, None, 4, true);
        check(&Evidence { outcome: Some(ended(0)), ..Evidence::default() }, 1, None, 0, true);
    }

    #[test]
    fn a_job_with_a_checkpoint_before_its_last_report_goes_on_from_there() {
        let checkpoints = vec![checkpoint(3, 20), checkpoint(4, 0)];
        let open = Evidence { reports: reports(1..=4), outcome: None, checkpoints };
        check(&open, 1, Some((3, 20)), 4, false);
        check(&open, 9, Some((3, 20)), 4, false);
        let section = open.section(1, true).unwrap();
        assert_eq!((section.from, section.until), (None, 1));
        // It ended early, after four of more epochs.
        check(&Evidence { outcome: Some(ended(4)), ..open }, 1, Some((3, 20)), 4, true);
    }

    #[test]
    fn reports_up_to_the_checkpoint_are_not_compared() {
        let checkpoints = vec![checkpoint(2, 0), checkpoint(3, 0)];
        let open = Evidence { reports: reports(1..=3), outcome: None, checkpoints };
        let section = open.section(1, false).unwrap();
        let compared = open.reports.iter().filter(|report| section.has(report));
        assert_eq!(compared.map(|report| report.epoch).collect::<Vec<_>>(), [3]);
        assert_eq!(section.to_string(), "from the checkpoint after epoch 2 to epoch 3");
    }

    #[test]
    fn without_anything_to_compare_nothing_is_trained() {
        assert_eq!(Evidence::default().section(1, false), Err(NothingToCompare::NoReport));
        let late = Evidence { reports: reports(7..=9), ..Evidence::default() };
        assert_eq!(late.section(1, false), Err(NothingToCompare::NotKept { oldest: 7 }));
        assert_eq!(late.section(7, false).map(|section| section.until), Ok(7));
    }
}
