//! A watch of keys that notices when it has gone dead.
//!
//! Deliveries may stop for good without any error. In a cluster a watch lives on one server. When that server is lost, the
//! client has the watch made again under the same name; if the other servers do not know of the loss yet and put it on the
//! lost one, nobody answers, and the name stays taken. So the newest revision is asked for now and then. A watch that stays
//! behind it is given up, and the next one has another name.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::time::{Interval, MissedTickBehavior};

use super::server::{Entry, Flow, Server, ServerError};

/// Between two questions for the newest revision. A dead watch is found within two of them.
const EVERY: Duration = Duration::from_secs(5);

/// The values under some keys: as they are, then as they change.
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
                biased; // What has been delivered is seen before the watch is judged.
                entry = self.entries.next() => match entry? {
                    Ok(entry) => {
                        self.seen = self.seen.max(entry.revision);
                        return Some(entry);
                    }
                    Err(error) => tracing::debug!(%error, "the watch reported an error and goes on"),
                },
                Some(newest) = answer(&mut self.asked) => {
                    self.asked = None;
                    if self.is_dead(newest) {
                        tracing::warn!("the watch of {} has gone dead and is opened again", self.keys);
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

    /// Twice in a row the server had something newer, and nothing came in between.
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
