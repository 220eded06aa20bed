//! When a worker to which the queue hands out nothing looks for jobs that come last, and for how long a drained one rests.
//! Pure.

use std::time::Duration;

use tokio::time::Instant;

/// For so long the queue must hand out nothing. A message that is there comes sooner, also from far away.
const QUIET: Duration = Duration::from_millis(300);
/// How long to wait if nothing was found, and how long a drained worker asks for no jobs.
const AGAIN: Duration = Duration::from_secs(3);

/// What came of something that was considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// A job that the queue has handed out, or one that comes before it, was taken.
    Taken,
    /// The queue has handed out a job that was not taken.
    Passed,
    /// A job that comes last was taken.
    Last,
    /// There is none that may be taken.
    Nothing,
    /// This worker is drained, so a delivery went back.
    Drained,
}

/// The quiet between jobs.
#[derive(Debug)]
pub(super) struct Lull {
    quiet: Instant,
    again: Instant,
    rests: Instant,
    /// The last look has found a job, so that there may be more.
    has_found: bool,
}

impl Lull {
    pub(super) fn begin(now: Instant) -> Self {
        Self { quiet: now + QUIET, again: now, rests: now, has_found: false }
    }

    /// Something that was considered has come to its end. A worker that has one job at a time did not ask the queue for
    /// another one meanwhile.
    pub(super) fn ended(&mut self, came: Came, is_brisk: bool, now: Instant) {
        match came {
            Came::Taken => self.quiet = now + QUIET,
            Came::Passed => {}
            Came::Last => {
                (self.has_found, self.again) = (true, now);
                if !is_brisk {
                    self.quiet = now + QUIET;
                }
            }
            Came::Nothing => (self.has_found, self.again) = (false, now + AGAIN),
            Came::Drained => self.rests = now + AGAIN,
        }
    }

    /// When to ask the queue for the next job.
    pub(super) fn asks_at(&self) -> Instant {
        self.rests
    }

    /// When to look for a job that comes last, while `held` jobs have not ended; `None` if not before one of them has.
    pub(super) fn looks_at(&self, held: usize) -> Option<Instant> {
        (held == 0 || self.has_found).then(|| self.quiet.max(self.again).max(self.rests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_last_is_looked_for_when_the_queue_is_quiet() {
        let start = Instant::now();
        let mut lull = Lull::begin(start);
        assert_eq!((lull.looks_at(0), lull.looks_at(1)), (Some(start + QUIET), None));
        lull.ended(Came::Taken, true, start + AGAIN);
        lull.ended(Came::Passed, true, start + 2 * AGAIN);
        assert_eq!(lull.looks_at(0), Some(start + AGAIN + QUIET), "what others must train does not count");
        lull.ended(Came::Nothing, false, start + AGAIN + QUIET);
        assert_eq!(lull.looks_at(0), Some(start + AGAIN + QUIET + AGAIN));
        lull.ended(Came::Last, false, start + 3 * AGAIN);
        assert_eq!(lull.looks_at(1), Some(start + 3 * AGAIN + QUIET), "the queue may have a job by now");
        lull.ended(Came::Last, true, start + 4 * AGAIN);
        assert_eq!(lull.looks_at(1), Some(start + 4 * AGAIN), "it was asked all the time");
    }

    #[test]
    fn a_drained_worker_rests_and_asks_again() {
        let start = Instant::now();
        let mut lull = Lull::begin(start);
        assert_eq!(lull.asks_at(), start);
        lull.ended(Came::Drained, true, start);
        assert_eq!((lull.asks_at(), lull.looks_at(0)), (start + AGAIN, Some(start + AGAIN)));
    }
}
