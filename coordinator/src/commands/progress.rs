//! How far a long step is: a bar with rate and remaining time on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows the progress of one counted step on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    started: Instant,
    tenths_told: u64,
}

impl Progress {
    /// `what` names the step, such as "drawing".
    pub(super) fn new(what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(what));
        Self { what, bar, started: Instant::now(), tenths_told: 0 }
    }

    /// Shows that `done` of `total` are done.
    pub(super) fn show(&mut self, done: u64, total: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                if done == total {
                    bar.finish_and_clear();
                }
            }
            None => self.tell(done, total),
        }
    }

    /// A line whenever another tenth is done.
    fn tell(&mut self, done: u64, total: u64) {
        let tenths = (done * 10).checked_div(total).unwrap_or(10);
        if tenths > self.tenths_told {
            self.tenths_told = tenths;
            let rate = done as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
            let left = (total - done) as f64 / rate;
            eprintln!("{}: {done}/{total} images, {rate:.0} per second, {left:.0} s left", self.what);
        }
    }
}

fn bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} images, {per_sec}, {eta} left");
    let bar = ProgressBar::new(0).with_message(what);
    // The template is a constant; the default style stands in should a later version refuse it.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
