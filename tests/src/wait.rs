//! Waiting for something to become true, with a limit.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer; an error that names `what` when there is none within `limit`.
pub fn until<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        anyhow::ensure!(Instant::now() < deadline, "waited {} s for {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
