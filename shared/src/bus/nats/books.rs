//! The books on a key-value bucket: compare-and-swap, atomic commit of a result with its record, and the watch.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use nats::HeaderMap;
use nats::jetstream::kv::{Entry, Operation, UpdateErrorKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::BusError;
use super::Bus;
use crate::books::JobRecord;
use crate::ids::JobId;
use crate::protocol::{JobOrder, subjects};
use crate::result::JobResult;

/// A record as it stood at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct BookEntry {
    pub job: JobId,
    pub record: JobRecord,
    /// What the next compare-and-swap must name.
    pub revision: u64,
    /// Server time of the write, in nanoseconds since the Unix epoch. Only differences mean anything.
    pub written_nanos: i128,
}

impl Bus {
    /// A job's record.
    pub async fn record(&self, job: JobId) -> Result<Option<BookEntry>, BusError> {
        let key = subjects::record_key(job);
        match self.entry(&key).await? {
            Some(entry) => Ok(Some(book_entry(job, &entry)?)),
            None => Ok(None),
        }
    }

    /// Moves a job's record from `revision` to `next` and returns the new revision. A revision of 0 means that there
    /// must be none yet. Retries until the outcome is known, for as long as the server is away; every doubt (a lost
    /// reply) is settled by reading back, never by writing again blindly.
    pub async fn swap(&self, job: JobId, revision: u64, next: &JobRecord) -> Result<u64, BusError> {
        let key = subjects::record_key(job);
        let value = encode(next);
        let mut pause = Pause::new();
        loop {
            match self.books.update(&key, value.clone(), revision).await {
                Ok(revision) => return Ok(revision),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => tracing::warn!(%job, %error, "a write to the books is in doubt, reading back"),
            }
            match self.entry(&key).await {
                Ok(Some(entry)) if entry.value == value => return Ok(entry.revision),
                Ok(Some(entry)) if entry.revision == revision => {}
                Ok(None) if revision == 0 => {}
                Ok(_) => return Err(BusError::Conflict { job }),
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
            pause.wait().await;
        }
    }

    /// Accepts a result: the record's move to done and the result itself, both or neither. Settles doubts as
    /// [`Self::swap`] does.
    pub async fn commit(&self, revision: u64, next: &JobRecord, result: &JobResult) -> Result<(), BusError> {
        let job = result.job;
        let record = Write { key: subjects::record_key(job), expected: revision, value: encode(next) };
        // A result that is there already can only stem from an earlier commit of this job: see the read-back.
        let outcome = Write { key: subjects::result_key(job), expected: 0, value: encode(result) };
        let mut pause = Pause::new();
        loop {
            match self.batch(&[&record, &outcome]).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!(%job, %error, "commit not confirmed, reading back"),
            }
            match self.entry(&record.key).await {
                Ok(Some(entry)) if entry.value == record.value => return Ok(()),
                Ok(Some(entry)) if entry.revision == revision => {}
                Ok(_) => return Err(BusError::Conflict { job }),
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
            pause.wait().await;
        }
    }

    /// Admits jobs that the books do not know yet; those they know stay as they are.
    pub async fn admit(&self, orders: &[JobOrder]) -> Result<(), BusError> {
        let pending = encode(&JobRecord::pending());
        for order in orders {
            self.create(&subjects::order_key(order.job), encode(order)).await?;
            self.create(&subjects::record_key(order.job), pending.clone()).await?;
        }
        Ok(())
    }

    /// What a job is to train.
    pub async fn order(&self, job: JobId) -> Result<JobOrder, BusError> {
        self.read(&subjects::order_key(job), JobOrder::VERSION).await
    }

    /// A finished job's result.
    pub async fn result(&self, job: JobId) -> Result<JobResult, BusError> {
        self.read(&subjects::result_key(job), JobResult::VERSION).await
    }

    /// Reads a value of the books; it must be there.
    pub async fn read<T: DeserializeOwned>(&self, key: &str, known: u32) -> Result<T, BusError> {
        let entry = self.entry(key).await?.ok_or_else(|| BusError::Missing { what: key.to_owned() })?;
        decode(key, &entry.value, known)
    }

    /// Writes a value that only its one writer ever changes.
    pub async fn write<T: Serialize>(&self, key: &str, value: &T) -> Result<(), BusError> {
        self.books
            .put(key, encode(value))
            .await
            .map_err(|e| BusError::transport(format!("write {key}"), e))?;
        Ok(())
    }

    /// Keys of the books that match `pattern` (such as `sweep.*`), in no particular order.
    pub async fn keys(&self, pattern: &str) -> Result<Vec<String>, BusError> {
        let prefix = pattern.trim_end_matches('*');
        let fail = |e: Box<dyn std::error::Error + Send + Sync>| BusError::transport("list the books", e);
        let mut keys = self.books.keys().await.map_err(|e| fail(e.into()))?;
        let mut found = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|e| fail(e.into()))?;
            if key.starts_with(prefix) {
                found.push(key);
            }
        }
        Ok(found)
    }

    /// All records as they stand, then every change of them.
    pub async fn watch(&self) -> Result<Watch, BusError> {
        let inner = self
            .books
            .watch_with_history(subjects::RECORD_KEYS)
            .await
            .map_err(|e| BusError::transport("watch the books", e))?;
        Ok(Watch { inner })
    }

    pub(super) async fn entry(&self, key: &str) -> Result<Option<Entry>, BusError> {
        let entry = self.books.entry(key).await.map_err(|e| BusError::transport(format!("read {key}"), e))?;
        Ok(entry.filter(|entry| entry.operation == Operation::Put))
    }

    async fn create(&self, key: &str, value: Bytes) -> Result<(), BusError> {
        match self.books.update(key, value, 0).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(()),
            Err(error) => Err(BusError::transport(format!("write {key}"), error)),
        }
    }

    /// All writes or none (an atomic batch of JetStream).
    async fn batch(&self, writes: &[&Write]) -> Result<(), BusError> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        for (index, write) in writes.iter().enumerate() {
            let last = index + 1 == writes.len();
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", (index + 1).to_string().as_str());
            headers.insert("Nats-Expected-Last-Subject-Sequence", write.expected.to_string().as_str());
            if last {
                headers.insert("Nats-Batch-Commit", "1");
            }
            let subject = subjects::books_subject(&write.key);
            let reply = self
                .client
                .request_with_headers(subject, headers, write.value.clone())
                .await
                .map_err(|e| BusError::transport(format!("write {}", write.key), e))?;
            refused(&reply.payload)
                .map_or(Ok(()), |why| Err(BusError::transport(format!("write {}", write.key), why)))?;
        }
        Ok(())
    }
}

struct Write {
    key: String,
    /// Revision that the key must have; 0 is "must not exist".
    expected: u64,
    value: Bytes,
}

/// The error in a publish reply, if there is one. An empty reply confirms a message inside a batch.
fn refused(reply: &[u8]) -> Option<String> {
    if reply.is_empty() {
        return None;
    }
    let Ok(reply) = serde_json::from_slice::<serde_json::Value>(reply) else {
        return Some("the server's reply is not JSON".to_owned());
    };
    reply.get("error").map(ToString::to_string)
}

/// The records as they change. Errors of the connection are healed by the client and never end the watch.
pub struct Watch {
    inner: nats::jetstream::kv::Watch,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// The next change. `None` when the watch has ended and must be made anew.
    pub async fn next(&mut self) -> Option<BookEntry> {
        loop {
            match self.inner.next().await? {
                Ok(entry) => {
                    let Some(job) = subjects::job_of_record_key(&entry.key) else { continue };
                    match book_entry(job, &entry) {
                        Ok(entry) => return Some(entry),
                        Err(error) => tracing::warn!(%error, "a record is left out"),
                    }
                }
                Err(error) => tracing::debug!(%error, "the watch stumbled and goes on"),
            }
        }
    }
}

fn book_entry(job: JobId, entry: &Entry) -> Result<BookEntry, BusError> {
    let record = decode(&entry.key, &entry.value, JobRecord::VERSION)?;
    Ok(BookEntry {
        job,
        record,
        revision: entry.revision,
        written_nanos: entry.created.unix_timestamp_nanos(),
    })
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes.into(),
        Err(error) => unreachable!("plain data always becomes JSON: {error}"),
    }
}

/// Versions are read first: a newer layout is refused, never misread.
fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8], known: u32) -> Result<T, BusError> {
    #[derive(serde::Deserialize)]
    struct Version {
        v: u64,
    }
    let wrong = |source| BusError::Decode { what: what.to_owned(), source };
    let Version { v: found } = serde_json::from_slice(bytes).map_err(wrong)?;
    if found > u64::from(known) {
        return Err(BusError::TooNew { what: what.to_owned(), found, known });
    }
    serde_json::from_slice(bytes).map_err(wrong)
}

/// Growing pauses between tries: 50 ms to 2 s.
pub(super) struct Pause {
    next: Duration,
}

impl Pause {
    pub(super) fn new() -> Self {
        Self { next: Duration::from_millis(50) }
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(Duration::from_secs(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_layout_is_refused_before_it_is_read() {
        let newer = br#"{"v":2,"state":"levitating"}"#;
        assert!(matches!(decode::<JobRecord>("job.x", newer, 1), Err(BusError::TooNew { found: 2, .. })));
        assert!(matches!(decode::<JobRecord>("job.x", b"{\"v\":1}", 1), Err(BusError::Decode { .. })));
        let pending = JobRecord::pending();
        assert_eq!(decode::<JobRecord>("job.x", &encode(&pending), 1).unwrap(), pending);
    }

    #[test]
    fn replies_are_told_apart() {
        assert_eq!(refused(b""), None);
        assert_eq!(refused(br#"{"stream":"KV","seq":4,"batch":"a","count":2}"#), None);
        assert!(refused(br#"{"error":{"code":400,"err_code":10071}}"#).unwrap().contains("10071"));
        assert!(refused(b"garbage").is_some());
    }
}
