//! What happens to a sweep, as the engine is told.

use shared::books::{CarriedOut, JobRecord, WorkerRecord};
use shared::ids::{JobId, RequestId};
use shared::protocol::{Request, Steering};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A record was written, by anyone.
    RecordChanged { job: JobId, revision: u64, record: JobRecord },
    /// A worker's standing was written, by anyone.
    StandingChanged { revision: u64, record: WorkerRecord },
    /// A finished job's result is now in the run folder.
    Stored(JobId),
    /// A finished job's result could not be fetched; it will be fetched again later.
    NotStored(JobId),
    /// A finished job's result cannot be used, and why.
    Refused { job: JobId, why: String },
    /// A request to change the sweep, or its answer, was written.
    Requested { revision: u64, request: Request },
    /// A request was removed from the books.
    RequestGone(RequestId),
    /// A job was changed as a request asked, or cannot be.
    CarriedOut { request: RequestId, job: JobId, outcome: CarriedOut },
    /// The plan was changed as a request asked, or cannot be.
    PlanChanged { request: RequestId, outcome: Result<PlanChange, String> },
    /// What another run has changed on request.
    Learned(PlanChange),
    /// It is time to make good what was lost on the way.
    Reconcile,
}

/// What becomes of a fetched result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Wanted,
    /// The job is trained again: the result is kept aside.
    Outdated,
    /// Another result is stored already, or the job is no longer part of the sweep.
    Unwanted,
}

/// What a change of the plan did to the jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanChange {
    pub added: Vec<JobId>,
    pub withdrawn: Vec<JobId>,
    /// What is requested of jobs that were asked for.
    pub steered: Vec<(JobId, Steering)>,
    /// What whoever asked should know.
    pub remarks: Vec<String>,
}
