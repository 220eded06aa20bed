//! Presence and display hints: who is there and how far they are. Nothing here is ever decided upon.

use futures::StreamExt;

use super::super::BusError;
use super::Bus;
use crate::protocol::{LiveReport, Presence, subjects};

impl Bus {
    /// Tells displays how far this worker is; lost when nobody listens.
    pub async fn hint(&self, report: &LiveReport) {
        let Ok(payload) = serde_json::to_vec(report) else { return };
        if let Err(error) = self.client.publish(subjects::live(&report.worker), payload.into()).await {
            tracing::debug!(%error, "hint not sent");
        }
    }

    /// All workers' hints.
    pub async fn hints(&self) -> Result<Hints, BusError> {
        let fail = |e: nats::SubscribeError| BusError::transport("listen to the workers", e);
        Ok(Hints { inner: self.client.subscribe(subjects::LIVE_ALL).await.map_err(fail)? })
    }

    /// Renews this worker's presence and returns the server's time in nanoseconds since the Unix epoch, the clock
    /// against which ages of records are taken.
    pub async fn appear(&self, presence: &Presence) -> Result<i128, BusError> {
        let fail = |e: Box<dyn std::error::Error + Send + Sync>| BusError::transport("report presence", e);
        let value = serde_json::to_vec(presence).map_err(|e| fail(e.into()))?;
        let key = presence.worker.as_str();
        self.presence.put(key, value.into()).await.map_err(|e| fail(e.into()))?;
        let entry = self.presence.entry(key).await.map_err(|e| fail(e.into()))?;
        entry
            .map(|entry| entry.created.unix_timestamp_nanos())
            .ok_or_else(|| BusError::Missing { what: format!("presence of {key}") })
    }

    /// The workers that reported lately.
    pub async fn workers(&self) -> Result<Vec<Presence>, BusError> {
        let fail = |e: Box<dyn std::error::Error + Send + Sync>| BusError::transport("list the workers", e);
        let mut keys = self.presence.keys().await.map_err(|e| fail(e.into()))?;
        let mut workers = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|e| fail(e.into()))?;
            if let Some(value) = self.presence.get(key).await.map_err(|e| fail(e.into()))?
                && let Ok(presence) = serde_json::from_slice::<Presence>(&value)
            {
                workers.push(presence);
            }
        }
        workers.sort_by(|a, b| a.worker.cmp(&b.worker));
        Ok(workers)
    }

    /// This worker goes in good order.
    pub async fn disappear(&self, worker: &crate::ids::WorkerId) {
        if let Err(error) = self.presence.delete(worker.as_str()).await {
            tracing::debug!(%error, "presence not withdrawn; it expires by itself");
        }
        if let Err(error) = self.client.flush().await {
            tracing::debug!(%error, "not flushed");
        }
    }
}

/// Hints of all workers, as they come.
pub struct Hints {
    inner: nats::Subscriber,
}

impl std::fmt::Debug for Hints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hints").finish_non_exhaustive()
    }
}

impl Hints {
    /// The next hint; malformed ones are passed over. `None` when the connection is closed for good.
    pub async fn next(&mut self) -> Option<LiveReport> {
        loop {
            let message = self.inner.next().await?;
            match serde_json::from_slice(&message.payload) {
                Ok(report) => return Some(report),
                Err(error) => tracing::debug!(%error, "a hint cannot be read"),
            }
        }
    }
}
