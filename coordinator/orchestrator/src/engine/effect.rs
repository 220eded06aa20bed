//! What the engine wants done.

use shared::books::{JobRecord, WorkerRecord};
use shared::ids::{JobId, RequestId};
use shared::protocol::{Answer, Demand, JobChange, Request};

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The job's message in the queue may be lost.
    Enqueue(JobId),
    /// Fetch the result and its probabilities into the run folder.
    Fetch(JobId),
    /// The result in the run folder is no longer that of the job.
    SetAside(JobId),
    /// Delete a checkpoint that no record refers to any more.
    DropCheckpoint(String),
    /// Write a worker's standing.
    WriteStanding(WorkerRecord),
    /// Change a job's record, unless somebody else changes it first.
    Swap { job: JobId, revision: u64, next: JobRecord },
    /// Change how a job is carried out.
    CarryOut { request: RequestId, job: JobId, change: JobChange },
    /// Change the plan.
    ChangePlan { request: RequestId, demand: Demand },
    /// Write the answer to a request.
    Answer { request: RequestId, answer: Answer },
    /// Look what another run has changed on this request.
    Learn(Request),
    /// Start no process for this worker any more: it gets no more jobs.
    Drained { worker: String, reason: String },
}

impl Effect {
    /// Whether it changes the books or the store, which only the run that conducts the sweep does.
    pub fn is_for_the_conductor(&self) -> bool {
        match self {
            Self::Enqueue(_)
            | Self::DropCheckpoint(_)
            | Self::WriteStanding(_)
            | Self::Swap { .. }
            | Self::CarryOut { .. }
            | Self::ChangePlan { .. }
            | Self::Answer { .. } => true,
            Self::Fetch(_) | Self::SetAside(_) | Self::Learn(_) | Self::Drained { .. } => false,
        }
    }
}
