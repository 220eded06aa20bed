//! A run as lines: text for logs and pipes, JSON for scripts.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use shared::books::incidents_in_words;
use shared::ids::JobId;
use shared::terminal::plain;

use super::console;
use super::labels::Labels;
use super::layout::fit;
use super::model::{Snapshot, clock, headline};
use crate::engine::{Notice, Tally};

/// Time between two progress lines when nothing else happens.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// One line of text per event, on standard error.
#[derive(Debug)]
pub struct Lines {
    pub(super) labels: Labels,
    /// `None` before the first one.
    last_progress: Option<Duration>,
    ended: usize,
}

impl Lines {
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels, last_progress: None, ended: 0 }
    }

    pub(super) fn notice(&self, notice: &Notice, snapshot: &Snapshot) {
        let text = words(notice, &self.labels);
        say(&format!("{:>7}  {text}", clock(snapshot.elapsed)));
    }

    /// A line at the start, whenever a job has ended, and every half minute, because workers may take a while to start.
    pub(super) fn refresh(&mut self, snapshot: &Snapshot) {
        let ended = snapshot.tally.ended();
        let due = self.last_progress.is_none_or(|last| snapshot.elapsed >= last + PROGRESS_EVERY);
        if due || ended != self.ended {
            (self.ended, self.last_progress) = (ended, Some(snapshot.elapsed));
            say(&fit(headline(snapshot), usize::MAX));
        }
    }
}

/// One JSON object per event, on standard output.
#[derive(Debug)]
pub struct JsonLines {
    pub(super) labels: Labels,
    /// The numbers of the last progress event.
    told: Option<Tally>,
}

impl JsonLines {
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels, told: None }
    }

    pub(super) fn notice(&self, notice: &Notice) {
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
    pub(super) fn remark(&self, text: &str) {
        emit(&json!({ "event": "remark", "text": text }));
    }

    /// One event whenever a number has changed.
    pub(super) fn refresh(&mut self, snapshot: &Snapshot) {
        let tally = snapshot.tally;
        if self.told.replace(tally) == Some(tally) {
            return;
        }
        emit(&json!({
            "event": "progress",
            "pending": tally.pending,
            "running": tally.running,
            "done": tally.done,
            "failed": tally.failed,
            "paused": tally.paused,
            "cancelled": tally.cancelled,
            "parked": 0, // For scripts written for earlier versions, which add it to `failed`.
            "failures": tally.failures,
            "losses": tally.losses,
            "setbacks": tally.deferrals,
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
            format!("{label}: continues on {} after epoch {epoch}", worker.name())
        }
        Notice::TakenOver { worker, from, epoch, .. } => {
            format!(
                "{label}: {} took over from {}, which stopped responding; continues after epoch {epoch}",
                worker.name(),
                from.name()
            )
        }
        Notice::Epoch { epoch, score, .. } => {
            format!("{label}: epoch {epoch}, {} {score:.1}", labels.score_name())
        }
        Notice::GivenBack { .. } => format!("{label}: handed back by its worker"),
        Notice::Failed { error, .. } => format!("{label}: failed, will be retried: {error}"),
        Notice::GivenUp { job, reason, log } => {
            let mut lines = vec![format!("{label}: FAILED: {reason}")];
            lines.extend(log.iter().cloned());
            lines.push(format!("to see the error here: {}", labels.reproduce(*job)));
            lines.join("\n      ")
        }
        Notice::Deferred { .. } => {
            format!(
                "{label}: returned to the queue because of the server, the network or a disk; this does not count \
                 against the job"
            )
        }
        Notice::Suspected { worker, incidents } => format!(
            "worker {worker} is suspected, because different jobs failed on it ({}): other workers retry these jobs \
             first",
            incidents_in_words(incidents)
        ),
        Notice::Drained { worker, reason } => {
            format!("worker {worker} is DRAINED and takes no more jobs: {reason}")
        }
        Notice::Done { worker, stopped_after: None, .. } => format!("{label}: done on {}", worker.name()),
        Notice::Done { worker, stopped_after: Some(epochs), .. } => {
            format!("{label}: ended early on {}, after epoch {epochs}", worker.name())
        }
        Notice::Answered { by, demand, answer } => format!("{by} asked to {demand}: {answer}"),
        Notice::Note { note, .. } => format!("{label}: {note}"),
    }
}

/// The job that a notice is about; `None` if it is about a worker.
fn job_of(notice: &Notice) -> Option<JobId> {
    match notice {
        Notice::Suspected { .. } | Notice::Drained { .. } | Notice::Answered { .. } => None,
        Notice::Started { job, .. }
        | Notice::TakenOver { job, .. }
        | Notice::Epoch { job, .. }
        | Notice::GivenBack { job }
        | Notice::Failed { job, .. }
        | Notice::GivenUp { job, .. }
        | Notice::Deferred { job }
        | Notice::Done { job, .. }
        | Notice::Note { job, .. } => Some(*job),
    }
}

fn say(text: &str) {
    console::print(&plain(text));
}

/// Errors are ignored: a closed pipe is no reason to stop training.
fn emit(line: &Value) {
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}
