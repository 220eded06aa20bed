//! Announces that a sweep is running, so that nobody removes it in the meantime.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::bus::{Bus, BusError};
use shared::protocol::subjects;
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_secs(10);
/// A coordinator that has not renewed its announcement for this long is gone.
const LIFE: Duration = Duration::from_secs(45);
/// How long to try to withdraw the announcement. If the server is away, it expires by itself.
const WITHDRAWAL: Duration = Duration::from_secs(1);

/// The value of the key. The server time of its write is what counts.
#[derive(Debug, Serialize, Deserialize)]
struct Conducting {
    v: u32,
}

/// An announcement that is renewed until this is dropped.
#[derive(Debug)]
pub(super) struct Announcement {
    bus: Bus,
    key: String,
    renewal: JoinHandle<()>,
}

/// Announces once that `sweep` is running.
pub(super) async fn announce(bus: &Bus, sweep: &str) -> Result<(), BusError> {
    bus.write(&subjects::conductor_key(sweep), &Conducting { v: 1 }).await
}

impl Announcement {
    /// Keeps renewing the announcement.
    pub(super) fn keep_up(bus: Bus, sweep: &str) -> Self {
        let (renewing, name) = (bus.clone(), sweep.to_owned());
        let renewal = tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                if let Err(error) = announce(&renewing, &name).await {
                    tracing::debug!(%error, "cannot announce the run");
                }
            }
        });
        Self { bus, key: subjects::conductor_key(sweep), renewal }
    }

    /// Withdraws the announcement.
    pub(super) async fn withdraw(self) {
        self.renewal.abort();
        if let Ok(Err(error)) = tokio::time::timeout(WITHDRAWAL, self.bus.delete(&self.key)).await {
            tracing::debug!(%error, "cannot withdraw the announcement of this run");
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// The sweeps that are running at `now`, the server's time in nanoseconds since the Unix epoch.
pub(super) async fn announced(bus: &Bus, now: i128) -> Result<BTreeSet<String>, BusError> {
    let mut sweeps = BTreeSet::new();
    for key in bus.keys(subjects::CONDUCTOR_KEYS).await? {
        let Some(sweep) = subjects::sweep_of_conductor_key(&key) else { continue };
        let written = bus.written_at(&key).await?;
        if written.is_some_and(|written| now - written < LIFE.as_nanos() as i128) {
            sweeps.insert(sweep.to_owned());
        }
    }
    Ok(sweeps)
}
