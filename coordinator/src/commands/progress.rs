//! How far a long step is: a bar with rate and remaining time on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows the progress of one counted step on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    unit: &'static str,
    bar: Option<ProgressBar>,
    /// When and at which count this step was first heard of: what an earlier run did is no measure of speed.
    started: Option<(Instant, u64)>,
    tenths_told: u64,
    silence: Duration,
}

impl Progress {
    /// A step that takes image after image; `what` names it, such as "drawing".
    pub(super) fn new(what: &'static str) -> Self {
        Self::counting(what, "images")
    }

    /// A step that counts in some other unit.
    pub(super) fn counting(what: &'static str, unit: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(what, unit));
        Self { what, unit, bar, started: None, tenths_told: 0, silence: Duration::ZERO }
    }

    /// Like [`Self::new`], but where there is no terminal a step that is soon done is not spoken of.
    pub(super) fn quiet_at_first(what: &'static str) -> Self {
        Self { silence: Duration::from_secs(2), ..Self::new(what) }
    }

    /// Shows that `done` of `total` are done.
    pub(super) fn show(&mut self, done: u64, total: u64) {
        let (started, from) = match self.started {
            Some(start) => start,
            None => self.start(done, total),
        };
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                if done == total {
                    bar.finish_and_clear();
                }
            }
            None if started.elapsed() < self.silence => {}
            None => self.tell(done, total, (done - from) as f64 / started.elapsed().as_secs_f64().max(1e-3)),
        }
    }

    /// What is done at the first word counts for neither rate nor lines.
    fn start(&mut self, done: u64, total: u64) -> (Instant, u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.reset_eta();
        }
        self.tenths_told = if done == total { 0 } else { tenths(done, total) };
        *self.started.insert((Instant::now(), done))
    }

    /// A line whenever another tenth is done.
    fn tell(&mut self, done: u64, total: u64, rate: f64) {
        let tenths = tenths(done, total);
        if tenths > self.tenths_told {
            self.tenths_told = tenths;
            let left = (total - done) as f64 / rate.max(1e-3);
            eprintln!("{}: {done}/{total} {}, {rate:.0} per second, {left:.0} s left", self.what, self.unit);
        }
    }
}

fn tenths(done: u64, total: u64) -> u64 {
    (done * 10).checked_div(total).unwrap_or(10)
}

fn bar(what: &'static str, unit: &str) -> ProgressBar {
    let template = format!("{{msg}} {{wide_bar}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template);
    let bar = ProgressBar::new(0).with_message(what);
    // The template is ours; the default style stands in should a later version refuse it.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
