//! A simulated process: it runs, is suspended, or is gone.

use std::pin::pin;
use std::sync::Arc;

use memory_server::{Flag, Link};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Frozen,
    Gone,
}

/// A process and its connection. Clones are the same process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    state: Arc<Flag<State>>,
    pub(super) link: Link,
}

impl Process {
    pub(super) fn new(link: Link) -> Self {
        Self { state: Arc::new(Flag::new(State::Running)), link }
    }

    /// `kill -9`.
    pub(super) fn kill(&self) {
        self.state.change(|state| *state = State::Gone);
        self.link.kill();
    }

    pub(super) fn freeze(&self) {
        if self.state.get() == State::Running {
            self.state.change(|state| *state = State::Frozen);
            self.link.freeze();
        }
    }

    pub(super) fn thaw(&self) {
        if self.state.get() == State::Frozen {
            self.state.change(|state| *state = State::Running);
            self.link.thaw();
        }
    }

    /// Runs `work` in this process; `None` if the process is killed first. A suspended process does nothing, and all its
    /// timers have expired when it is resumed.
    pub(super) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            match self.state.get() {
                State::Gone => return None,
                State::Frozen => self.state.wait_for(|state| state != State::Frozen).await,
                State::Running => tokio::select! {
                    biased;
                    () = self.state.wait_for(|state| state != State::Running) => {}
                    outcome = &mut work => return Some(outcome),
                },
            }
        }
    }
}
