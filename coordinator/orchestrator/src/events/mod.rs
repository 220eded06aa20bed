//! What happens to a sweep, as typed events that anyone can follow.
//!
//! Events are kept nowhere: they are the difference between what the books say and what was told before, so whoever may
//! read the books can derive them, at any time and without help from the coordinator. The books keep a job's reports and
//! the end of its log; therefore a late follower sees them, too. What is not told again: workers that held a job before
//! the current one, and lines of a log that were followed by more than a record keeps.

mod follower;
mod job;
#[cfg(test)]
mod tests;

use serde::Serialize;
use shared::books::Incident;
use shared::ids::{Attempt, JobId, RequestId, WorkerId};
use shared::metrics::Metrics;
use shared::protocol::EnsembleState;

pub use follower::{Follower, Since};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepEvent {
    pub v: u32,
    /// The server's time of the entry in the books that shows it, in seconds since the Unix epoch.
    pub time: f64,
    #[serde(flatten)]
    pub kind: EventKind,
}

impl SweepEvent {
    /// Version of this layout. New kinds and new fields do not raise it: whoever reads events skips what it does not
    /// know.
    pub const VERSION: u32 = 1;
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A worker took the job, which continues after `epoch`.
    Started { job: JobId, worker: WorkerId, attempt: Attempt, epoch: u32 },
    /// A worker took the job over from one that stopped responding.
    TakenOver { job: JobId, worker: WorkerId, from: WorkerId, attempt: Attempt, epoch: u32 },
    /// The training reported its metrics: after `epoch` epochs, and `step` steps of the next one.
    #[serde(rename = "epoch")]
    Reported {
        job: JobId,
        /// Who reported it; `None` if that is no longer known.
        #[serde(skip_serializing_if = "Option::is_none")]
        worker: Option<WorkerId>,
        /// The attempt that reported it. Of a job that was done before it was followed: the one that finished it.
        attempt: Attempt,
        epoch: u32,
        #[serde(skip_serializing_if = "is_zero")]
        step: u32,
        /// Time since the report before.
        seconds: f64,
        /// The metric that ranks jobs.
        score: Option<f64>,
        metrics: Metrics,
    },
    /// The training logged these lines.
    Logged {
        job: JobId,
        attempt: Attempt,
        /// Number of the first line; the attempt's first line is 0.
        line: u64,
        lines: Vec<String>,
    },
    /// The holder handed the job back unharmed.
    GivenBack { job: JobId },
    /// An attempt failed and the job will be tried again.
    Failed { job: JobId, error: String },
    /// The job failed for good; `log` is the end of the last training's log.
    GivenUp { job: JobId, reason: String, log: Vec<String> },
    /// The job was handed back because of something temporary: the server, the network or a disk.
    #[serde(rename = "set_back")]
    Deferred { job: JobId },
    /// The job has a result; after `stopped_after` epochs, if it ended early.
    Done {
        job: JobId,
        worker: WorkerId,
        #[serde(skip_serializing_if = "Option::is_none")]
        stopped_after: Option<u32>,
    },
    /// A remark of the worker, such as a damaged checkpoint.
    Note { job: JobId, note: String },
    /// Different jobs failed on a worker, and no other worker has tried them yet.
    Suspected {
        worker: String,
        #[serde(rename = "charges")]
        incidents: Vec<Incident>,
    },
    /// A worker gets no more jobs.
    Drained { worker: String, reason: String },
    /// A worker that was suspected or drained gets jobs again.
    Trusted { worker: String },
    /// Somebody asked for a change of the sweep.
    Asked { request: RequestId, by: String, demand: String },
    /// A request to change the sweep was answered.
    Answered {
        request: RequestId,
        /// Who asked.
        by: String,
        demand: String,
        answer: String,
    },
    /// The plan was changed on request, for the `generation`-th time.
    Planned { generation: u64 },
    /// All jobs that an ensemble chooses its members from are done.
    EnsembleReady { ensemble: String, jobs: usize },
    /// An ensemble has another score, or other members, or can change no more.
    EnsembleScored {
        ensemble: String,
        /// The jobs among which it chooses; those that could still change its members; those that failed for good.
        candidates: usize,
        waiting: usize,
        failed: usize,
        #[serde(flatten)]
        state: EnsembleState,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(step: &u32) -> bool {
    *step == 0
}

impl EventKind {
    /// The job that it is about, if it is about one.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::Started { job, .. }
            | Self::TakenOver { job, .. }
            | Self::Reported { job, .. }
            | Self::Logged { job, .. }
            | Self::GivenBack { job }
            | Self::Failed { job, .. }
            | Self::GivenUp { job, .. }
            | Self::Deferred { job }
            | Self::Done { job, .. }
            | Self::Note { job, .. } => Some(*job),
            Self::Suspected { .. }
            | Self::Drained { .. }
            | Self::Trusted { .. }
            | Self::Asked { .. }
            | Self::Answered { .. }
            | Self::Planned { .. }
            | Self::EnsembleReady { .. }
            | Self::EnsembleScored { .. } => None,
        }
    }
}
