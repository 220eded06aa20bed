//! The errors that a sweep waits out before it begins: those that pass by themselves, or that somebody can fix.

use std::time::Duration;

use shared::bus::BusError;
use shared::retry::Backoff;
use tokio::time::Instant;

/// A server that accepts no connection for this long is not coming back, or its address is wrong.
const UNREACHABLE: Duration = Duration::from_secs(20);
const BACKOFF: Backoff = Backoff::every(Duration::from_secs(2));

/// Does `work` until it succeeds or fails for good. If the server answers but cannot do it, for instance because its
/// disk is full, this waits without limit; if the server cannot be reached, for [`UNREACHABLE`]. `tell` is called once
/// for each reason. Work that failed may have been done in part, so it must be harmless to do it twice.
pub(super) async fn wait_out<T>(
    mut tell: impl FnMut(&str),
    mut work: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    let passes = |error: &anyhow::Error| match error.downcast_ref::<BusError>() {
        Some(BusError::Connect { .. }) => begun.elapsed() < UNREACHABLE,
        Some(error) => error.is_transient(),
        None => false,
    };
    let mut tries = BACKOFF.endless().begin();
    loop {
        match work().await {
            Ok(value) => return Ok(value),
            Err(error) => {
                tries.again(error, passes, |error| tell(&format!("{error:#}; trying again"))).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome of work that fails with these errors one after the other, and what was told.
    async fn tried(errors: Vec<BusError>) -> (anyhow::Result<usize>, Vec<String>) {
        let mut told = Vec::new();
        let (mut errors, mut tries) = (errors.into_iter(), 0);
        let outcome = wait_out(
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
    async fn errors_that_pass_are_waited_out_and_told_once() {
        let (outcome, told) = tried((0..100).map(|_| stalled()).collect()).await;
        assert_eq!(outcome.unwrap(), 101);
        assert_eq!(told, ["the server does not send the bytes of blob x; trying again"]);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_that_stay_end_it_and_so_does_an_unreachable_server() {
        let (outcome, told) = tried(vec![BusError::Missing { what: "x".into() }]).await;
        assert!(outcome.is_err() && told.is_empty());
        let away = || BusError::Connect { url: "nats://head".into(), source: "nobody".into() };
        let (outcome, told) = tried((0..5).map(|_| away()).collect()).await;
        assert_eq!((outcome.unwrap(), told.len()), (6, 1));
        assert!(tried((0..100).map(|_| away()).collect()).await.0.is_err());
    }
}
