//! One life of a simulated process: it runs, stands still, or is gone.

use std::pin::pin;
use std::sync::Arc;

use shared::bus::memory::Wire;
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Runs,
    Frozen,
    Gone,
}

/// A process and its connection. Clones are the same process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    life: Arc<watch::Sender<Life>>,
    pub(super) wire: Wire,
}

impl Process {
    pub(super) fn new(wire: Wire) -> Self {
        Self { life: Arc::new(watch::Sender::new(Life::Runs)), wire }
    }

    /// `kill -9`.
    pub(super) fn kill(&self) {
        self.life.send_replace(Life::Gone);
        self.wire.kill();
    }

    pub(super) fn freeze(&self) {
        if *self.life.borrow() == Life::Runs {
            self.life.send_replace(Life::Frozen);
            self.wire.freeze();
        }
    }

    pub(super) fn thaw(&self) {
        if *self.life.borrow() == Life::Frozen {
            self.life.send_replace(Life::Runs);
            self.wire.thaw();
        }
    }

    /// Runs `work` in this process; `None` when the process is killed before its end. A frozen process does nothing,
    /// and finds all its timers run out when it is thawed.
    pub(super) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut life = self.life.subscribe();
        loop {
            let now = *life.borrow_and_update();
            match now {
                Life::Gone => return None,
                Life::Frozen => drop(life.changed().await),
                Life::Runs => tokio::select! {
                    biased;
                    _ = life.changed() => {}
                    outcome = &mut work => return Some(outcome),
                },
            }
        }
    }
}
