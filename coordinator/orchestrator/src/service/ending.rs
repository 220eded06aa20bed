//! Whether a sweep that seems to be finished is finished: the books may have changes that were not delivered yet.

use std::time::Duration;

use shared::bus::Bus;
use shared::protocol::subjects;
use tokio::time::Instant;

/// A finished sweep waits for this long for a server that does not say whether there is anything new.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before such a server is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How far a sweep is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Jobs or requests are open.
    Open,
    /// As far as is known, nothing is open. The server is asked for the newest revision in its books.
    Asking { since: Instant },
    /// Nothing is open if that is still so when this revision has been delivered.
    Until(u64),
}

impl Ending {
    /// Takes along whether anything is open, as far as is known.
    pub(super) fn follow(&mut self, is_finished: bool) {
        match self {
            _ if !is_finished => *self = Self::Open,
            Self::Open => *self = Self::Asking { since: Instant::now() },
            Self::Asking { .. } | Self::Until(_) => {}
        }
    }

    /// True if nothing is open, and the feed has delivered everything up to `seen`.
    pub(super) fn is_reached(self, seen: u64) -> bool {
        match self {
            Self::Open | Self::Asking { .. } => false,
            Self::Until(newest) => seen >= newest,
        }
    }

    /// Resolves with the newest revision as soon as the server says it, and with 0 if it says nothing for too long. Only
    /// resolves when it is to be asked.
    pub(super) async fn newest(self, bus: &Bus) -> u64 {
        let Self::Asking { since } = self else { return std::future::pending().await };
        let asking = async {
            loop {
                match bus.newest(subjects::CONDUCTED_KEYS).await {
                    Ok(newest) => return newest,
                    Err(error) => tracing::debug!(%error, "cannot ask for the newest change of the books"),
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        tokio::time::timeout_at(since + PATIENCE, asking).await.unwrap_or(0)
    }
}
