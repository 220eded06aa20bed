//! What is shown during the run: a bar on a terminal, otherwise lines, or one JSON object per event for scripts.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::cost::{Injection, Target};
use super::fault::Fault;

/// The display of a run.
#[derive(Debug)]
pub struct View {
    json: bool,
    bar: Option<ProgressBar>,
    last_line: Option<Duration>,
}

/// Time between two lines of progress without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

impl View {
    /// With `json`, events go to standard output; otherwise text goes to standard error.
    pub fn new(json: bool) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(bar);
        Self { json, bar, last_line: None }
    }

    /// A new phase begins.
    pub(super) fn phase(&mut self, words: &str) {
        self.last_line = None;
        self.remark(words);
    }

    pub(super) fn remark(&mut self, words: &str) {
        match &self.bar {
            _ if self.json => say(&json!({ "event": "remark", "text": words })),
            Some(bar) => bar.println(words),
            None => eprintln!("{words}"),
        }
    }

    pub(super) fn fault(&mut self, injection: &Injection, fault: Fault) {
        let at = injection.at.as_secs_f64();
        let job = match &injection.target {
            Target::Holder { job, .. } => Some(job),
            Target::Idle | Target::Everyone => None,
        };
        if self.json {
            say(&json!({ "event": "fault", "at": at, "fault": fault, "job": job }));
        } else if self.bar.is_some() {
            let hit = job.map_or_else(String::new, |job| format!(" (job {})", job.short()));
            self.remark(&format!("{at:>6.1} s  {}{hit}", injection.kind.words()));
        }
    }

    /// Jobs pending, running, done, failed; faults so far; time so far.
    pub(super) fn progress(&mut self, tally: [usize; 4], faults: usize, elapsed: Duration) {
        let [pending, running, done, failed] = tally;
        if let Some(bar) = &self.bar {
            bar.set_length((pending + running + done + failed) as u64);
            bar.set_position((done + failed) as u64);
            bar.set_message(format!("{faults} faults"));
            return;
        }
        if self.last_line.is_some_and(|last| elapsed < last + LINE_EVERY) {
            return;
        }
        self.last_line = Some(elapsed);
        let seconds = elapsed.as_secs();
        if self.json {
            say(&json!({
                "event": "progress", "pending": pending, "running": running, "done": done, "failed": failed,
                "faults": faults, "elapsed_seconds": seconds,
            }));
        } else {
            eprintln!(
                "{seconds:>4} s: {done} jobs done, {running} running, {pending} pending; {faults} faults"
            );
        }
    }

    /// Removes the bar.
    pub fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Errors are ignored: the run does not end because its reader is gone.
fn say(event: &serde_json::Value) {
    let _gone = writeln!(std::io::stdout(), "{event}");
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} jobs, {msg}");
    let bar = ProgressBar::new(0);
    // The template is constant. If a later version of the crate refuses it, use the default style.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
