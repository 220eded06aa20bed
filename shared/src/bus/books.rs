//! Records and results: records change by compare-and-swap, results are accepted in one batch, and after a lost reply
//! the record is read back.

use super::server::{Entry, Write};
use super::values::{decode, encode};
use super::{BACKOFF, Bus, BusError};
use crate::books::JobRecord;
use crate::ids::JobId;
use crate::protocol::subjects;
use crate::result::JobResult;

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
        self.write_record(job, revision, next, None).await
    }

    /// Writes a record that has `revision`, together with a result if there is one, and returns the new revision.
    async fn write_record(
        &self,
        job: JobId,
        revision: u64,
        next: &JobRecord,
        result: Option<&JobResult>,
    ) -> Result<u64, BusError> {
        let record = Write { key: subjects::record_key(job), expected: Some(revision), value: encode(next) };
        // A job that is trained again has a result already. The record's revision protects both.
        let result = result.map(|result| Write {
            key: subjects::result_key(job),
            expected: None,
            value: encode(result),
        });
        // The result first: whoever sees the record finds it.
        let writes: Vec<Write> = result.into_iter().chain([record.clone()]).collect();
        let work = || async {
            let doubt = match self.group.write(writes.clone()).await {
                Ok(revision) => return Ok(revision),
                Err(doubt) => doubt,
            };
            let not_written = || BusError::failed(format!("write the record of job {job}"), doubt);
            self.written(job, &record).await?.ok_or_else(not_written)
        };
        let tell = |error: &BusError| tracing::warn!(%job, "{error}; trying again");
        BACKOFF.endless().run(work, BusError::is_transient, tell).await
    }

    /// Reads back a record after a write with an unknown outcome: its revision if it was written, `None` if the write
    /// may be tried again. Anything else in its place is a conflict.
    async fn written(&self, job: JobId, write: &Write) -> Result<Option<u64>, BusError> {
        match self.entry(&write.key).await {
            Ok(Some(entry)) if entry.value == write.value => Ok(Some(entry.revision)),
            Ok(Some(entry)) if Some(entry.revision) == write.expected => Ok(None),
            Ok(None) if write.expected == Some(0) => Ok(None),
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
        self.write_record(result.job, revision, next, Some(result)).await.map(drop)
    }

    /// A finished job's result.
    ///
    /// # Errors
    /// When the server does not answer, or the result is missing, cannot be read, belongs to another job or cannot be
    /// right.
    pub async fn result(&self, job: JobId) -> Result<JobResult, BusError> {
        let key = subjects::result_key(job);
        let entry = self.entry(&key).await?.ok_or_else(|| BusError::Missing { what: key.clone() })?;
        job_result(job, &entry)
    }
}

pub(super) fn book_entry(job: JobId, entry: &Entry) -> Result<BookEntry, BusError> {
    let record: JobRecord = decode(&entry.key, &entry.value, JobRecord::VERSION)?;
    // The next write has the current layout.
    let record = JobRecord { v: JobRecord::VERSION, ..record };
    Ok(BookEntry { job, record, revision: entry.revision, written_nanos: entry.written_nanos })
}

pub(super) fn job_result(job: JobId, entry: &Entry) -> Result<JobResult, BusError> {
    let result: JobResult = decode(&entry.key, &entry.value, JobResult::VERSION)?;
    let untrue = |reason: String| BusError::Untrue { what: entry.key.clone(), reason };
    if result.job != job {
        return Err(untrue(format!("it belongs to job {}", result.job)));
    }
    result.check().map_err(untrue)?;
    Ok(result)
}
