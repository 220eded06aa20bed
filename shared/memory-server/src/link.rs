//! The link between one client and the server: requests arrive in order, late, or not at all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::state::State;
use super::{Flag, Inner};
use shared::bus::server::ServerError;

/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

type Request = Box<dyn FnOnce(&mut State, Duration) + Send>;

/// What is wrong with the link, or with the process at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct LinkState {
    cut: bool,
    suspended: bool,
    dead: bool,
}

/// One client's link to the server. Clones are the same link.
#[derive(Clone)]
pub struct Link {
    pub(super) inner: Arc<Inner>,
    pub(super) id: u64,
    pub(super) name: Arc<str>,
    trouble: Arc<Flag<LinkState>>,
    outgoing: mpsc::UnboundedSender<Request>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(inner: Arc<Inner>, id: u64, name: &str) -> Self {
        let (outgoing, requests) = mpsc::unbounded_channel();
        let trouble = Arc::new(Flag::new(LinkState::default()));
        let link = Self { inner, id, name: name.into(), trouble, outgoing };
        let carrier = Carrier { inner: link.inner.clone(), trouble: link.trouble.clone() };
        tokio::spawn(carry(carrier, requests));
        link
    }

    /// Cuts the link. What is sent in the meantime is kept, and sent after [`Self::heal`].
    pub fn cut(&self) {
        self.trouble.change(|trouble| trouble.cut = true);
    }

    /// Restores the link.
    pub fn heal(&self) {
        self.trouble.change(|trouble| trouble.cut = false);
    }

    /// The process is stopped (`SIGSTOP`).
    pub fn suspend(&self) {
        self.trouble.change(|trouble| trouble.suspended = true);
    }

    /// The process continues (`SIGCONT`).
    pub fn resume(&self) {
        self.trouble.change(|trouble| trouble.suspended = false);
    }

    /// The process has ended. What it had sent may still arrive. The server notices, unless the link is cut.
    pub fn kill(&self) {
        let was = self.trouble.get();
        self.trouble.change(|trouble| trouble.dead = true);
        if !was.cut {
            self.inner.state().queue.hang_up(self.id);
        }
    }

    /// Waits until the process runs, the link is whole and the server is up.
    pub(super) async fn passable(&self) {
        passable(&self.trouble, &self.inner).await;
    }

    /// Sends a request that has no answer.
    pub(super) async fn send(&self, act: impl FnOnce(&mut State, Duration) + Send + 'static) {
        self.alive().await;
        let _carrier_gone = self.outgoing.send(Box::new(act));
    }

    /// Sends a request and waits for its answer. Without an answer in time, its outcome is unknown; it may even be
    /// carried out later.
    pub(super) async fn request<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut State, Duration) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let (answer, answered) = oneshot::channel();
        let lost = self.inner.network_faults().lost_replies;
        self.send(move |state, now| {
            let outcome = act(state, now);
            if !state.chance.chance(lost) {
                let _gave_up_waiting = answer.send(outcome);
            }
        })
        .await;
        let reply = async {
            let outcome = answered.await.ok()?;
            self.passable().await;
            tokio::time::sleep(self.inner.latency()).await;
            Some(outcome)
        };
        let outcome = tokio::time::timeout_at(deadline, reply).await;
        self.alive().await;
        if let Ok(Some(outcome)) = outcome {
            return outcome;
        }
        tokio::time::sleep_until(deadline).await; // A client notices a lost request only by the time-out.
        Err(ServerError::doubt("no answer within 5 s"))
    }

    /// Waits while the process is suspended; never returns if it is dead.
    async fn alive(&self) {
        self.trouble.wait_for(|trouble| !trouble.suspended && !trouble.dead).await;
    }
}

struct Carrier {
    inner: Arc<Inner>,
    trouble: Arc<Flag<LinkState>>,
}

/// Carries requests one after the other. A request that is on its way when the link breaks is lost, or kept and sent
/// again.
async fn carry(carrier: Carrier, mut requests: mpsc::UnboundedReceiver<Request>) {
    while let Some(request) = requests.recv().await {
        if carrier.arrives().await {
            let inner = &carrier.inner;
            let now = inner.now();
            request(&mut inner.state(), now);
            inner.changed.notify_waiters();
            inner.dispatch();
            inner.queue_changed.notify_one();
        }
    }
}

impl Carrier {
    async fn arrives(&self) -> bool {
        loop {
            passable(&self.trouble, &self.inner).await;
            tokio::time::sleep(self.inner.latency()).await;
            let lost = self.inner.network_faults().lost_requests;
            let trouble = self.trouble.get();
            let open = !trouble.cut && !trouble.suspended && self.inner.state().up;
            let mut state = self.inner.state();
            if open {
                return !state.chance.chance(lost);
            }
            if state.chance.chance(0.5) {
                return false;
            }
        }
    }
}

async fn passable(trouble: &Flag<LinkState>, inner: &Inner) {
    loop {
        trouble.wait_for(|trouble| !trouble.cut && !trouble.suspended).await;
        if inner.state().up {
            return;
        }
        inner.up().await;
    }
}
