//! Growing pauses between tries.

use std::time::Duration;

/// 50 ms at first, doubling up to 2 s.
pub(super) struct Pause {
    next: Duration,
}

impl Pause {
    pub(super) fn new() -> Self {
        Self { next: Duration::from_millis(50) }
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(Duration::from_secs(2));
    }
}
