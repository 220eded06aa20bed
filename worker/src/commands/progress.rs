//! The progress of long steps, as plain lines on standard error.

use std::time::{Duration, Instant};

use shared::stdio;

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(2);

/// Reports the progress of one step after another. Steps that take less than [`EVERY`] print nothing.
#[derive(Debug)]
pub(super) struct Progress {
    what: String,
    started: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { what: String::new(), started: Instant::now(), told: Instant::now() }
    }

    /// Reports that `done` of `total` images of the step `what` are finished.
    pub(super) fn show(&mut self, what: &str, done: usize, total: usize) {
        let now = Instant::now();
        if self.what != what {
            *self = Self { what: what.to_owned(), started: now, told: now };
        }
        if now - self.told >= EVERY {
            self.told = now;
            let rate = done as f64 / (now - self.started).as_secs_f64();
            let left = total.saturating_sub(done) as f64 / rate;
            stdio::remark(&format!("{what}: {done}/{total} images, {rate:.0} per second, {left:.0} s left"));
        }
    }
}
