//! Waiting before a sweep begins: nothing that passes by itself, or that somebody mends, ends a run.

use std::time::Duration;

use shared::bus::BusError;
use tokio::time::Instant;

/// A server that does not let anybody in is back after this time, or its address is wrong.
const AWAY: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_secs(2);

/// Does `work` until it succeeds, or fails for a reason that stays. A server that is there and cannot do it, its disk
/// being full for instance, is waited for without end; `tell` hears why, once for each reason. Work may be done in part
/// each time: it must not matter when it is done twice.
pub(super) async fn patiently<T>(
    mut tell: impl FnMut(&str),
    mut work: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    let mut told = String::new();
    loop {
        let error = match work().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some(cause) = error.downcast_ref::<BusError>() else { return Err(error) };
        let away_for_long = matches!(cause, BusError::Connect { .. }) && begun.elapsed() >= AWAY;
        if !cause.is_transient() || away_for_long {
            return Err(error);
        }
        let why = cause.to_string(); // It tells its own causes.
        if why != told {
            tell(&format!("{why}; trying again"));
            told = why;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the work ends when its errors come one after the other, and what was told.
    async fn tried(errors: Vec<BusError>) -> (anyhow::Result<usize>, Vec<String>) {
        let mut told = Vec::new();
        let (mut errors, mut tries) = (errors.into_iter(), 0);
        let outcome = patiently(
            |text| told.push(text.to_owned()),
            async || {
                tries += 1;
                errors.next().map_or(Ok(tries), |error| Err(error.into()))
            },
        );
        (outcome.await, told)
    }

    fn stalled() -> BusError {
        BusError::Stalled { name: "x".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_waited_for_and_told_once() {
        let (outcome, told) = tried((0..100).map(|_| stalled()).collect()).await;
        assert_eq!(outcome.unwrap(), 101);
        assert_eq!(told, ["the bytes of blob x do not come; trying again"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_ends_it_and_so_does_a_server_that_is_not_there() {
        let (outcome, told) = tried(vec![BusError::Missing { what: "x".into() }]).await;
        assert!(outcome.is_err() && told.is_empty());
        let away = || BusError::Connect { url: "nats://head".into(), source: "nobody".into() };
        let (outcome, told) = tried((0..5).map(|_| away()).collect()).await;
        assert_eq!((outcome.unwrap(), told.len()), (6, 1));
        assert!(tried((0..100).map(|_| away()).collect()).await.0.is_err());
    }
}
