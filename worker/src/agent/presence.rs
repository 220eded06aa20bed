//! Telling everyone that this worker is there, and learning the server's time on the way.

use std::time::Duration;

use shared::bus::{Bus, BusError};
use shared::ids::{JobId, WorkerId};
use shared::job::TRAINER_REVISION;
use shared::protocol::Presence;
use shared::result::DeviceRecord;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const RENEW: Duration = Duration::from_secs(10);

/// Renews this worker's presence in the background.
pub(super) struct Presences {
    bus: Bus,
    current: watch::Sender<Presence>,
    renewal: JoinHandle<()>,
}

impl Presences {
    pub(super) fn start(bus: Bus, me: &WorkerId, host: &str, record: &DeviceRecord) -> Self {
        let device = format!("{} ({})", record.device, record.model);
        let presence = Presence {
            worker: me.clone(),
            host: host.to_owned(),
            device,
            job: None,
            trainer_revision: TRAINER_REVISION,
        };
        let (current, mut seen) = watch::channel(presence);
        let renewing = bus.clone();
        let renewal = tokio::spawn(async move {
            loop {
                let presence = seen.borrow_and_update().clone();
                if let Err(error) = renewing.appear(&presence).await {
                    tracing::debug!(%error, "presence not renewed");
                }
                let changed = tokio::time::timeout(RENEW, seen.changed()).await;
                if matches!(changed, Ok(Err(_))) {
                    return;
                }
            }
        });
        Self { bus, current, renewal }
    }

    /// Shows what this worker does.
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
