//! A run on a terminal: one bar per worker and one for the sweep, redrawn in place.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use shared::ids::WorkerId;
use shared::protocol::LiveReport;
use shared::terminal::plain;

use super::labels::Labels;
use super::lines::words;
use super::model::{Snapshot, headline};
use crate::engine::Notice;

/// The bars.
#[derive(Debug)]
pub struct Live {
    labels: Labels,
    bars: MultiProgress,
    total: ProgressBar,
    workers: BTreeMap<WorkerId, ProgressBar>,
}

impl Live {
    pub(super) fn new(labels: Labels) -> Self {
        let bars = MultiProgress::new();
        let total = bars.add(ProgressBar::new(0).with_style(style("{bar:40.green/dim} {msg}")));
        total.enable_steady_tick(Duration::from_millis(500));
        Self { labels, bars, total, workers: BTreeMap::new() }
    }

    pub(super) fn notice(&mut self, notice: &Notice) {
        match notice {
            // The bars show these.
            Notice::Started { .. } | Notice::Epoch { .. } => {}
            Notice::TakenOver { .. }
            | Notice::GivenBack { .. }
            | Notice::Failed { .. }
            | Notice::GivenUp { .. }
            | Notice::SetBack { .. }
            | Notice::Suspected { .. }
            | Notice::Drained { .. }
            | Notice::Done { .. }
            | Notice::Note { .. } => self.remark(&words(notice, &self.labels)),
        }
    }

    pub(super) fn remark(&mut self, text: &str) {
        self.bars.suspend(|| {
            use std::io::Write;
            let _closed = writeln!(std::io::stderr().lock(), "{}", plain(text));
        });
    }

    pub(super) fn refresh(&mut self, snapshot: &Snapshot) {
        self.total.set_length(snapshot.tally.total() as u64);
        self.total.set_position((snapshot.tally.done + snapshot.tally.failed) as u64);
        self.total.set_message(headline(snapshot));
        self.drop_absent(snapshot);
        let width = self.labels.width();
        for (report, score) in snapshot.live.iter().zip(&snapshot.scores) {
            let bar = self.workers.entry(report.worker.clone()).or_insert_with(|| {
                let bar = ProgressBar::new(1).with_style(style("{prefix:8} {bar:20.cyan/dim} {msg}"));
                self.bars.insert_before(&self.total, bar)
            });
            bar.set_prefix(report.worker.name().to_owned());
            let (position, length) = progress(report);
            bar.set_length(length);
            bar.set_position(position);
            let f1 = score.map_or_else(|| "-".to_owned(), |f1| format!("{f1:.1}"));
            let label = self.labels.get(report.job);
            bar.set_message(format!("{label:width$}  epoch {}/{}  F1 {f1}", report.epoch, report.epochs));
        }
    }

    pub(super) fn close(&mut self) {
        for bar in self.workers.values() {
            bar.finish_and_clear();
        }
        self.total.finish_and_clear();
    }

    fn drop_absent(&mut self, snapshot: &Snapshot) {
        self.workers.retain(|worker, bar| {
            let present = snapshot.live.iter().any(|report| report.worker == *worker);
            if !present {
                bar.finish_and_clear();
            }
            present
        });
    }
}

/// Steps done, of how many. A hint may say anything.
fn progress(report: &LiveReport) -> (u64, u64) {
    let steps = u64::from(report.steps);
    let before = u64::from(report.epoch.saturating_sub(1)) * steps;
    (before + u64::from(report.step), u64::from(report.epochs) * steps.max(1))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━━─")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hint_is_too_large_for_a_bar() {
        let hint = format!(
            r#"{{"worker":"w-1","job":"{}","epoch":{m},"epochs":{m},"step":{m},"steps":{m}}}"#,
            uuid::Uuid::nil(),
            m = u32::MAX
        );
        let (position, length) = progress(&serde_json::from_str(&hint).unwrap());
        assert_eq!(position, length);
    }
}
