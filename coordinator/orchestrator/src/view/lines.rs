//! A run as lines: text for logs and pipes, JSON for scripts.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use shared::books::incidents_in_words;
use shared::protocol::ScoredEnsemble;
use shared::terminal::plain;

use super::console;
use super::ensembles::standing;
use super::labels::Labels;
use super::layout::fit;
use super::model::{Snapshot, clock, headline};
use crate::engine::Tally;
use crate::events::{EventKind, SweepEvent};

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

    pub(super) fn event(&self, event: &SweepEvent, snapshot: &Snapshot) {
        if let Some(words) = words(&event.kind, &self.labels) {
            say(&format!("{:>7}  {words}", clock(snapshot.elapsed)));
        }
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

    pub(super) fn event(&self, event: &SweepEvent) {
        emit(&json_line(event, &self.labels));
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
            "eta_seconds": snapshot.left.map(|left| left.likely as u64),
            "eta_low_seconds": snapshot.left.map(|left| left.low as u64),
            "eta_high_seconds": snapshot.left.map(|left| left.high.ceil() as u64),
        }));
    }
}

/// An event as one JSON object, with the label of its job.
pub fn json_line(event: &SweepEvent, labels: &Labels) -> Value {
    let mut line = serde_json::json!(event);
    if let (Some(job), Value::Object(line)) = (event.kind.job(), &mut line) {
        line.insert("label".to_owned(), Value::String(labels.get(job)));
        if matches!(event.kind, EventKind::GivenUp { .. }) {
            line.extend(
                labels.reproduce(job).map(|command| ("reproduce".to_owned(), Value::String(command))),
            );
        }
    }
    line
}

/// An event in words. `None` if only scripts are told.
pub fn words(event: &EventKind, labels: &Labels) -> Option<String> {
    let label = event.job().map(|job| labels.get(job)).unwrap_or_default();
    Some(match event {
        EventKind::Started { worker, epoch: 0, .. } => format!("{label}: started on {}", worker.name()),
        EventKind::Started { worker, epoch, .. } => {
            format!("{label}: continues on {} after epoch {epoch}", worker.name())
        }
        EventKind::TakenOver { worker, from, epoch, .. } => {
            format!(
                "{label}: {} took over from {}, which stopped responding; continues after epoch {epoch}",
                worker.name(),
                from.name()
            )
        }
        EventKind::Reported { step: 1.., .. } | EventKind::Logged { .. } | EventKind::Asked { .. } => {
            return None;
        }
        EventKind::Reported { epoch, score: Some(score), .. } => {
            format!("{label}: epoch {epoch}, {} {score:.1}", labels.score_name())
        }
        EventKind::Reported { epoch, score: None, .. } => format!("{label}: epoch {epoch}"),
        EventKind::GivenBack { .. } => format!("{label}: handed back by its worker"),
        EventKind::Failed { error, .. } => format!("{label}: failed, will be retried: {error}"),
        EventKind::GivenUp { job, reason, log } => {
            let mut lines = vec![format!("{label}: FAILED: {reason}")];
            lines.extend(log.iter().cloned());
            lines.extend(labels.reproduce(*job).map(|command| format!("to see the error here: {command}")));
            lines.join("\n      ")
        }
        EventKind::Deferred { .. } => {
            format!(
                "{label}: returned to the queue because of the server, the network or a disk; this does not count \
                 against the job"
            )
        }
        EventKind::Suspected { worker, incidents } => format!(
            "worker {worker} is suspected, because different jobs failed on it ({}): other workers retry these jobs \
             first",
            incidents_in_words(incidents)
        ),
        EventKind::Drained { worker, reason } => {
            format!("worker {worker} is DRAINED and takes no more jobs: {reason}")
        }
        EventKind::Trusted { worker } => format!("worker {worker} takes jobs again"),
        EventKind::Done { worker, stopped_after: None, .. } => format!("{label}: done on {}", worker.name()),
        EventKind::Done { worker, stopped_after: Some(epochs), .. } => {
            format!("{label}: ended early on {}, after epoch {epochs}", worker.name())
        }
        EventKind::Answered { by, demand, answer, .. } => format!("{by} asked to {demand}: {answer}"),
        // The answer to the request says what was changed.
        EventKind::Planned { .. } => return None,
        EventKind::EnsembleReady { ensemble, jobs } => {
            format!("ensemble `{ensemble}`: all {jobs} jobs that it chooses from are done")
        }
        EventKind::EnsembleScored { ensemble, candidates, waiting, failed, state } => {
            let (name, state) = (ensemble.clone(), state.clone());
            let (candidates, waiting, failed) = (*candidates, *waiting, *failed);
            let stands = ScoredEnsemble { name, candidates, waiting, failed, state };
            format!("ensemble `{ensemble}`: {}", standing(&stands))
        }
        EventKind::Note { note, .. } => format!("{label}: {note}"),
    })
}

fn say(text: &str) {
    console::print(&plain(text));
}

/// Errors are ignored: a closed pipe is no reason to stop training.
fn emit(line: &Value) {
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}
