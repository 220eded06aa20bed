//! This worker's presence. It shows that the worker is there, and each renewal returns the server's time.

use std::time::Duration;

use shared::bus::{Bus, BusError};
use shared::ids::{JobId, WorkerId};
use shared::job::TrainerId;
use shared::protocol::{Presence, Readiness};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const RENEW: Duration = Duration::from_secs(10);
/// The time between two renewals if something changes all the time, as with many short jobs.
const SPACING: Duration = Duration::from_secs(1);
/// Changes within this time, one for each [`SPACING`], are shown at once after a quiet time.
const BURST: Duration = Duration::from_secs(8);

/// Renews this worker's presence in the background.
pub(super) struct Presences {
    bus: Bus,
    current: watch::Sender<Presence>,
    renewal: JoinHandle<()>,
}

/// Announces a starting worker before it opens its device, which may take seconds. So it already counts when a worker
/// decides whether to leave a job to others.
pub(super) async fn announce(bus: &Bus, me: &WorkerId, host: &str, trainers: Vec<TrainerId>) {
    let announced = Presence::announced(me.name(), host, trainers);
    let outcome = bus.appear(&Presence { worker: me.clone(), ..announced.clone() }).await;
    if let Err(error) = outcome {
        tracing::debug!(%error, "cannot announce this worker");
    }
    // The coordinator that started this process may have announced it too; that is no longer needed.
    bus.disappear(&announced.worker).await;
}

impl Presences {
    /// Starts with a worker that takes no jobs yet.
    pub(super) fn start(
        bus: Bus,
        me: &WorkerId,
        host: &str,
        device: String,
        trainers: Vec<TrainerId>,
    ) -> Self {
        let presence =
            Presence { worker: me.clone(), device, ..Presence::announced(me.name(), host, trainers) };
        let (current, mut seen) = watch::channel(presence);
        let renewing = bus.clone();
        let renewal = tokio::spawn(async move {
            let start = Instant::now();
            let mut next = start.checked_sub(BURST).unwrap_or(start);
            loop {
                let presence = seen.borrow_and_update().clone();
                if let Err(error) = renewing.appear(&presence).await {
                    tracing::debug!(%error, "cannot renew this worker's presence");
                }
                let now = Instant::now();
                next = next.max(now.checked_sub(BURST).unwrap_or(now)) + SPACING;
                tokio::time::sleep_until(next).await;
                let changed = tokio::time::timeout(RENEW, seen.changed()).await;
                if matches!(changed, Ok(Err(_))) {
                    return;
                }
            }
        });
        Self { bus, current, renewal }
    }

    /// Shows that this worker takes jobs from now on.
    pub(super) fn ready(&self) {
        self.current.send_modify(|presence| presence.readiness = Readiness::Ready);
    }

    /// Shows the job of this worker.
    pub(super) fn working_on(&self, job: Option<JobId>) {
        self.current.send_modify(|presence| presence.job = job);
    }

    /// The server's time, in nanoseconds since the Unix epoch.
    pub(super) async fn server_time(&self) -> Result<i128, BusError> {
        let presence = self.current.borrow().clone();
        self.bus.appear(&presence).await
    }

    /// Withdraws the presence.
    pub(super) async fn end(&self) {
        self.renewal.abort();
        let me = self.current.borrow().worker.clone();
        self.bus.disappear(&me).await;
    }
}
