//! A server in the test's own process that behaves as JetStream was measured to behave, on tokio's clock.
//!
//! It does to a program what a real server and its client do: an acknowledgement counts whoever sends it, requests of a
//! client that is cut off are kept and carried out later, replies get lost after the request was carried out, and what was
//! delivered just before a crash is delivered again. `tests/tests/contract.rs` holds both servers to the same behaviour.
//! All randomness comes from one seed.

mod client;
mod flag;
mod link;
mod queue;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use client::Client;
pub use flag::Flag;
pub use link::Link;
use shared::bus::Bus;
use shared::bus::server::{Ack, Queued};
use state::State;

/// Something that happened on the server, for observers.
#[derive(Debug)]
pub enum Event<'a> {
    Wrote { key: &'a str, value: &'a [u8], revision: u64 },
    Refused { key: &'a str },
    Queued { subject: &'a str, queued: Queued },
    Handed { subject: &'a str },
    Answered { subject: &'a str, ack: Ack },
    Purged,
    Stored { bucket: &'a str, name: &'a str },
    Removed { bucket: &'a str, name: &'a str },
    Crashed,
    Restarted,
}

/// Called with every event, the time since the server's first start, and the client that caused it.
pub type Observer = Box<dyn FnMut(Duration, &str, &Event<'_>) + Send>;

/// A bug that breaks what Ferry relies on, to prove that the tests notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerBug {
    /// A swap overwrites even if the revision is wrong; one of a key that must not exist is still refused.
    BlindSwap,
    /// Sometimes only the first write of a batch is carried out.
    TornBatch,
    /// When a coordinator connects, the orders of jobs are again as they were first.
    LostOrders,
    /// When a coordinator connects, the plans of sweeps are again as they were first.
    LostPlans,
}

/// What is wrong with a stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    NoDescription,
    /// Its readers wait for ever.
    NoChunks,
    OtherBytes,
}

/// What the network does to requests. By default nothing is lost, and each direction takes a millisecond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkFaults {
    /// The longest time that one direction takes, in milliseconds, at least 1.
    pub latency_ms: u64,
    /// Share of requests that never arrive.
    pub lost_requests: f64,
    /// Share of replies that never arrive: the request was carried out.
    pub lost_replies: f64,
}

impl Default for NetworkFaults {
    fn default() -> Self {
        Self { latency_ms: 1, lost_requests: 0.0, lost_replies: 0.0 }
    }
}

/// The server.
#[derive(Clone)]
pub struct MemoryServer {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    network_faults: Mutex<NetworkFaults>,
    started: Instant,
    /// Notified on every change of the books, and when the server stops or starts.
    changed: Notify,
    /// Notified when the time of the queue's next delivery may have changed.
    queue_changed: Notify,
    hints: broadcast::Sender<bytes::Bytes>,
    clients: Mutex<u64>,
}

impl std::fmt::Debug for MemoryServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryServer").finish_non_exhaustive()
    }
}

impl MemoryServer {
    /// Starts a server. Must be called in a tokio runtime with time enabled; its tasks end with the runtime.
    pub fn start(seed: u64, observer: Option<Observer>, bug: Option<ServerBug>) -> Self {
        let inner = Arc::new(Inner {
            state: Mutex::new(State::new(seed, observer, bug)),
            network_faults: Mutex::new(NetworkFaults::default()),
            started: Instant::now(),
            changed: Notify::new(),
            queue_changed: Notify::new(),
            hints: broadcast::Sender::new(256),
            clients: Mutex::new(0),
        });
        tokio::spawn(hand_out(inner.clone()));
        Self { inner }
    }

    /// A connection, and the means to disturb it.
    pub fn connect(&self, name: &str) -> (Bus, Link) {
        let id = {
            let mut clients = unpoisoned(&self.inner.clients);
            *clients += 1;
            *clients
        };
        unpoisoned(&self.inner.state).connected(name);
        let link = Link::new(self.inner.clone(), id, name);
        (Bus::over(Client::new(self.inner.clone(), link.clone())), link)
    }

    /// Time since the first start.
    pub fn now(&self) -> Duration {
        self.inner.now()
    }

    /// Changes what the network does from now on.
    pub fn set_network_faults(&self, network_faults: NetworkFaults) {
        *unpoisoned(&self.inner.network_faults) = network_faults;
    }

    /// Stops the server as a power cut would; false if it is already down.
    pub fn crash(&self) -> bool {
        let now = self.now();
        let mut state = self.inner.state();
        let was_up = state.up;
        if was_up {
            state.crash(now);
        }
        was_up
    }

    /// Starts it again.
    pub fn restart(&self) {
        let now = self.now();
        self.inner.state().restart(now);
        self.inner.changed.notify_waiters();
        self.inner.queue_changed.notify_one();
    }

    /// Sets the server's clock back: what it writes from now on may look older than what it wrote before.
    pub fn set_clock_back(&self, by: Duration) {
        self.inner.state().set_clock_back(by);
    }

    /// Damages a stored object.
    pub fn damage(&self, bucket: &str, name: &str, damage: Damage) {
        self.inner.state().damage(bucket, name, damage);
    }

    /// Names of the objects in a bucket, in order.
    pub fn names(&self, bucket: &str) -> Vec<String> {
        self.inner.state().names(bucket)
    }

    /// Uploads that never became objects.
    pub fn unfinished_uploads(&self) -> usize {
        self.inner.state().unfinished_uploads()
    }

    /// A value of the books, read directly.
    pub fn value(&self, key: &str) -> Option<bytes::Bytes> {
        self.inner.state().entry(key).map(|entry| entry.value)
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(&self.state)
    }

    fn network_faults(&self) -> NetworkFaults {
        *unpoisoned(&self.network_faults)
    }

    /// Draws the time that a message takes in one direction.
    fn latency(&self) -> Duration {
        let longest = self.network_faults().latency_ms.max(1);
        Duration::from_millis(1 + self.state().chance.below(longest))
    }

    /// Waits until the server is up.
    async fn up(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state().up {
                return;
            }
            changed.await;
        }
    }
}

/// Hands out messages as they come due.
async fn hand_out(inner: Arc<Inner>) {
    loop {
        inner.dispatch();
        let due = Some(inner.state()).filter(|state| state.up).and_then(|state| state.queue.due());
        let wake = inner.queue_changed.notified();
        match due {
            Some(due) => {
                let _either = tokio::time::timeout_at(inner.started + due, wake).await;
            }
            None => wake.await,
        }
    }
}

impl Inner {
    fn dispatch(&self) {
        let now = self.now();
        let mut state = self.state();
        if !state.up {
            return;
        }
        for (client, message) in state.queue.dispatch(now) {
            state.tell(now, &format!("#{client}"), &Event::Handed { subject: &message.subject });
        }
    }
}

/// Nothing panics while it holds one of these locks; if something does, the test has already failed.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
