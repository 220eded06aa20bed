//! A run as lines: for logs and pipes (words) and for scripts (JSON).

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use shared::books::charges_in_words;
use shared::ids::JobId;
use shared::terminal::plain;

use super::labels::Labels;
use super::model::{Snapshot, clock, headline};
use crate::engine::Notice;

/// Time between two progress lines when nothing else happens.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// One line of words per event, on standard error.
#[derive(Debug)]
pub struct Lines {
    labels: Labels,
    /// `None` before the first.
    last_progress: Option<Duration>,
    ended: usize,
}

impl Lines {
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels, last_progress: None, ended: 0 }
    }

    pub(super) fn notice(&mut self, notice: &Notice, snapshot: &Snapshot) {
        let text = words(notice, &self.labels);
        say(&format!("{:>7}  {text}", clock(snapshot.elapsed)));
    }

    #[expect(clippy::unused_self, reason = "the three views have one shape")]
    pub(super) fn remark(&mut self, text: &str) {
        say(text);
    }

    /// A progress line at once, when a job has ended, and now and then: workers may take a while to start.
    pub(super) fn refresh(&mut self, snapshot: &Snapshot) {
        let ended = snapshot.tally.done + snapshot.tally.failed;
        let due = self.last_progress.is_none_or(|last| snapshot.elapsed >= last + PROGRESS_EVERY);
        if due || ended != self.ended {
            (self.ended, self.last_progress) = (ended, Some(snapshot.elapsed));
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
        if let Some(job) = job_of(notice) {
            line.insert("label".to_owned(), Value::String(self.labels.get(job)));
        }
        if let Notice::GivenUp { job, .. } = notice {
            line.insert("reproduce".to_owned(), Value::String(self.labels.reproduce(*job)));
        }
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
            "parked": 0, // For scripts of earlier versions, which add it to `failed`.
            "failures": tally.failures,
            "losses": tally.losses,
            "setbacks": tally.setbacks,
            "elapsed_seconds": snapshot.elapsed.as_secs(),
            "eta_seconds": snapshot.eta.map(|eta| eta.as_secs()),
        }));
    }
}

/// A notice in words.
pub(super) fn words(notice: &Notice, labels: &Labels) -> String {
    let label = job_of(notice).map(|job| labels.get(job)).unwrap_or_default();
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
        Notice::GivenUp { job, reason, log } => {
            let mut lines = vec![format!("{label}: FAILED: {reason}")];
            lines.extend(log.iter().cloned());
            lines.push(format!("see it fail here with: {}", labels.reproduce(*job)));
            lines.join("\n      ")
        }
        Notice::SetBack { .. } => {
            format!("{label}: given back because of server, network or disk; that costs it nothing")
        }
        Notice::Suspected { worker, charges } => format!(
            "different jobs failed on {worker} ({}): it waits until others have tried them; where there is no other \
             worker, it goes on",
            charges_in_words(charges)
        ),
        Notice::Drained { worker, reason } => {
            format!("worker {worker} is DRAINED and takes no job any more: {reason}")
        }
        Notice::Done { worker, .. } => format!("{label}: done on {}", worker.name()),
        Notice::Note { note, .. } => format!("{label}: {note}"),
    }
}

/// The job that it is about; some are about a worker.
fn job_of(notice: &Notice) -> Option<JobId> {
    match notice {
        Notice::Suspected { .. } | Notice::Drained { .. } => None,
        Notice::Started { job, .. }
        | Notice::TakenOver { job, .. }
        | Notice::Epoch { job, .. }
        | Notice::GivenBack { job }
        | Notice::Failed { job, .. }
        | Notice::GivenUp { job, .. }
        | Notice::SetBack { job }
        | Notice::Done { job, .. }
        | Notice::Note { job, .. } => Some(*job),
    }
}

/// A reader that went away (a closed pipe) is no reason to stop training.
fn say(line: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{}", plain(line));
}

fn emit(line: &Value) {
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}
