//! The progress of a long step: a bar with rate and remaining time on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use shared::terminal::wants_colour;

use orchestrator::view::bar;
use orchestrator::view::console;

/// Time between two redraws of the bar.
const REDRAW: Duration = Duration::from_millis(100);

/// Shows the progress of one counted step on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    unit: &'static str,
    is_bar: bool,
    /// When this step was first reported, and at which count. What an earlier run did must not count in the rate.
    started: Option<(Instant, u64)>,
    drawn: Option<Instant>,
    tenths_told: u64,
    silence: Duration,
}

impl Progress {
    /// A step that processes images; `what` names it, such as "drawing faces".
    pub(super) fn new(what: &'static str) -> Self {
        Self::counting(what, "images")
    }

    /// A step that counts in some other unit.
    pub(super) fn counting(what: &'static str, unit: &'static str) -> Self {
        let is_bar = std::io::stderr().is_terminal();
        Self { what, unit, is_bar, started: None, drawn: None, tenths_told: 0, silence: Duration::ZERO }
    }

    /// Like [`Self::new`], but without a terminal a short step prints nothing.
    pub(super) fn quiet_at_first(what: &'static str) -> Self {
        Self { silence: Duration::from_secs(2), ..Self::new(what) }
    }

    /// Shows that `done` of `total` units are done.
    pub(super) fn show(&mut self, done: u64, total: u64) {
        let (started, from) = match self.started {
            Some(start) => start,
            None => self.start(done, total),
        };
        let text = self.words(done, total, done.saturating_sub(from), started.elapsed());
        if self.is_bar {
            self.draw(done, total, text);
        } else if started.elapsed() >= self.silence {
            self.tell(done, total, &text);
        }
    }

    /// What is already done at the first report counts neither in the rate nor for the lines.
    fn start(&mut self, done: u64, total: u64) -> (Instant, u64) {
        self.tenths_told = if done == total { 0 } else { tenths(done, total) };
        *self.started.insert((Instant::now(), done))
    }

    fn draw(&mut self, done: u64, total: u64, text: String) {
        if done == total {
            return console::clear();
        }
        if self.drawn.is_none_or(|at| at.elapsed() >= REDRAW) {
            self.drawn = Some(Instant::now());
            let (what, colour) = (self.what, wants_colour());
            console::show(Box::new(move |size| vec![bar::step(what, &text, done, total, size, colour)]));
        }
    }

    /// Prints a line whenever another tenth is done.
    fn tell(&mut self, done: u64, total: u64, text: &str) {
        let tenths = tenths(done, total);
        if tenths > self.tenths_told {
            self.tenths_told = tenths;
            console::print(&format!("{}: {text}", self.what));
        }
    }

    /// The counts; and the rate and the remaining time, estimated from the `new` units since the start.
    fn words(&self, done: u64, total: u64, new: u64, elapsed: Duration) -> String {
        let mut text = format!("{done}/{total} {}", self.unit);
        if new > 0 {
            let rate = new as f64 / elapsed.as_secs_f64().max(1e-3);
            let left = total.saturating_sub(done) as f64 / rate;
            // Writing to a string cannot fail.
            let _ = write!(text, ", {rate:.0} per second, {left:.0} s left");
        }
        text
    }
}

impl Drop for Progress {
    /// Removes the bar of a step that failed.
    fn drop(&mut self) {
        if self.drawn.is_some() {
            console::clear();
        }
    }
}

fn tenths(done: u64, total: u64) -> u64 {
    (done * 10).checked_div(total).unwrap_or(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 22: "24/24 images, 0 per second".
    #[test]
    fn no_rate_is_claimed_where_none_was_measured() {
        let progress = Progress::new("drawing faces");
        let words = |done, new| progress.words(done, 24, new, Duration::from_millis(500));
        assert_eq!(words(24, 0), "24/24 images");
        assert_eq!(words(12, 6), "12/24 images, 12 per second, 1 s left");
        assert_eq!(words(24, 24), "24/24 images, 48 per second, 0 s left");
    }
}
