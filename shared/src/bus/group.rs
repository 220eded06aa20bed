//! Group commit: what many tasks write at the same time goes to the server in one atomic batch.
//!
//! A store that syncs each write takes about as long for an atomic batch of two writes as for one of a hundred: the first
//! write of a group waits for nothing, those that come meanwhile go together in the next group. Nobody else notices: each
//! caller's writes are still all or none, and checked against the revisions that the caller names.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use tokio::sync::oneshot;

use super::server::{Server, ServerError, Write};

/// The most writes in one batch. The server takes at most 1,000.
const MOST_WRITES: usize = 500;
/// The most bytes in one batch. More go alone: if the server takes no message that large, nobody else waits for it.
const MOST_BYTES: usize = 512 * 1024;
/// Fewer single writes than this are faster one by one than as a batch.
const WORTH_A_BATCH: usize = 24;

/// The revision of a caller's last write, or why nothing was written.
type Outcome = Result<u64, ServerError>;

/// What one caller writes: all or none.
#[derive(Debug)]
struct Wanted {
    writes: Vec<Write>,
    told: oneshot::Sender<Outcome>,
}

/// The writes of one connection that wait for their turn.
#[derive(Debug)]
pub(super) struct Group {
    server: Arc<dyn Server>,
    waiting: Mutex<VecDeque<Wanted>>,
    /// Whoever holds it sends what waits.
    turn: tokio::sync::Mutex<()>,
}

impl Group {
    pub(super) fn new(server: Arc<dyn Server>) -> Self {
        Self { server, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Writes all or none, and returns the revision of the last write. Dropping the future leaves open whether they are
    /// written, like an answer that is lost.
    pub(super) async fn write(&self, writes: Vec<Write>) -> Outcome {
        let (told, mut outcome) = oneshot::channel();
        self.waiting().push_back(Wanted { writes, told });
        let _turn = self.turn.lock().await;
        loop {
            match outcome.try_recv() {
                Ok(outcome) => return outcome,
                Err(oneshot::error::TryRecvError::Empty) => self.send(self.next()).await,
                // The task that sent them was dropped before it heard the answer.
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Err(ServerError::doubt("whoever sent this write did not wait for the answer"));
                }
            }
        }
    }

    /// The oldest writes, as many as fit into one batch. No key is in it twice. Writes of callers that are gone are
    /// dropped.
    fn next(&self) -> Vec<Wanted> {
        let mut waiting = self.waiting();
        waiting.retain(|wanted| !wanted.told.is_closed());
        let (mut keys, mut bytes, mut fit) = (BTreeSet::new(), 0, 0);
        for Wanted { writes, .. } in waiting.iter() {
            bytes += writes.iter().map(|write| write.value.len()).sum::<usize>();
            let fresh = writes.iter().all(|write| keys.insert(write.key.as_str()));
            if fit > 0 && (!fresh || keys.len() > MOST_WRITES || bytes > MOST_BYTES) {
                break;
            }
            fit += 1;
        }
        waiting.drain(..fit).collect()
    }

    async fn send(&self, group: Vec<Wanted>) {
        let are_single = group.iter().all(|wanted| wanted.writes.len() == 1);
        if group.len() == 1 || (are_single && group.len() < WORTH_A_BATCH) {
            return self.send_each(group).await;
        }
        let all: Vec<Write> = group.iter().flat_map(|wanted| wanted.writes.clone()).collect();
        match self.server.batch(&all).await {
            Ok(last) => {
                // The writes of a batch have revisions without a gap.
                let mut revision = last - all.len() as u64;
                for Wanted { writes, told } in group {
                    revision += writes.len() as u64;
                    let _gone = told.send(Ok(revision));
                }
            }
            Err(ServerError::Doubt(why)) => {
                let why = why.to_string();
                for Wanted { told, .. } in group {
                    let _gone = told.send(Err(ServerError::doubt(why.clone())));
                }
            }
            // Because of one of them; the others are to be written all the same.
            Err(
                ServerError::Revision
                | ServerError::Missing
                | ServerError::Damaged
                | ServerError::TooLarge
                | ServerError::Refused(_),
            ) => self.send_each(group).await,
        }
    }

    /// Sends what each caller writes by itself.
    async fn send_each(&self, group: Vec<Wanted>) {
        let sending = group.into_iter().map(async |Wanted { writes, told }| {
            let outcome = match writes.as_slice() {
                [Write { key, expected: Some(expected), value }] => {
                    self.server.update(key, value.clone(), *expected).await
                }
                writes => self.server.batch(writes).await,
            };
            let _gone = told.send(outcome);
        });
        join_all(sending).await;
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Wanted>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
