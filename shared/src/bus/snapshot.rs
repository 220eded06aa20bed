//! One pass over the books instead of one request per job: every current entry under some keys, then an end.
//!
//! It reads a watch until the newest revision has come that was there before. That revision may be gone meanwhile: the
//! key that had it was deleted, or changed, which gives a newer one. A watch may also report errors, end, or go deaf
//! (see [`super::feed`]). Whenever nothing comes, the server is therefore asked again, and a watch that stays behind is
//! replaced by one that begins after the last entry that came.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;

use super::books::{book_entry, job_result};
use super::feed::newest;
use super::orders::order_entry;
use super::requests::{RequestEntry, read as request_entry};
use super::server::{Entry, ServerError};
use super::{BookEntry, Bus, BusError, OrderEntry};
use crate::ids::JobId;
use crate::protocol::subjects;
use crate::result::JobResult;

/// A watch that delivers nothing for this long may be dead.
const QUIET: Duration = Duration::from_secs(2);
/// How often in a row a watch may be quiet or report an error before it is replaced.
const QUIET_MOST: u32 = 2;
/// How many watches in a row may deliver nothing before the pass is given up.
const WATCHES_MOST: u32 = 5;
/// Up to so many jobs are read one by one: a pass costs as much as there are entries.
const FEW: usize = 256;

/// The entries of jobs under one kind of key.
struct JobKeys {
    all: &'static [&'static str],
    of: fn(JobId) -> String,
    job: fn(&str) -> Option<JobId>,
}

const ORDERS: JobKeys =
    JobKeys { all: &[subjects::ORDER_KEYS], of: subjects::order_key, job: subjects::job_of_order_key };
const RECORDS: JobKeys =
    JobKeys { all: &[subjects::RECORD_KEYS], of: subjects::record_key, job: subjects::job_of_record_key };
const RESULTS: JobKeys =
    JobKeys { all: &[subjects::RESULT_KEYS], of: subjects::result_key, job: subjects::job_of_result_key };
const REQUESTS: &[&str] = &[subjects::REQUEST_KEYS];

impl Bus {
    /// Hands the records of `jobs` to `each`, as far as there are any. A record that changes meanwhile may come twice,
    /// the newest last.
    ///
    /// # Errors
    /// When the server does not answer, or one of these records cannot be read.
    pub async fn each_record(
        &self,
        jobs: &BTreeSet<JobId>,
        mut each: impl FnMut(BookEntry) + Send,
    ) -> Result<(), BusError> {
        self.each_of(&RECORDS, jobs, |job, entry| {
            each(book_entry(job, entry)?);
            Ok(())
        })
        .await
    }

    /// Hands the orders of `jobs` to `each`, like [`Self::each_record`].
    ///
    /// # Errors
    /// When the server does not answer, or one of these orders cannot be read.
    pub async fn each_order(
        &self,
        jobs: &BTreeSet<JobId>,
        mut each: impl FnMut(JobId, OrderEntry) + Send,
    ) -> Result<(), BusError> {
        self.each_of(&ORDERS, jobs, |job, entry| {
            each(job, order_entry(entry)?);
            Ok(())
        })
        .await
    }

    /// Hands the results of `jobs` to `each`, like [`Self::each_record`].
    ///
    /// # Errors
    /// When the server does not answer, or one of these results cannot be read.
    pub async fn each_result(
        &self,
        jobs: &BTreeSet<JobId>,
        mut each: impl FnMut(JobResult) + Send,
    ) -> Result<(), BusError> {
        self.each_of(&RESULTS, jobs, |job, entry| {
            each(job_result(job, entry)?);
            Ok(())
        })
        .await
    }

    /// Hands the requests to change any sweep to `each`, in the order in which they came or were answered.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn each_request(&self, mut each: impl FnMut(RequestEntry) + Send) -> Result<(), BusError> {
        let entry = |entry: &Entry| {
            match request_entry(entry) {
                Ok(request) => each(request),
                Err(error) => tracing::debug!(%error, "a request that cannot be read is left alone"),
            }
            Ok(())
        };
        self.each_entry(REQUESTS, entry).await
    }

    /// Hands the entries of `jobs` under `keys` to `each`, as far as there are any.
    async fn each_of(
        &self,
        keys: &'static JobKeys,
        jobs: &BTreeSet<JobId>,
        mut each: impl FnMut(JobId, &Entry) -> Result<(), BusError> + Send,
    ) -> Result<(), BusError> {
        if jobs.len() <= FEW {
            for &job in jobs {
                if let Some(entry) = self.entry(&(keys.of)(job)).await? {
                    each(job, &entry)?;
                }
            }
            return Ok(());
        }
        let entry = |entry: &Entry| match (keys.job)(&entry.key).filter(|job| jobs.contains(job)) {
            Some(job) => each(job, entry),
            None => Ok(()),
        };
        self.each_entry(keys.all, entry).await
    }

    /// Hands every current entry under `keys` to `each`, in the order of the revisions.
    async fn each_entry(
        &self,
        keys: &'static [&'static str],
        mut each: impl FnMut(&Entry) -> Result<(), BusError> + Send,
    ) -> Result<(), BusError> {
        let failed = |error| BusError::failed("read the books", error);
        let server = self.server.as_ref();
        let (mut until, mut seen) = (newest(server, keys).await.map_err(failed)?, 0);
        let mut barren = 0;
        while seen < until {
            if barren == WATCHES_MOST {
                return Err(failed(ServerError::doubt("the server delivers nothing")));
            }
            let (before, mut quiet) = (seen, 0);
            let mut watch = server.watch(keys, seen).await.map_err(failed)?;
            while seen < until && quiet < QUIET_MOST {
                match tokio::time::timeout(QUIET, watch.next()).await {
                    Ok(Some(Ok(entry))) => {
                        (seen, quiet) = (seen.max(entry.revision), 0);
                        self.clock.heard(entry.written_nanos);
                        each(&entry)?;
                        continue;
                    }
                    Ok(None) => break,
                    Ok(Some(Err(error))) => {
                        tracing::debug!(%error, "the watch reported an error and continues");
                    }
                    Err(_nothing_came) => {}
                }
                // What was the newest entry may have been deleted.
                until = until.min(newest(server, keys).await.map_err(failed)?);
                quiet += 1;
            }
            barren = if seen == before { barren + 1 } else { 0 };
        }
        Ok(())
    }
}
