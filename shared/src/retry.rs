//! Retries: the one policy for work that may fail for a while.
//!
//! Not `backon` or a similar crate: much of the work borrows what it changes, which their closures cannot. Pauses have
//! no jitter and use tokio's clock, so that a simulation with a paused clock repeats exactly.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The pauses between tries: each is twice as long as the one before, up to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

/// A backoff with a limit on tries or time. At the limit the last error is returned.
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

    /// No limit on tries or time.
    pub const fn endless(self) -> Retry {
        Retry { backoff: self, tries: None, time: None }
    }

    /// Does `work` until it succeeds, whatever its errors. `tell` is called with each error, except when it repeats the
    /// one before.
    pub async fn until_done<T, E: Display, F: Future<Output = Result<T, E>>>(
        self,
        mut work: impl FnMut() -> F,
        mut tell: impl FnMut(&E),
    ) -> T {
        let mut tries = self.endless().begin();
        loop {
            match work().await {
                Ok(value) => return value,
                Err(error) => tries.pause(&error, &mut tell).await,
            }
        }
    }
}

impl Retry {
    /// Does `work` until it succeeds, fails with an error for which `passes` is false, or reaches the limit. Work that
    /// failed may have been done in part or in full. `tell` is called with each error that is followed by another try,
    /// except when it repeats the one before. To stop early, drop the future.
    ///
    /// # Errors
    /// The first error for which `passes` is false, or the last one before the limit.
    pub async fn run<T, E: Display, F: Future<Output = Result<T, E>>>(
        self,
        mut work: impl FnMut() -> F,
        mut passes: impl FnMut(&E) -> bool,
        mut tell: impl FnMut(&E),
    ) -> Result<T, E> {
        let mut tries = self.begin();
        loop {
            match work().await {
                Ok(value) => return Ok(value),
                Err(error) => tries.again(error, &mut passes, &mut tell).await?,
            }
        }
    }

    /// The same as [`Self::run`] step by step, for work that borrows what it changes.
    pub fn begin(self) -> Tries {
        let Self { backoff, tries, time } = self;
        Tries {
            next: backoff.first,
            longest: backoff.longest,
            left: tries,
            time,
            begun: Instant::now(),
            told: String::new(),
        }
    }
}

/// Tries that have begun.
#[derive(Debug)]
pub struct Tries {
    /// The next pause.
    next: Duration,
    longest: Duration,
    /// Tries that are left, including the current one.
    left: Option<u32>,
    time: Option<Duration>,
    begun: Instant,
    /// The last error that was told.
    told: String,
}

impl Tries {
    /// Waits for the next try after `error`.
    ///
    /// # Errors
    /// `error` itself, when `passes` is false for it or the limit is reached.
    pub async fn again<E: Display>(
        &mut self,
        error: E,
        passes: impl FnOnce(&E) -> bool,
        tell: impl FnOnce(&E),
    ) -> Result<(), E> {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        let late = self.time.is_some_and(|time| self.begun.elapsed() + self.next > time);
        if late || self.left == Some(0) || !passes(&error) {
            return Err(error);
        }
        self.pause(&error, tell).await;
        Ok(())
    }

    async fn pause<E: Display>(&mut self, error: &E, tell: impl FnOnce(&E)) {
        let reason = format!("{error:#}"); // With its causes, where the error is an `anyhow::Error`.
        if reason != self.told {
            tell(error);
            self.told = reason;
        }
        sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Fails with each of `errors` in turn, then gives the number of tries.
    async fn run(retry: Retry, errors: &[&'static str]) -> (Result<usize, &'static str>, Vec<&'static str>) {
        let (mut tries, mut told) = (0, Vec::new());
        let work = || {
            tries += 1;
            std::future::ready(errors.get(tries - 1).map_or(Ok(tries), |&error| Err(error)))
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
        let work = || {
            left -= 1;
            std::future::ready(if left > 0 { Err("away") } else { Ok("done") })
        };
        assert_eq!(backoff.until_done(work, |_| ()).await, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn work_may_borrow_what_it_changes() {
        async fn work(done: &mut Vec<u32>) -> Result<usize, &'static str> {
            tokio::task::yield_now().await;
            done.push(0);
            if done.len() < 3 { Err("not yet") } else { Ok(done.len()) }
        }
        let (mut done, mut tries) = (Vec::new(), Backoff::every(SECOND).tries(3).begin());
        let outcome = loop {
            match work(&mut done).await {
                Ok(value) => break Ok(value),
                Err(error) => match tries.again(error, |_| true, |_| ()).await {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
            }
        };
        assert_eq!(outcome, Ok(3));
    }
}
