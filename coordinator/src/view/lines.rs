//! A run as lines: for logs and pipes (words) and for scripts (JSON).

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use shared::ids::JobId;

use super::labels::Labels;
use super::model::{Snapshot, clock, headline};
use crate::engine::Notice;

/// Time between two progress lines when nothing else happens.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// One line of words per event, on standard error.
#[derive(Debug)]
pub struct Lines {
    labels: Labels,
    last_progress: Duration,
    ended: usize,
}

impl Lines {
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels, last_progress: Duration::ZERO, ended: 0 }
    }

    pub(super) fn notice(&mut self, notice: &Notice, snapshot: &Snapshot) {
        let text = words(notice, &self.labels);
        say(&format!("{:>7}  {text}", clock(snapshot.elapsed)));
    }

    #[expect(clippy::unused_self, reason = "the three views have one shape")]
    pub(super) fn remark(&mut self, text: &str) {
        say(text);
    }

    /// A progress line when a job has ended, and now and then.
    pub(super) fn refresh(&mut self, snapshot: &Snapshot) {
        let ended = snapshot.tally.done + snapshot.tally.failed;
        if ended != self.ended || snapshot.elapsed >= self.last_progress + PROGRESS_EVERY {
            (self.ended, self.last_progress) = (ended, snapshot.elapsed);
            say(&headline(snapshot));
        }
    }
}

/// One JSON object per event, on standard output.
#[derive(Debug)]
pub struct JsonLines {
    labels: Labels,
}

impl JsonLines {
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels }
    }

    pub(super) fn notice(&mut self, notice: &Notice) {
        let Ok(Value::Object(mut line)) = serde_json::to_value(notice) else { return };
        line.insert("label".to_owned(), Value::String(self.labels.get(job_of(notice))));
        emit(&Value::Object(line));
    }

    #[expect(clippy::unused_self, reason = "the three views have one shape")]
    pub(super) fn remark(&mut self, text: &str) {
        emit(&json!({ "event": "remark", "text": text }));
    }

    #[expect(clippy::unused_self, reason = "the three views have one shape")]
    pub(super) fn refresh(&mut self, snapshot: &Snapshot) {
        let tally = snapshot.tally;
        emit(&json!({
            "event": "progress",
            "pending": tally.pending,
            "running": tally.running,
            "done": tally.done,
            "failed": tally.failed,
            "elapsed_seconds": snapshot.elapsed.as_secs(),
            "eta_seconds": snapshot.eta.map(|eta| eta.as_secs()),
        }));
    }
}

/// A notice in words.
pub(super) fn words(notice: &Notice, labels: &Labels) -> String {
    let label = labels.get(job_of(notice));
    match notice {
        Notice::Started { worker, epoch: 0, .. } => format!("{label}: started on {}", worker.name()),
        Notice::Started { worker, epoch, .. } => {
            format!("{label}: goes on after epoch {epoch} on {}", worker.name())
        }
        Notice::TakenOver { worker, from, epoch, .. } => {
            format!(
                "{label}: taken over by {} after epoch {epoch}, {} fell silent",
                worker.name(),
                from.name()
            )
        }
        Notice::Epoch { epoch, macro_f1, .. } => format!("{label}: epoch {epoch}, F1 {macro_f1:.1}"),
        Notice::GivenBack { .. } => format!("{label}: given back"),
        Notice::Failed { error, .. } => format!("{label}: failed and will be tried again: {error}"),
        Notice::GivenUp { reason, .. } => format!("{label}: FAILED: {reason}"),
        Notice::Done { worker, .. } => format!("{label}: done on {}", worker.name()),
        Notice::Note { note, .. } => format!("{label}: {note}"),
    }
}

fn job_of(notice: &Notice) -> JobId {
    match notice {
        Notice::Started { job, .. }
        | Notice::TakenOver { job, .. }
        | Notice::Epoch { job, .. }
        | Notice::GivenBack { job }
        | Notice::Failed { job, .. }
        | Notice::GivenUp { job, .. }
        | Notice::Done { job, .. }
        | Notice::Note { job, .. } => *job,
    }
}

/// A reader that went away (a closed pipe) is no reason to stop training.
fn say(line: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{line}");
}

fn emit(line: &Value) {
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}
