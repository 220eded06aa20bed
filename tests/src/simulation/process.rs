//! A simulated process: it runs, is suspended, or is gone.

use std::pin::pin;
use std::sync::Arc;

use memory_server::{Flag, Link};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Runs,
    Frozen,
    Gone,
}

/// A process and its connection. Clones are the same process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    life: Arc<Flag<Life>>,
    pub(super) link: Link,
}

impl Process {
    pub(super) fn new(link: Link) -> Self {
        Self { life: Arc::new(Flag::new(Life::Runs)), link }
    }

    /// `kill -9`.
    pub(super) fn kill(&self) {
        self.life.change(|life| *life = Life::Gone);
        self.link.kill();
    }

    pub(super) fn freeze(&self) {
        if self.life.get() == Life::Runs {
            self.life.change(|life| *life = Life::Frozen);
            self.link.freeze();
        }
    }

    pub(super) fn thaw(&self) {
        if self.life.get() == Life::Frozen {
            self.life.change(|life| *life = Life::Runs);
            self.link.thaw();
        }
    }

    /// Runs `work` in this process; `None` if the process is killed first. A suspended process does nothing, and all its
    /// timers have expired when it is resumed.
    pub(super) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            match self.life.get() {
                Life::Gone => return None,
                Life::Frozen => self.life.wait_for(|life| life != Life::Frozen).await,
                Life::Runs => tokio::select! {
                    biased;
                    () = self.life.wait_for(|life| life != Life::Runs) => {}
                    outcome = &mut work => return Some(outcome),
                },
            }
        }
    }
}
