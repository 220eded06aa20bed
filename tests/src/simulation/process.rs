//! A simulated process: it runs, is suspended, or has ended.

use std::pin::pin;
use std::sync::Arc;

use memory_server::{Flag, Link};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProcessState {
    Running,
    Suspended,
    Ended,
}

/// A process and its connection. Clones are the same process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    state: Arc<Flag<ProcessState>>,
    pub(super) link: Link,
}

impl Process {
    pub(super) fn new(link: Link) -> Self {
        Self { state: Arc::new(Flag::new(ProcessState::Running)), link }
    }

    /// `kill -9`.
    pub(super) fn kill(&self) {
        self.state.change(|state| *state = ProcessState::Ended);
        self.link.kill();
    }

    pub(super) fn suspend(&self) {
        if self.state.get() == ProcessState::Running {
            self.state.change(|state| *state = ProcessState::Suspended);
            self.link.suspend();
        }
    }

    pub(super) fn resume(&self) {
        if self.state.get() == ProcessState::Suspended {
            self.state.change(|state| *state = ProcessState::Running);
            self.link.resume();
        }
    }

    /// Runs `work` in this process; `None` if the process is killed first. A suspended process does nothing, and all its
    /// timers have expired when it is resumed.
    pub(super) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            match self.state.get() {
                ProcessState::Ended => return None,
                ProcessState::Suspended => {
                    self.state.wait_for(|state| state != ProcessState::Suspended).await;
                }
                ProcessState::Running => tokio::select! {
                    biased;
                    () = self.state.wait_for(|state| state != ProcessState::Running) => {}
                    outcome = &mut work => return Some(outcome),
                },
            }
        }
    }
}
