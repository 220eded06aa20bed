//! Requests to change a sweep, and how they change the order and the record of a job.

use super::server::Entry;
use super::values::{decode, encode};
use super::{Bus, BusError};
use crate::books::{CarriedOut, JobState};
use crate::ids::{JobId, RequestId};
use crate::protocol::{Answer, Execution, JobChange, Request, Steering, SweepRecord, subjects};

/// A request at one revision of its entry in the books. Revisions tell which request came first.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestEntry {
    pub request: Request,
    pub revision: u64,
    /// Server time of the request, or of its answer once it has one, in nanoseconds since the Unix epoch.
    pub written_nanos: i128,
}

impl Bus {
    /// Enters a request into the books. A coordinator of its sweep answers it, now or when one runs.
    ///
    /// # Errors
    /// When the server refuses or does not answer. The request may have been entered all the same; entering it again
    /// does no harm.
    pub async fn request(&self, request: &Request) -> Result<(), BusError> {
        self.create(&subjects::request_key(request.id), encode(request)).await.map(drop)
    }

    /// A request, with its answer if there is one.
    ///
    /// # Errors
    /// When the server does not answer, or the request is not there or cannot be right.
    pub async fn requested(&self, id: RequestId) -> Result<RequestEntry, BusError> {
        let key = subjects::request_key(id);
        let entry = self.entry(&key).await?.ok_or_else(|| BusError::Missing { what: key })?;
        read(&entry)
    }

    /// Revision of the newest request or answer, 0 if there is none.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn newest_request(&self) -> Result<u64, BusError> {
        self.newest(&[subjects::REQUEST_KEYS]).await
    }

    /// Answers a request, unless it has an answer already.
    ///
    /// # Errors
    /// When the server refuses or does not answer, or the request is gone.
    pub async fn answer(&self, id: RequestId, answer: Answer) -> Result<(), BusError> {
        loop {
            let RequestEntry { request, revision, .. } = self.requested(id).await?;
            if request.answer.is_some() {
                return Ok(());
            }
            let answered = Request { answer: Some(answer.clone()), ..request };
            if self.changed(&subjects::request_key(id), &answered, revision).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Whether a request has its answer. Then nothing may be done for it any more: a later request may have changed the
    /// same thing again. Ask after reading what is to change, and change only what was read: so a coordinator that was
    /// suspended in between undoes nothing.
    ///
    /// # Errors
    /// As [`Self::requested`].
    pub async fn is_answered(&self, id: RequestId) -> Result<bool, BusError> {
        Ok(self.requested(id).await?.request.answer.is_some())
    }

    /// Changes how a job is carried out on request `by`, in its order. Workers follow the order; for a job that nobody
    /// holds, the coordinator brings the record into line ([`crate::books::JobRecord::following`]). Doing it again after a
    /// crash changes nothing more.
    ///
    /// # Errors
    /// When the server does not answer, or order, record or request cannot be read.
    pub async fn carry_out(
        &self,
        job: JobId,
        by: RequestId,
        change: JobChange,
    ) -> Result<CarriedOut, BusError> {
        let unknown = || Ok(CarriedOut::Refused("this server does not know it".to_owned()));
        loop {
            let Some(known) = self.order_entry(job).await? else { return unknown() };
            let steering = known.order.execution.steering;
            if steering.changed_by == Some(by) {
                return Ok(CarriedOut::Done(steering));
            }
            let Some(entry) = self.record(job).await? else { return unknown() };
            if self.is_answered(by).await? {
                return Ok(CarriedOut::Done(steering));
            }
            if let Some(why) = entry.record.refusal(change, &steering) {
                return Ok(CarriedOut::Refused(why));
            }
            let steering = steering.changed(change, by, entry.record.attempts);
            let execution = Execution { steering, ..known.order.execution.clone() };
            if self.replace_execution(known, execution).await? {
                return Ok(CarriedOut::Done(steering));
            }
        }
    }

    /// Lets a job be carried out as was requested of another one whose place it takes on request `by`. One that is done is
    /// left as it is. Doing it again after a crash changes nothing more.
    ///
    /// # Errors
    /// As [`Self::carry_out`].
    pub async fn take_place(&self, job: JobId, by: RequestId, before: &Steering) -> Result<(), BusError> {
        loop {
            let Some(known) = self.order_entry(job).await? else { return Ok(()) };
            let steering = known.order.execution.steering;
            let record = self.record(job).await?.map(|entry| entry.record);
            let is_done = record.is_some_and(|record| matches!(record.state, JobState::Done { .. }));
            if is_done || steering.changed_by == Some(by) || self.is_answered(by).await? {
                return Ok(());
            }
            let steering = steering.in_place_of(before, by);
            let execution = Execution { steering, ..known.order.execution.clone() };
            if self.replace_execution(known, execution).await? {
                return Ok(());
            }
        }
    }

    /// The entry of a sweep and its revision, if there is such a sweep.
    ///
    /// # Errors
    /// When the server does not answer, or the entry cannot be read.
    pub async fn sweep(&self, name: &str) -> Result<Option<(SweepRecord, u64)>, BusError> {
        self.read_entry(&subjects::sweep_key(name), SweepRecord::VERSION).await
    }

    /// Changes the entry of a sweep that has this revision (0: that is not there). False when somebody else changed it
    /// first.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn swap_sweep(&self, record: &SweepRecord, revision: u64) -> Result<bool, BusError> {
        self.write_entry(&subjects::sweep_key(&record.name), record, revision).await
    }
}

pub(super) fn read(entry: &Entry) -> Result<RequestEntry, BusError> {
    let request: Request = decode(&entry.key, &entry.value, Request::VERSION)?;
    let untrue = |reason: String| BusError::Untrue { what: entry.key.clone(), reason };
    let id = subjects::request_of_key(&entry.key).ok_or_else(|| untrue("its key has no id".to_owned()))?;
    request.check(id).map_err(untrue)?;
    Ok(RequestEntry { request, revision: entry.revision, written_nanos: entry.written_nanos })
}
