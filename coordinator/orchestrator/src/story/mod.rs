//! What became of a job, and why: its attempts, requests, checkpoints and end, with times. Pure.

mod books;
mod folder;
mod named;
mod words;

use serde::Serialize;
use shared::books::{IncidentKind, Move, Origin};
use shared::device::DeviceRecord;
use shared::ids::{Attempt, JobId};
use shared::result::JobResult;
use shared::trainer::DatasetSize;

use crate::sweep::plan::{Plan, PlannedJob};
use crate::view::labels::Labels;
pub use books::InBooks;
pub use named::{Named, NoName, named};
pub use words::in_words;

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Story {
    pub sweep: String,
    pub job: JobId,
    pub label: String,
    /// The epochs that it was planned with; 0 if this program does not know its trainer.
    pub epochs: u32,
    /// What its score is called.
    pub score_name: String,
    pub source: Source,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What happened, oldest first.
    pub events: Vec<Told>,
    /// Attempts of which nothing is told: a record keeps its last moves only, and earlier versions of Ferry kept none.
    pub untold: u32,
    /// The checkpoints that are kept, oldest first.
    pub checkpoints: Vec<Kept>,
    /// What counts against workers because of this job.
    pub incidents: Vec<Against>,
    /// What readers of its result should know, oldest first.
    pub notes: Vec<String>,
    /// Reasons not to trust the score of a finished job.
    pub warnings: Vec<String>,
}

/// Who tells the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The books of a server.
    Server,
    /// A run folder, which knows results and final failures, and no times.
    Folder,
}

/// How it stands with the job.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// It waits for a worker, with so many epochs saved.
    Pending {
        epoch: u32,
    },
    Paused {
        epoch: u32,
    },
    Cancelled {
        epoch: u32,
    },
    Running {
        worker: String,
        attempt: Attempt,
        epoch: u32,
        /// When the holder last wrote its record.
        heard: Option<u64>,
    },
    Done {
        worker: String,
        attempt: Attempt,
        /// The epochs after which it ended early.
        #[serde(skip_serializing_if = "Option::is_none")]
        stopped_after: Option<u32>,
        /// `None` if its result cannot be found.
        result: Option<Score>,
    },
    Failed {
        reason: String,
        /// The last lines of the last training's log.
        log: Vec<String>,
        /// The command that shows the error.
        #[serde(skip_serializing_if = "Option::is_none")]
        reproduce: Option<String>,
    },
    /// The run folder has neither a result nor a failure.
    Unknown,
}

/// What a finished job came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    pub score: Option<f64>,
    pub epochs: u32,
    pub best_epoch: Option<u32>,
    pub train_seconds: f64,
    pub device: DeviceRecord,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// The server's time in seconds since the Unix epoch, if it is known.
    #[serde(rename = "time")]
    pub at: Option<u64>,
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// It was entered into the books.
    Ordered,
    /// Somebody asked for a change of this job, among others; the time is that of the answer, if there is one.
    Asked { by: String, demand: String, answer: Option<String> },
    /// A move of the job's record.
    Moved {
        attempt: Attempt,
        /// The worker of the attempt that ended; `None` if that is no longer known.
        #[serde(skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// The device of the attempt that began, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        device: Option<String>,
        #[serde(flatten)]
        what: Move,
    },
    /// An earlier result, which was replaced because the job was trained again.
    Replaced { attempt: Attempt, worker: String, score: Option<f64>, epochs: u32 },
}

/// A checkpoint that is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    /// Finished epochs, and finished steps of the next one.
    pub epoch: u32,
    pub step: u32,
    pub bytes: u64,
    /// The other job that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// An incident of a worker with this job, which still counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Against {
    pub worker: String,
    /// `on probation` or `drained`.
    pub standing: &'static str,
    #[serde(flatten)]
    pub kind: IncidentKind,
}

/// A story with nothing in it but which job it is about.
fn begun(plan: &Plan, job: &PlannedJob, source: Source, outcome: Outcome) -> Story {
    let epochs =
        plan.kind().map_or(0, |kind| kind.effort(&job.settings.to_map(), DatasetSize::default()).epochs);
    Story {
        sweep: plan.name.clone(),
        job: job.id,
        label: Labels::of(plan).get(job.id),
        epochs,
        score_name: plan.score_name(),
        source,
        outcome,
        events: Vec::new(),
        untold: 0,
        checkpoints: Vec::new(),
        incidents: Vec::new(),
        notes: Vec::new(),
        warnings: Vec::new(),
    }
}

fn score(plan: &Plan, result: &JobResult) -> Score {
    Score {
        score: plan.ranking.score(&result.metrics),
        epochs: result.epochs(),
        best_epoch: result.best_epoch,
        train_seconds: result.train_seconds,
        device: result.device.clone(),
    }
}

fn warnings(plan: &Plan, job: &PlannedJob, result: &JobResult) -> Vec<String> {
    let warnings = plan.kind().map_or_else(Vec::new, |kind| kind.warnings(result, &job.settings.to_map()));
    warnings.iter().map(ToString::to_string).collect()
}
