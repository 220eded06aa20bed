//! Waits for a condition, with a time limit.

use std::time::{Duration, Instant};

/// Calls `ask` until it returns an answer.
///
/// # Errors
///
/// There is no answer within `limit`; the error names `what`.
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
