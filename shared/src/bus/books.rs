//! The books: records change by compare-and-swap, results are accepted in one batch, and after a lost reply the record
//! is read back.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key_watch::KeyWatch;
use super::server::{Entry, ServerError, Write};
use super::{BACKOFF, Bus, BusError};
use crate::books::JobRecord;
use crate::ids::JobId;
use crate::protocol::{Execution, JobOrder, Steering, subjects};
use crate::result::JobResult;
use crate::version::{DecodeError, Versions};

/// A record at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct BookEntry {
    pub job: JobId,
    pub record: JobRecord,
    /// The revision that the next compare-and-swap must name.
    pub revision: u64,
    /// Server time of the write, in nanoseconds since the Unix epoch. Only differences mean anything.
    pub written_nanos: i128,
}

/// A job's order at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderEntry {
    pub order: JobOrder,
    /// The revision that the next compare-and-swap must name.
    pub revision: u64,
    /// Server time at which the job was admitted, in nanoseconds since the Unix epoch. No two servers admit a job in the
    /// same nanosecond, so this identifies the server.
    pub admitted_nanos: i128,
}

/// How a server's store answers a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    Writable,
    /// It is full or switched off, as the server's own message says.
    Refuses(String),
    /// No answer: the server is away or slow, or part of its store is broken.
    Silent,
}

/// Written to see whether the store accepts writes.
#[derive(Serialize)]
struct Trial {
    v: u32,
}

impl Bus {
    /// A job's record, if there is one.
    ///
    /// # Errors
    /// When the server does not answer, or the record cannot be read.
    pub async fn record(&self, job: JobId) -> Result<Option<BookEntry>, BusError> {
        let key = subjects::record_key(job);
        match self.entry(&key).await? {
            Some(entry) => Ok(Some(book_entry(job, &entry)?)),
            None => Ok(None),
        }
    }

    /// Changes a job's record from `revision` to `next` and returns the new revision. A revision of 0 means that there
    /// must be no record yet. Retries until the outcome is known, for as long as the server is away. When a reply is
    /// lost, the record is read back before it is written again.
    ///
    /// # Errors
    /// [`BusError::Conflict`] when somebody else changed the record first.
    pub async fn swap(&self, job: JobId, revision: u64, next: &JobRecord) -> Result<u64, BusError> {
        let write = Write { key: subjects::record_key(job), expected: revision, value: encode(next) };
        let work = || async {
            let doubt = match self.server.update(&write.key, write.value.clone(), write.expected).await {
                Ok(revision) => return Ok(revision),
                Err(doubt) => doubt,
            };
            let not_written = || BusError::failed(format!("write the record of job {job}"), doubt);
            self.written(job, &write).await?.ok_or_else(not_written)
        };
        let tell = |error: &BusError| tracing::warn!(%job, "{error}; trying again");
        BACKOFF.endless().run(work, BusError::is_transient, tell).await
    }

    /// Reads back a record after a write with an unknown outcome: its revision if it was written, `None` if the write
    /// may be tried again. Anything else in its place is a conflict.
    async fn written(&self, job: JobId, write: &Write) -> Result<Option<u64>, BusError> {
        match self.entry(&write.key).await {
            Ok(Some(entry)) if entry.value == write.value => Ok(Some(entry.revision)),
            Ok(Some(entry)) if entry.revision == write.expected => Ok(None),
            Ok(None) if write.expected == 0 => Ok(None),
            Ok(_) => Err(BusError::Conflict { job }),
            Err(error) => Err(error),
        }
    }

    /// Accepts a result: writes the record as done together with the result, both or neither. Retries like
    /// [`Self::swap`].
    ///
    /// # Errors
    /// As [`Self::swap`].
    pub async fn commit(&self, revision: u64, next: &JobRecord, result: &JobResult) -> Result<(), BusError> {
        let job = result.job;
        let record = Write { key: subjects::record_key(job), expected: revision, value: encode(next) };
        let (key, value) = (subjects::result_key(job), encode(result));
        let work = || async {
            // A job that is trained again already has a result. The record's revision protects both writes.
            let expected = self.entry(&key).await?.map_or(0, |entry| entry.revision);
            let outcome = Write { key: key.clone(), expected, value: value.clone() };
            let doubt = match self.server.batch(&[record.clone(), outcome]).await {
                Ok(()) => return Ok(()),
                Err(doubt) => doubt,
            };
            let not_written = || BusError::failed(format!("commit the result of job {job}"), doubt);
            self.written(job, &record).await?.map(|_| ()).ok_or_else(not_written)
        };
        let tell = |error: &BusError| tracing::warn!(%job, "{error}; trying again");
        BACKOFF.endless().run(work, BusError::is_transient, tell).await
    }

    /// Adds the jobs that are not in the books yet. Existing jobs stay unchanged, except for what a plan says about how
    /// they are carried out. Returns what was requested of jobs before, where it was anything.
    ///
    /// # Errors
    /// When the server does not answer, or an existing order cannot be read.
    pub async fn admit(&self, orders: &[JobOrder]) -> Result<Vec<(JobId, Steering)>, BusError> {
        let pending = encode(&JobRecord::pending());
        let mut steered = Vec::new();
        for order in orders {
            if !self.create(&subjects::order_key(order.job), encode(order)).await? {
                let steering = self.plan_anew(order).await?;
                if steering != Steering::default() {
                    steered.push((order.job, steering));
                }
            }
            self.create(&subjects::record_key(order.job), pending.clone()).await?;
        }
        Ok(steered)
    }

    /// Lets a known job be carried out as the plan of `order` says. What was requested of the job stays, and is returned.
    async fn plan_anew(&self, order: &JobOrder) -> Result<Steering, BusError> {
        loop {
            let missing = || BusError::Missing { what: subjects::order_key(order.job) };
            let known = self.order_entry(order.job).await?.ok_or_else(missing)?;
            let execution = known.order.execution.planned_as(&order.execution);
            let steering = execution.steering;
            if known.order.execution == execution || self.replace_execution(known, execution).await? {
                return Ok(steering);
            }
        }
    }

    /// Changes how a job is carried out. False if somebody else changed its order first.
    pub(super) async fn replace_execution(
        &self,
        known: OrderEntry,
        execution: Execution,
    ) -> Result<bool, BusError> {
        let OrderEntry { order, revision, admitted_nanos } = known;
        let (v, admitted_nanos) = (JobOrder::VERSION, i64::try_from(admitted_nanos).ok());
        let next = JobOrder { v, execution, admitted_nanos, ..order };
        Ok(self.changed(&subjects::order_key(next.job), &next, revision).await?.is_some())
    }

    /// A job's order as it stands in the books, if there is one.
    ///
    /// # Errors
    /// When the server does not answer, or the order cannot be read.
    pub async fn order_entry(&self, job: JobId) -> Result<Option<OrderEntry>, BusError> {
        let key = subjects::order_key(job);
        let Some(entry) = self.entry(&key).await? else { return Ok(None) };
        let order: JobOrder = decode(&key, &entry.value, JobOrder::VERSION)?;
        let admitted_nanos = order.admitted_nanos.map_or(entry.written_nanos, i128::from);
        Ok(Some(OrderEntry { order, revision: entry.revision, admitted_nanos }))
    }

    /// Changes a value that has `revision`, and returns the new revision; `None` when it has another one by now.
    pub(super) async fn changed<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<Option<u64>, BusError> {
        match self.server.update(key, encode(value), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(ServerError::Revision) => Ok(None),
            Err(error) => Err(BusError::failed(format!("write {key}"), error)),
        }
    }

    /// A job's order.
    ///
    /// # Errors
    /// When the server does not answer, or the order is missing or cannot be read.
    pub async fn order(&self, job: JobId) -> Result<JobOrder, BusError> {
        self.read(&subjects::order_key(job), JobOrder::VERSION).await
    }

    /// A finished job's result.
    ///
    /// # Errors
    /// When the server does not answer, or the result is missing, cannot be read, belongs to another job or cannot be
    /// right.
    pub async fn result(&self, job: JobId) -> Result<JobResult, BusError> {
        let key = subjects::result_key(job);
        let result: JobResult = self.read(&key, JobResult::VERSION).await?;
        if result.job != job {
            return Err(BusError::Untrue { what: key, reason: format!("it belongs to job {}", result.job) });
        }
        result.check().map_err(|reason| BusError::Untrue { what: key, reason })?;
        Ok(result)
    }

    /// Reads a value of the books.
    ///
    /// # Errors
    /// When the server does not answer, or the value is missing, damaged or of a version above `known`.
    pub async fn read<T: DeserializeOwned>(&self, key: &str, known: u32) -> Result<T, BusError> {
        let entry = self.entry(key).await?.ok_or_else(|| BusError::Missing { what: key.to_owned() })?;
        decode(key, &entry.value, known)
    }

    /// Writes a value that has only one writer.
    ///
    /// # Errors
    /// When the server refuses or does not answer. The value may have been written all the same.
    pub async fn write<T: Serialize>(&self, key: &str, value: &T) -> Result<(), BusError> {
        self.server.put(key, encode(value)).await.map_err(|e| BusError::failed(format!("write {key}"), e))
    }

    /// Deletes a value, if it exists. Only the coordinator may do this.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn delete(&self, key: &str) -> Result<(), BusError> {
        self.server.delete(key).await.map_err(|e| BusError::failed(format!("delete {key}"), e))
    }

    /// Server time at which a value was written, in nanoseconds since the Unix epoch; `None` if there is no value.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn written_at(&self, key: &str) -> Result<Option<i128>, BusError> {
        Ok(self.entry(key).await?.map(|entry| entry.written_nanos))
    }

    /// Like [`Self::write`], but returns the server time of the write, in nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_at<T: Serialize>(&self, key: &str, value: &T) -> Result<i128, BusError> {
        self.write(key, value).await?;
        self.written_at(key).await?.ok_or_else(|| BusError::Missing { what: key.to_owned() })
    }

    /// Tries whether the server's store accepts writes.
    pub async fn try_store(&self) -> Store {
        match self.server.put(subjects::TRIAL_KEY, encode(&Trial { v: 1 })).await {
            Ok(()) => Store::Writable,
            Err(ServerError::Refused(why)) => Store::Refuses(why),
            Err(
                ServerError::Revision | ServerError::Missing | ServerError::Damaged | ServerError::Doubt(_),
            ) => Store::Silent,
        }
    }

    /// Keys of the books that match `pattern` (such as `sweep.*`), in no particular order.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn keys(&self, pattern: &str) -> Result<Vec<String>, BusError> {
        let prefix = pattern.trim_end_matches('*');
        let keys = self.server.keys().await.map_err(|e| BusError::failed("list the keys of the store", e))?;
        Ok(keys.into_iter().filter(|key| key.starts_with(prefix)).collect())
    }

    /// All current records, then every change.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn watch_records(&self) -> Result<RecordWatch, BusError> {
        let watched = KeyWatch::begin(self.server.clone(), subjects::RECORD_KEYS).await;
        Ok(RecordWatch { inner: watched.map_err(|e| BusError::failed("watch the jobs", e))? })
    }

    pub(super) async fn entry(&self, key: &str) -> Result<Option<Entry>, BusError> {
        self.server.entry(key).await.map_err(|e| BusError::failed(format!("read {key}"), e))
    }

    /// False when something is there already.
    pub(super) async fn create(&self, key: &str, value: Bytes) -> Result<bool, BusError> {
        match self.server.update(key, value, 0).await {
            Ok(_) => Ok(true),
            Err(ServerError::Revision) => Ok(false),
            Err(error) => Err(BusError::failed(format!("write {key}"), error)),
        }
    }
}

/// The records as they change. The client recovers from errors of the connection where it can.
pub struct RecordWatch {
    inner: KeyWatch,
}

impl std::fmt::Debug for RecordWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordWatch").finish_non_exhaustive()
    }
}

impl RecordWatch {
    /// The next change. `None` when the watch has ended and must be opened again.
    pub async fn next(&mut self) -> Option<BookEntry> {
        loop {
            let entry = self.inner.next().await?;
            let Some(job) = subjects::job_of_record_key(&entry.key) else { continue };
            match book_entry(job, &entry) {
                Ok(entry) => return Some(entry),
                Err(error) => tracing::warn!("{error}; this record is skipped"),
            }
        }
    }
}

fn book_entry(job: JobId, entry: &Entry) -> Result<BookEntry, BusError> {
    let record: JobRecord = decode(&entry.key, &entry.value, JobRecord::VERSION)?;
    // The next write has the current layout.
    let record = JobRecord { v: JobRecord::VERSION, ..record };
    Ok(BookEntry { job, record, revision: entry.revision, written_nanos: entry.written_nanos })
}

pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes.into(),
        Err(error) => unreachable!("plain data always becomes JSON: {error}"),
    }
}

/// The largest value in the books, in bytes. By default nats-server itself accepts 1 MiB.
const LARGEST: usize = 8 << 20;

/// Decodes a value of the books. Its version is checked first, so that another layout is refused and never misread.
pub(super) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8], newest: u32) -> Result<T, BusError> {
    let what = || what.to_owned();
    if bytes.len() > LARGEST {
        let reason = format!("it has {} bytes, more than {LARGEST}", bytes.len());
        return Err(BusError::Untrue { what: what(), reason });
    }
    Versions::up_to(newest).decode(bytes).map_err(|error| match error {
        DecodeError::Version(source) => BusError::Version { what: what(), source },
        DecodeError::Json(source) => BusError::Decode { what: what(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_layout_is_refused_before_it_is_read() {
        let newer = br#"{"v":2,"state":"levitating"}"#;
        assert!(matches!(decode::<JobRecord>("job.x", newer, 1), Err(BusError::Version { .. })));
        assert!(matches!(decode::<JobRecord>("job.x", b"{\"v\":1}", 1), Err(BusError::Decode { .. })));
        let long = vec![b' '; LARGEST + 1];
        assert!(matches!(decode::<JobRecord>("job.x", &long, 1), Err(BusError::Untrue { .. })));
        let deep = [b"{\"v\":1,\"x\":".as_slice(), &vec![b'['; 100_000]].concat();
        assert!(matches!(decode::<JobRecord>("job.x", &deep, 1), Err(BusError::Decode { .. })));
        let pending = JobRecord::pending();
        assert_eq!(decode::<JobRecord>("job.x", &encode(&pending), JobRecord::VERSION).unwrap(), pending);
    }
}
