//! A watch of keys that notices when it has died.
//!
//! Deliveries may stop for good without any error. In a cluster a watch lives on one server. When that server is lost,
//! the client asks for the watch again under the same name. If the other servers have not noticed the loss and place it
//! on the lost server, nobody answers, and the name stays taken. Therefore the newest revision is asked for at
//! intervals. A watch that stays behind it is dropped, and a new one is opened under another name.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::time::{Interval, MissedTickBehavior};

use super::server::{Entry, Flow, Server, ServerError};

/// Interval at which the newest revision is asked for. A dead watch is noticed within two intervals.
const EVERY: Duration = Duration::from_secs(5);

/// The values under some keys: the current ones, then every change.
pub(super) struct KeyWatch {
    server: Arc<dyn Server>,
    keys: &'static str,
    entries: Flow<Entry>,
    /// The newest revision that was delivered.
    seen: u64,
    /// The value of `seen` when the server last had something newer.
    behind: Option<u64>,
    due: Interval,
    asked: Option<BoxFuture<'static, Result<u64, ServerError>>>,
}

impl KeyWatch {
    pub(super) async fn begin(server: Arc<dyn Server>, keys: &'static str) -> Result<Self, ServerError> {
        let entries = server.watch(keys).await?;
        let mut due = tokio::time::interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { server, keys, entries, seen: 0, behind: None, due, asked: None })
    }

    /// The next change. `None` when the watch has ended and must be opened again. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Entry> {
        loop {
            tokio::select! {
                biased; // Take what was delivered before judging the watch.
                entry = self.entries.next() => match entry? {
                    Ok(entry) => {
                        self.seen = self.seen.max(entry.revision);
                        return Some(entry);
                    }
                    Err(error) => tracing::debug!(%error, "the watch reported an error and continues"),
                },
                Some(newest) = answer(&mut self.asked) => {
                    self.asked = None;
                    if self.is_dead(newest) {
                        tracing::warn!("the watch of {} stopped delivering; opening it again", self.keys);
                        return None;
                    }
                }
                _ = self.due.tick() => self.ask(),
            }
        }
    }

    fn ask(&mut self) {
        let (server, keys) = (self.server.clone(), self.keys);
        self.asked = Some(Box::pin(async move { server.newest(keys).await }));
    }

    /// True if twice in a row the server had something newer, and nothing was delivered in between.
    fn is_dead(&mut self, newest: Result<u64, ServerError>) -> bool {
        match newest {
            Ok(newest) if newest > self.seen => self.behind.replace(self.seen) == Some(self.seen),
            Ok(_) => {
                self.behind = None;
                false
            }
            Err(error) => {
                tracing::debug!(%error, "cannot ask for the newest revision");
                false
            }
        }
    }
}

async fn answer<T>(asked: &mut Option<BoxFuture<'static, T>>) -> Option<T> {
    match asked {
        Some(asked) => Some(asked.await),
        None => None,
    }
}
