//! The run folder: a sweep's plan, results and probabilities on disk, enough to rebuild every report without training.
//!
//! ```text
//! runs/<sweep>/
//!   plan.json                        the plan, no absolute path
//!   val.samples.csv test.samples.csv ids and labels, the row order of every matrix of that split
//!   results/<job>.json               accepted results
//!   probabilities/<job>.val.npy      [N, 6] f32 (test likewise)
//!   models/<job>.safetensors         weights of the jobs whose models are wanted
//!   failures/<job>.json              why a job failed for good
//!   workers/<name>.json              why a worker was drained
//!   earlier/<job>/<attempt>/         a result that was replaced because the job was trained again
//! ```
//! Every file is written under another name and renamed, so a reader sees all of it or nothing. Nothing inside contains
//! the folder's own path, so it can be moved or copied.

mod error;
mod history;
mod model;
mod read;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shared::expression::CLASSES;
use shared::ids::JobId;
use shared::metrics::{Confusion, argmax};
use shared::pack::Split;
use shared::predictions::SampleList;
use shared::result::{JobResult, Score};

use crate::sweep::plan::Plan;
pub use error::RunDirError;

/// A run folder that exists.
#[derive(Debug, Clone)]
pub struct RunDir {
    root: PathBuf,
}

/// Everything a run folder holds, checked.
#[derive(Debug, Clone)]
pub struct RunRecord {
    pub plan: Plan,
    pub samples: Samples,
    /// Results of the plan's jobs. Files of jobs that an edited sweep no longer contains stay, but are not read.
    pub results: BTreeMap<JobId, JobResult>,
    /// Probabilities of the same jobs.
    pub probabilities: BTreeMap<JobId, Probabilities>,
    /// Those of these jobs whose models are in the folder.
    pub models: BTreeSet<JobId>,
    /// Why jobs failed for good. A job that has a result is never here.
    pub failures: BTreeMap<JobId, JobFailure>,
    /// Workers that were taken out of this sweep, each with the reason.
    pub drained: BTreeMap<String, String>,
}

/// Why a job has no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    pub error: String,
    /// The last lines of the last training's log.
    #[serde(default)]
    pub log: Vec<String>,
}

/// The sample lists of the two scored splits. `None` until written, or if the dataset has no such split.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples {
    pub validation: Option<SampleList>,
    pub test: Option<SampleList>,
}

/// One job's class probabilities, [N, 6] per split.
#[derive(Debug, Clone, PartialEq)]
pub struct Probabilities {
    pub validation: Vec<[f32; CLASSES]>,
    pub test: Option<Vec<[f32; CLASSES]>>,
}

/// Score of a matrix against the labels of its samples; `None` if no label is known.
pub fn score(probabilities: &[[f32; CLASSES]], samples: &SampleList) -> Option<Score> {
    let pairs = samples.labels.iter().zip(probabilities);
    let confusion = Confusion::from_pairs(
        pairs.filter_map(|(label, row)| label.map(|class| (usize::from(class), argmax(row)))),
    );
    (confusion.total() > 0).then(|| confusion.into())
}

/// F1 values computed twice from the same counts differ only by rounding.
const SCORE_TOLERANCE: f64 = 1e-9;

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

    /// Path of a job's matrix relative to the folder, with `/` on every system.
    pub fn probabilities_name(job: JobId, split: Split) -> String {
        format!("probabilities/{job}.{}.npy", stem(split))
    }

    /// Path of a job's model relative to the folder.
    pub fn model_name(job: JobId) -> String {
        format!("models/{job}.safetensors")
    }

    /// Path of a split's sample list relative to the folder.
    pub fn samples_name(split: Split) -> String {
        format!("{}.samples.csv", stem(split))
    }

    fn result_path(&self, job: JobId) -> PathBuf {
        self.root.join("results").join(format!("{job}.json"))
    }

    fn failure_path(&self, job: JobId) -> PathBuf {
        self.root.join("failures").join(format!("{job}.json"))
    }

    fn probabilities_path(&self, job: JobId, split: Split) -> PathBuf {
        self.root.join(Self::probabilities_name(job, split))
    }

    fn samples_path(&self, split: Split) -> PathBuf {
        self.root.join(Self::samples_name(split))
    }
}

/// The short names of splits in file names.
const fn stem(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "val",
        Split::Test => "test",
    }
}
