//! The feed of the books: what is there, then every change, in the order of the revisions, without end.
//!
//! Deliveries may stop for good without any error. In a cluster a watch lives on one server. When that server is lost,
//! the client asks for the watch again under the same name. If the other servers have not noticed the loss and place it
//! on the lost server, nobody answers, and the name stays taken. Therefore the newest revision is asked for at
//! intervals. A watch that stays behind it, or that ends, is replaced by a new one, which begins after the last change
//! that was delivered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::books::{book_entry, job_result};
use super::clock::ServerClock;
use super::server::{Entry, Flow, Server, ServerError};
use super::values::decode;
use super::{BookEntry, Bus, BusError, RequestEntry, requests, standings};
use crate::books::WorkerRecord;
use crate::protocol::{Scoreboard, SweepRecord, subjects};
use crate::result::JobResult;

/// Interval at which the newest revision is asked for. A dead watch is noticed within two intervals.
const EVERY: Duration = Duration::from_secs(5);

/// The pause before a watch is opened again.
const REOPEN: Duration = Duration::from_millis(500);

/// How many keys whose entries cannot be read are remembered, to say so once for each.
const REMARKS: usize = 1024;

/// What an entry of the books says now.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Record(Box<BookEntry>),
    Result(Box<JobResult>),
    Standing(WorkerRecord),
    Request(RequestEntry),
    Sweep(SweepRecord),
    /// How the ensembles of a sweep stand.
    Scoreboard {
        sweep: String,
        board: Scoreboard,
    },
}

/// One change. Of several changes of one key, only the last may be delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Fed {
    pub revision: u64,
    /// Server time of the write, in nanoseconds since the Unix epoch.
    pub written_nanos: i128,
    pub change: Change,
}

/// The changes under some keys. It survives any failure of the server.
pub struct Feed {
    server: Arc<dyn Server>,
    clock: Arc<ServerClock>,
    keys: &'static [&'static str],
    state: State,
    /// The newest revision that was delivered.
    seen: u64,
    /// The value of `seen` when the server last had something newer.
    behind: Option<u64>,
    due: Interval,
    asked: Option<BoxFuture<'static, Result<u64, ServerError>>>,
    /// Keys whose entries cannot be read.
    unreadable: BTreeSet<String>,
}

enum State {
    Opening(BoxFuture<'static, Result<Flow<Entry>, ServerError>>),
    Open(Flow<Entry>),
    Closed { until: Instant },
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("keys", &self.keys).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Bus {
    /// Everything under `keys` (such as [`subjects::CONDUCTED_KEYS`]), then every change.
    pub fn feed(&self, keys: &'static [&'static str]) -> Feed {
        let mut due = tokio::time::interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (server, clock) = (self.server.clone(), self.clock.clone());
        let state = opening(&server, keys, 0);
        Feed {
            server,
            clock,
            keys,
            state,
            seen: 0,
            behind: None,
            due,
            asked: None,
            unreadable: BTreeSet::new(),
        }
    }

    /// Revision of the newest change under `keys`, 0 if there is none.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn newest(&self, keys: &[&str]) -> Result<u64, BusError> {
        let newest = newest(self.server.as_ref(), keys).await;
        newest.map_err(|error| BusError::failed("ask for the newest change of the books", error))
    }
}

pub(super) async fn newest(server: &dyn Server, keys: &[&str]) -> Result<u64, ServerError> {
    let mut newest = 0;
    for keys in keys {
        newest = newest.max(server.newest(keys).await?);
    }
    Ok(newest)
}

fn opening(server: &Arc<dyn Server>, keys: &'static [&'static str], after: u64) -> State {
    let server = server.clone();
    State::Opening(Box::pin(async move { server.watch(keys, after).await }))
}

impl Feed {
    /// The newest revision that was delivered.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The next change. An entry that cannot be read is skipped, and said once. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Fed {
        loop {
            let entry = self.entry().await;
            self.seen = self.seen.max(entry.revision);
            self.clock.heard(entry.written_nanos);
            match change(&entry) {
                Ok(Some(change)) => {
                    let Entry { revision, written_nanos, .. } = entry;
                    return Fed { revision, written_nanos, change };
                }
                Ok(None) => {}
                Err(error) => {
                    if self.unreadable.len() < REMARKS && self.unreadable.insert(entry.key) {
                        tracing::warn!("{error}; it is left out");
                    }
                }
            }
        }
    }

    /// The next change of a record. Other changes are passed over.
    pub async fn record(&mut self) -> BookEntry {
        loop {
            match self.next().await.change {
                Change::Record(entry) => return *entry,
                Change::Result(_)
                | Change::Standing(_)
                | Change::Request(_)
                | Change::Sweep(_)
                | Change::Scoreboard { .. } => {}
            }
        }
    }

    /// The next request or answer. Other changes are passed over.
    pub async fn request(&mut self) -> RequestEntry {
        loop {
            match self.next().await.change {
                Change::Request(entry) => return entry,
                Change::Record(_)
                | Change::Result(_)
                | Change::Standing(_)
                | Change::Sweep(_)
                | Change::Scoreboard { .. } => {}
            }
        }
    }

    /// The next change of a worker's standing. Other changes are passed over.
    pub async fn standing(&mut self) -> WorkerRecord {
        loop {
            match self.next().await.change {
                Change::Standing(record) => return record,
                Change::Record(_)
                | Change::Result(_)
                | Change::Request(_)
                | Change::Sweep(_)
                | Change::Scoreboard { .. } => {}
            }
        }
    }

    async fn entry(&mut self) -> Entry {
        loop {
            match &mut self.state {
                State::Closed { until } => {
                    tokio::time::sleep_until(*until).await;
                    self.state = opening(&self.server, self.keys, self.seen);
                }
                State::Opening(opened) => match opened.await {
                    Ok(entries) => self.state = State::Open(entries),
                    Err(error) => {
                        tracing::debug!(%error, "cannot watch the books; trying again");
                        self.close();
                    }
                },
                State::Open(entries) => tokio::select! {
                    biased; // Take what was delivered before judging the watch.
                    entry = entries.next() => match entry {
                        Some(Ok(entry)) => return entry,
                        Some(Err(error)) => tracing::debug!(%error, "the watch reported an error and continues"),
                        None => self.close(),
                    },
                    Some(newest) = answer(&mut self.asked) => {
                        self.asked = None;
                        if self.is_dead(newest) {
                            tracing::warn!("the watch of the books stopped delivering; opening it again");
                            self.close();
                        }
                    }
                    _ = self.due.tick() => self.ask(),
                },
            }
        }
    }

    fn close(&mut self) {
        self.state = State::Closed { until: Instant::now() + REOPEN };
        (self.behind, self.asked) = (None, None);
    }

    fn ask(&mut self) {
        let (server, keys) = (self.server.clone(), self.keys);
        self.asked = Some(Box::pin(async move { newest(server.as_ref(), keys).await }));
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

/// What an entry says; `None` if nobody follows entries of its kind.
fn change(entry: &Entry) -> Result<Option<Change>, BusError> {
    let key = entry.key.as_str();
    Ok(Some(if let Some(job) = subjects::job_of_record_key(key) {
        Change::Record(Box::new(book_entry(job, entry)?))
    } else if let Some(job) = subjects::job_of_result_key(key) {
        Change::Result(Box::new(job_result(job, entry)?))
    } else if subjects::worker_of_standing_key(key).is_some() {
        Change::Standing(standings::read(entry)?)
    } else if subjects::request_of_key(key).is_some() {
        Change::Request(requests::read(entry)?)
    } else if subjects::sweep_of_key(key).is_some() {
        Change::Sweep(decode(key, &entry.value, SweepRecord::VERSION)?)
    } else if let Some(sweep) = subjects::sweep_of_scoreboard_key(key) {
        let board = decode(key, &entry.value, Scoreboard::VERSION)?;
        Change::Scoreboard { sweep: sweep.to_owned(), board }
    } else {
        return Ok(None);
    }))
}
