//! Presence and progress reports of workers, for displays. No job depends on a progress report.

use futures::StreamExt;

use super::server::{Flow, ServerError};
use super::{Bus, BusError};
use crate::ids::WorkerId;
use crate::protocol::{LiveReport, Presence, subjects};

/// The largest report, in bytes.
const LARGEST: usize = 16 << 10;

/// Decodes a report; `None` if it is too long or malformed.
fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    if bytes.len() <= LARGEST { serde_json::from_slice(bytes).ok() } else { None }
}

impl Bus {
    /// Reports this worker's progress. The report is lost if nobody listens.
    pub async fn hint(&self, report: &LiveReport) {
        let Ok(payload) = serde_json::to_vec(report) else { return };
        if let Err(error) = self.server.hint(&subjects::live(&report.worker), payload.into()).await {
            tracing::debug!(%error, "a progress report was not sent");
        }
    }

    /// All workers' progress reports.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn hints(&self) -> Result<Hints, BusError> {
        let inner = self.server.hints(subjects::LIVE_ALL).await;
        Ok(Hints { inner: inner.map_err(|e| BusError::failed("listen to the workers", e))? })
    }

    /// Renews this worker's presence and returns the server's time in nanoseconds since the Unix epoch, to compute the
    /// ages of records with.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn appear(&self, presence: &Presence) -> Result<i128, BusError> {
        let key = presence.worker.as_str();
        let value = serde_json::to_vec(presence).map_err(|e| BusError::transport("report presence", e))?;
        let appeared = self.server.appear(key, value.into()).await;
        let now = appeared.map_err(|error| match error {
            ServerError::Missing => BusError::Missing { what: format!("presence of {key}") },
            other => BusError::failed("report presence", other),
        })?;
        self.clock.set(now);
        Ok(now)
    }

    /// The workers that are present.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn workers(&self) -> Result<Vec<Presence>, BusError> {
        let values = self.server.present().await.map_err(|e| BusError::failed("list the workers", e))?;
        let mut workers: Vec<Presence> =
            values.iter().filter_map(|value| read(value)).filter(Presence::is_plain).collect();
        workers.sort_by(|a, b| a.worker.cmp(&b.worker));
        Ok(workers)
    }

    /// Withdraws the presence of a worker that ends normally.
    pub async fn disappear(&self, worker: &WorkerId) {
        if let Err(error) = self.server.disappear(worker.as_str()).await {
            tracing::debug!(%error, "cannot withdraw this worker's presence; it expires by itself");
        }
    }
}

/// Progress reports of all workers, as they arrive.
pub struct Hints {
    inner: Flow<bytes::Bytes>,
}

impl std::fmt::Debug for Hints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hints").finish_non_exhaustive()
    }
}

impl Hints {
    /// The next report; malformed ones are skipped. `None` when the connection is closed for good.
    pub async fn next(&mut self) -> Option<LiveReport> {
        loop {
            match self.inner.next().await?.map(|payload| read(&payload)) {
                Ok(Some(report)) => return Some(report),
                Ok(None) => tracing::debug!("a progress report cannot be read"),
                Err(error) => tracing::debug!(%error, "the progress reports had an error and continue"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_that_are_too_long_or_not_plain_are_skipped() {
        let presence = |host: &str| {
            let presence = Presence::announced("w", host, Vec::new());
            serde_json::to_vec(&presence).unwrap()
        };
        let readable = |bytes: &[u8]| read::<Presence>(bytes).is_some_and(|presence| presence.is_plain());
        assert!(readable(&presence("h\u{e4}lle-1")));
        assert!(!readable(&presence("\u{1b}]0;title\u{7}")));
        assert!(!readable(&presence(&"h".repeat(LARGEST))));
        assert!(!readable(b"{"));
    }
}
