//! A watch of the books that notices when nothing comes any more.
//!
//! Deliveries may stop for good without a word. A cluster keeps a watch on one of its servers; where that one is lost,
//! the client has it made again under a fixed name, and when the others still believe in the lost one and put it there,
//! no answer comes and the name stays taken. So the newest revision is asked for now and then, and a watch that is
//! behind it and stands still has ended: the next one has another name.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::time::{Interval, MissedTickBehavior};

use super::server::{Entry, Failure, Flow, Server};

/// Time between two questions: a watch that is deaf is found out within two of them.
const EVERY: Duration = Duration::from_secs(5);

/// The entries under some keys, as they stand and as they change.
pub(super) struct KeyWatch {
    server: Arc<dyn Server>,
    keys: &'static str,
    entries: Flow<Entry>,
    /// The newest revision that came.
    seen: u64,
    /// What was the newest that had come when the server was last known to have a newer one.
    behind: Option<u64>,
    due: Interval,
    asked: Option<BoxFuture<'static, Result<u64, Failure>>>,
}

impl KeyWatch {
    pub(super) async fn begin(server: Arc<dyn Server>, keys: &'static str) -> Result<Self, Failure> {
        let entries = server.watch(keys).await?;
        let mut due = tokio::time::interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { server, keys, entries, seen: 0, behind: None, due, asked: None })
    }

    /// The next change. `None` when the watch has ended and must be made anew. It may be dropped at any time; nothing is
    /// lost with it.
    pub(super) async fn next(&mut self) -> Option<Entry> {
        loop {
            tokio::select! {
                biased; // What has come already is seen before the watch is judged.
                entry = self.entries.next() => match entry? {
                    Ok(entry) => {
                        self.seen = self.seen.max(entry.revision);
                        return Some(entry);
                    }
                    Err(error) => tracing::debug!(%error, "the watch stumbled and goes on"),
                },
                Some(newest) = answer(&mut self.asked) => {
                    self.asked = None;
                    if self.is_deaf(newest) {
                        tracing::warn!("nothing comes from the watch of {} any more: it is made anew", self.keys);
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
    fn is_deaf(&mut self, newest: Result<u64, Failure>) -> bool {
        match newest {
            Ok(newest) if newest > self.seen => self.behind.replace(self.seen) == Some(self.seen),
            Ok(_) => {
                self.behind = None;
                false
            }
            Err(error) => {
                tracing::debug!(%error, "the newest revision is not known");
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
