//! A watch of some keys of the books that is opened again when it ends, also on a server that is away.

use std::time::Duration;

use shared::books::WorkerRecord;
use shared::bus::{BookEntry, BusError, RecordWatch, RequestEntry, RequestWatch, StandingWatch};
use tokio::time::Instant;

/// The pause before a watch is opened again on a server that is away. Other work continues in the meantime.
const REOPEN: Duration = Duration::from_millis(500);

/// A watch, or the time at which to open it again.
#[derive(Debug)]
pub(super) enum Subscription<W> {
    Open(W),
    Closed { until: Instant },
}

/// A new watch, which shows everything again. If the server is away, the watch is opened later.
pub(super) fn subscribed<W>(watch: Result<W, BusError>) -> Result<Subscription<W>, BusError> {
    match watch {
        Ok(watch) => Ok(Subscription::Open(watch)),
        Err(error) if error.is_transient() => Ok(Subscription::Closed { until: Instant::now() + REOPEN }),
        Err(error) => Err(error),
    }
}

/// A watch of some keys of the books.
pub(super) trait Watch {
    type Item;
    async fn next(&mut self) -> Option<Self::Item>;
}

impl Watch for RecordWatch {
    type Item = BookEntry;
    async fn next(&mut self) -> Option<BookEntry> {
        RecordWatch::next(self).await
    }
}

impl Watch for StandingWatch {
    type Item = WorkerRecord;
    async fn next(&mut self) -> Option<WorkerRecord> {
        StandingWatch::next(self).await
    }
}

impl Watch for RequestWatch {
    type Item = RequestEntry;
    async fn next(&mut self) -> Option<RequestEntry> {
        RequestWatch::next(self).await
    }
}

impl<W: Watch> Subscription<W> {
    /// The next change; `None` when the watch must be opened again.
    pub(super) async fn next(&mut self) -> Option<W::Item> {
        match self {
            Self::Open(watch) => watch.next().await,
            Self::Closed { until } => {
                tokio::time::sleep_until(*until).await;
                None
            }
        }
    }
}
