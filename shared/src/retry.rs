//! Trying again: the one policy for work that may fail for a while.
//!
//! `backon` and its like take closures whose futures borrow nothing from them, while most work here borrows (a worker,
//! an open file); and which errors pass, and for how long, is Ferry's own business. Pauses have no jitter and come from
//! tokio's clock, so that a simulation with a paused clock repeats exactly.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The pauses between tries: the first, then twice as long each time up to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

/// A backoff with a limit: after so many tries, or so much time, the last error stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    backoff: Backoff,
    tries: Option<u32>,
    time: Option<Duration>,
}

impl Backoff {
    /// The same pause each time.
    pub const fn every(pause: Duration) -> Self {
        Self { first: pause, longest: pause }
    }

    /// Pauses that double from `first` up to `longest`.
    pub const fn growing(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// At most `tries` tries in all.
    pub const fn tries(self, tries: u32) -> Retry {
        Retry { backoff: self, tries: Some(tries), time: None }
    }

    /// No try begins later than `time` after the first one.
    pub const fn within(self, time: Duration) -> Retry {
        Retry { backoff: self, tries: None, time: Some(time) }
    }

    /// For as long as the errors pass by themselves.
    pub const fn endless(self) -> Retry {
        Retry { backoff: self, tries: None, time: None }
    }

    /// Does `work` until it succeeds, whatever its errors: for what must not be given up. `tell` hears each reason once,
    /// and again when it comes back after another one.
    pub async fn until_done<T, E: Display>(
        self,
        mut work: impl AsyncFnMut() -> Result<T, E>,
        tell: impl FnMut(&E),
    ) -> T {
        let (mut pauses, mut reasons) = (Pauses::of(self), Reasons::new(tell));
        loop {
            match work().await {
                Ok(value) => return value,
                Err(error) => reasons.hear(&error),
            }
            pauses.wait().await;
        }
    }
}

impl Retry {
    /// Does `work` until it succeeds, fails with an error that does not pass by itself, or reaches the limit. Work that
    /// failed may have been done in part, or whole. `tell` hears of the errors that are followed by another try: each
    /// reason once, and again when it comes back after another one. To stop early, drop the future.
    ///
    /// # Errors
    /// The first error that does not pass, or the last one before the limit.
    pub async fn run<T, E: Display>(
        self,
        mut work: impl AsyncFnMut() -> Result<T, E>,
        mut passes: impl FnMut(&E) -> bool,
        tell: impl FnMut(&E),
    ) -> Result<T, E> {
        let (mut pauses, mut reasons) = (Pauses::of(self.backoff), Reasons::new(tell));
        let (begun, mut tries) = (Instant::now(), 0);
        loop {
            let error = match work().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            tries += 1;
            let used_up = self.tries.is_some_and(|most| tries >= most)
                || self.time.is_some_and(|time| begun.elapsed() + pauses.next > time);
            if used_up || !passes(&error) {
                return Err(error);
            }
            reasons.hear(&error);
            pauses.wait().await;
        }
    }
}

struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    fn of(Backoff { first, longest }: Backoff) -> Self {
        Self { next: first, longest }
    }

    async fn wait(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
    }
}

/// Passes a reason on when it is not the one that was told last.
struct Reasons<F> {
    told: String,
    tell: F,
}

impl<F> Reasons<F> {
    fn new(tell: F) -> Self {
        Self { told: String::new(), tell }
    }

    fn hear<E: Display>(&mut self, error: &E)
    where
        F: FnMut(&E),
    {
        let reason = format!("{error:#}"); // With its causes, where the error is an `anyhow::Error`.
        if reason != self.told {
            (self.tell)(error);
            self.told = reason;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Fails with each of `errors` in turn, then gives the number of tries.
    async fn run(retry: Retry, errors: &[&'static str]) -> (Result<usize, &'static str>, Vec<&'static str>) {
        let (mut tries, mut told) = (0, Vec::new());
        let work = async || {
            tries += 1;
            errors.get(tries - 1).map_or(Ok(tries), |&error| Err(error))
        };
        let outcome = retry.run(work, |&error| error != "final", |&error| told.push(error)).await;
        (outcome, told)
    }

    #[tokio::test(start_paused = true)]
    async fn errors_that_pass_are_retried_and_each_reason_is_told_once() {
        let (outcome, told) =
            run(Backoff::every(SECOND).endless(), &["away", "away", "full", "full", "away"]).await;
        assert_eq!((outcome, told), (Ok(6), vec!["away", "full", "away"]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_stays_ends_it_untold() {
        let (outcome, told) = run(Backoff::every(SECOND).endless(), &["away", "final", "away"]).await;
        assert_eq!((outcome, told), (Err("final"), vec!["away"]));
    }

    #[tokio::test(start_paused = true)]
    async fn tries_and_time_are_limits() {
        let begun = Instant::now();
        let (outcome, told) = run(Backoff::every(SECOND).tries(3), &["away"; 9]).await;
        assert_eq!((outcome, told, begun.elapsed()), (Err("away"), vec!["away"], 2 * SECOND));
        assert_eq!(run(Backoff::every(SECOND).tries(3), &["away"; 2]).await.0, Ok(3));
        assert_eq!(run(Backoff::every(SECOND).tries(1), &["away"]).await.0, Err("away"));
        let begun = Instant::now();
        assert_eq!(run(Backoff::every(2 * SECOND).within(5 * SECOND), &["away"; 9]).await.0, Err("away"));
        assert_eq!(begun.elapsed(), 4 * SECOND, "a try at six seconds would be too late");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest() {
        let begun = Instant::now();
        let backoff = Backoff::growing(SECOND, 5 * SECOND);
        assert_eq!(run(backoff.endless(), &["away"; 4]).await.0, Ok(5));
        assert_eq!(begun.elapsed(), (1 + 2 + 4 + 5) * SECOND);
        let mut left = 3;
        let work = async || {
            left -= 1;
            if left > 0 { Err("away") } else { Ok("done") }
        };
        assert_eq!(backoff.until_done(work, |_| ()).await, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn work_may_borrow_what_it_changes() {
        let mut done = vec![0];
        let work = async || {
            let last = done.last_mut().ok_or("empty")?;
            *last += 1;
            tokio::task::yield_now().await;
            if *last < 3 { Err("not yet") } else { Ok(()) }
        };
        assert_eq!(Backoff::every(SECOND).endless().run(work, |_| true, |_| ()).await, Ok(()));
        assert_eq!(done, [3]);
    }
}
