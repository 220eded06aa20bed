//! The run folder: a sweep's plan, results and probabilities on disk, enough to rebuild every report without training.
//!
//! ```text
//! runs/<sweep>/
//!   plan.json                        the plan, no absolute path
//!   val.samples.csv test.samples.csv ids and labels, the row order of every matrix of that split
//!   results/<job>.json               accepted results
//!   probabilities/<job>.val.npy      [N, C] f32 (test and others likewise), for results with predictions
//!   models/<job>.safetensors         weights of the jobs whose models are wanted
//!   failures/<job>.json              why a job failed for good
//!   workers/<name>.json              why a worker was drained
//!   forecasts.json                   what was foretold of the sweep's end, at its start and at each quarter
//!   provenance.json                  each `ferry run` that stored results here
//!   earlier/<job>/<attempt>/         a result that was replaced because the job was trained again
//!   .lock                            locked while a `ferry run` writes into the folder
//! ```
//! Every file is written under another name and renamed, so a reader sees all of it or nothing. Nothing inside contains
//! the folder's own path, so it can be moved or copied.

mod check;
mod error;
mod forecasts;
mod history;
mod in_use;
mod model;
mod provenance;
mod read;
mod report_json;
mod result_writer;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shared::ids::JobId;
use shared::predictions::{Matrix, SampleList};
use shared::result::{JobResult, VALIDATION};

use crate::cost::forecast::Forecasts;
use crate::sweep::plan::Plan;
pub use error::RunDirError;
pub use history::JobFiles;
pub use in_use::RunDirLock;
pub use provenance::{GitState, RunProvenance};
pub use result_writer::{ResultFiles, ResultWriter};
pub use write::Found;

/// A run folder that exists.
#[derive(Debug, Clone)]
pub struct RunDir {
    root: PathBuf,
}

/// Everything a run folder holds, checked.
#[derive(Debug, Clone)]
pub struct RunRecord {
    pub plan: Plan,
    /// Sample lists by the name of the predictions whose rows they order. A list is missing until it is written, or if
    /// there are no such samples.
    pub samples: BTreeMap<String, SampleList>,
    /// Results of the plan's jobs. Files of jobs that an edited sweep no longer contains stay, but are not read.
    pub results: BTreeMap<JobId, JobResult>,
    /// Probabilities of the same jobs by the name of the predictions.
    pub predictions: BTreeMap<JobId, BTreeMap<String, Matrix>>,
    /// Those of these jobs whose models are in the folder.
    pub models: BTreeSet<JobId>,
    /// Why jobs failed for good. A job that has a result is never here.
    pub failures: BTreeMap<JobId, JobFailure>,
    /// Workers that were taken out of this sweep, each with the reason.
    pub drained: BTreeMap<String, String>,
    /// What was foretold of the sweep's end; `None` if nothing was.
    pub forecasts: Option<Forecasts>,
}

/// A job's result with its probabilities by the name of the predictions.
#[derive(Debug, Clone)]
pub struct StoredResult {
    pub result: JobResult,
    pub predictions: BTreeMap<String, Matrix>,
}

/// Why a job has no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    pub error: String,
    /// The last lines of the last training's log.
    #[serde(default)]
    pub log: Vec<String>,
}

/// Layout version of `plan.json` and the failure files.
const VERSION: u32 = 1;

const PLAN: &str = "plan.json";

#[derive(Serialize, Deserialize)]
struct StoredPlan {
    v: u32,
    plan: Plan,
}

#[derive(Serialize, Deserialize)]
struct StoredFailure {
    v: u32,
    job: JobId,
    #[serde(flatten)]
    failure: JobFailure,
}

#[derive(Serialize, Deserialize)]
struct StoredDrain {
    v: u32,
    worker: String,
    reason: String,
}

impl RunDir {
    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path of a job's matrix relative to the folder, with `/` on every system. The name of the predictions is one that
    /// [`JobResult::check`] allows.
    pub fn probabilities_name(job: JobId, split: &str) -> String {
        format!("probabilities/{job}.{}.npy", stem(split))
    }

    /// Path of a job's model relative to the folder.
    pub fn model_name(job: JobId) -> String {
        format!("models/{job}.safetensors")
    }

    /// Path of the sample list of these predictions relative to the folder.
    pub fn samples_name(split: &str) -> String {
        format!("{}.samples.csv", stem(split))
    }

    fn result_path(&self, job: JobId) -> PathBuf {
        self.root.join("results").join(format!("{job}.json"))
    }

    fn failure_path(&self, job: JobId) -> PathBuf {
        self.root.join("failures").join(format!("{job}.json"))
    }

    fn probabilities_path(&self, job: JobId, split: &str) -> PathBuf {
        self.root.join(Self::probabilities_name(job, split))
    }

    fn samples_path(&self, split: &str) -> PathBuf {
        self.root.join(Self::samples_name(split))
    }
}

/// What predictions are called in file names: as in results, with one short form.
fn stem(split: &str) -> &str {
    if split == VALIDATION { SHORT_VALIDATION } else { split }
}

/// The short form, which no predictions may have as their own name.
const SHORT_VALIDATION: &str = "val";
