//! What a finished job hands in: its metrics and their history, and pointers to its predictions and artifacts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::blob::BlobRef;
use crate::device::{DeviceRecord, Software};
use crate::ids::{Attempt, JobId, WorkerId};
use crate::job::{Inputs, TrainerId};
use crate::log::JobLog;
use crate::metrics::{self, Metrics, Point};
use crate::mtl::earlier::EarlierResult;
use crate::mtl::report::EpochReport;

/// Class probabilities over the samples of one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    /// `.npy`, [N, C] f32, rows in the order of the sample list.
    pub probabilities: BlobRef,
    /// Digest of the sample list ([`crate::predictions::SampleList::digest`]).
    pub samples_digest: String,
    /// The sample list as CSV, unless it is that of the dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<BlobRef>,
    /// Macro F1 in percent; `None` if no label is known.
    pub macro_f1: Option<f64>,
}

/// A job's accepted result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Layout")]
pub struct JobResult {
    pub v: u32,
    pub job: JobId,
    pub trainer: TrainerId,
    #[serde(default)]
    pub inputs: Inputs,
    /// The metrics that the job ends with.
    pub metrics: Metrics,
    /// What the training reported, in order.
    pub history: Vec<Point>,
    /// The epoch whose predictions and model these are, if the trainer chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_epoch: Option<u32>,
    /// The epochs after which the job ended early, on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_after: Option<u32>,
    /// By the name of the split. Jobs whose results have predictions can vote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub predictions: BTreeMap<String, Predictions>,
    /// Files by name, such as [`MODEL`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub artifacts: BTreeMap<String, BlobRef>,
    /// Wall time of all epochs of this job, over all its attempts.
    pub train_seconds: f64,
    /// The most memory that the last attempt had at once, in bytes: the GPU's if it was on one, else that of the worker's
    /// process. `None` if the trainer does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    pub device: DeviceRecord,
    /// `None` in results from before it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<Software>,
    pub worker: WorkerId,
    pub attempt: Attempt,
    /// `None` in results from before it was known, or if the server's time was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
    /// What the attempt logged.
    #[serde(default, skip_serializing_if = "JobLog::is_empty")]
    pub log: JobLog,
}

/// When a job was trained, in seconds since the Unix epoch by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When its first attempt began, as far as its record goes back.
    pub started: u64,
    /// When its result was accepted.
    pub ended: u64,
}

/// Name of the trained model among the artifacts, a safetensors file.
pub const MODEL: &str = "model";
/// Name of the predictions by which jobs are compared.
pub const VALIDATION: &str = "validation";
/// Name of the predictions that are reported, and never chosen by.
pub const TEST: &str = "test";

/// The most points, artifacts and sets of predictions that a result may have.
const MOST_POINTS: usize = 100_000;
const MOST_FILES: usize = 64;

/// The layouts of results: versions 1 and 2 were of one trainer only.
#[derive(Deserialize)]
#[serde(untagged)]
enum Layout {
    Now(Box<Fields>),
    Earlier(Box<EarlierResult>),
}

#[derive(Deserialize)]
struct Fields {
    v: u32,
    job: JobId,
    trainer: TrainerId,
    #[serde(default)]
    inputs: Inputs,
    metrics: Metrics,
    history: Vec<Point>,
    #[serde(default)]
    best_epoch: Option<u32>,
    #[serde(default)]
    stopped_after: Option<u32>,
    #[serde(default)]
    predictions: BTreeMap<String, Predictions>,
    #[serde(default)]
    artifacts: BTreeMap<String, BlobRef>,
    train_seconds: f64,
    #[serde(default)]
    peak_memory: Option<u64>,
    device: DeviceRecord,
    #[serde(default)]
    software: Option<Software>,
    worker: WorkerId,
    attempt: Attempt,
    #[serde(default)]
    times: Option<Times>,
    #[serde(default)]
    log: JobLog,
}

impl From<Layout> for JobResult {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Now(fields) => {
                let Fields { v, job, trainer, inputs, metrics, history, best_epoch, .. } = *fields;
                let Fields { stopped_after, predictions, artifacts, train_seconds, peak_memory, .. } =
                    *fields;
                let Fields { device, software, worker, attempt, times, log, .. } = *fields;
                Self {
                    v,
                    job,
                    trainer,
                    inputs,
                    metrics,
                    history,
                    best_epoch,
                    stopped_after,
                    predictions,
                    artifacts,
                    train_seconds,
                    peak_memory,
                    device,
                    software,
                    worker,
                    attempt,
                    times,
                    log,
                }
            }
            Layout::Earlier(earlier) => Self::from_earlier(*earlier),
        }
    }
}

impl JobResult {
    /// Version of this record's layout. 2: how the training fitted into memory, and which GPU it was. 3: of any trainer.
    pub const VERSION: u32 = 3;

    fn from_earlier(earlier: EarlierResult) -> Self {
        let splits = earlier.splits().map(|(name, split)| {
            let predictions = Predictions {
                probabilities: split.probabilities.clone(),
                samples_digest: split.samples_digest.clone(),
                samples: None,
                macro_f1: split.score.as_ref().map(|score| score.macro_f1),
            };
            (name.to_owned(), predictions)
        });
        Self {
            v: Self::VERSION,
            job: earlier.job,
            trainer: earlier.trainer(),
            inputs: Inputs { dataset: Some(earlier.dataset_digest.clone()), ..Inputs::default() },
            metrics: earlier.metrics(),
            history: earlier.epochs.iter().map(EpochReport::point).collect(),
            best_epoch: Some(earlier.best_epoch),
            stopped_after: None,
            predictions: splits.collect(),
            artifacts: BTreeMap::from([(MODEL.to_owned(), earlier.model.clone())]),
            train_seconds: earlier.train_seconds,
            peak_memory: None,
            device: earlier.device,
            software: None,
            worker: earlier.worker,
            attempt: earlier.attempt,
            times: None,
            log: JobLog::default(),
        }
    }

    /// The point of the best epoch; the last one if the trainer chose none.
    pub fn best(&self) -> Option<&Point> {
        match self.best_epoch {
            Some(epoch) => self.history.iter().find(|point| point.epoch == epoch && point.step == 0),
            None => self.history.last(),
        }
    }

    /// The trained model, if the job has one.
    pub fn model(&self) -> Option<&BlobRef> {
        self.artifacts.get(MODEL)
    }

    /// Number of finished epochs.
    pub fn epochs(&self) -> u32 {
        self.history.last().map_or(0, |point| point.epoch)
    }

    /// Without its log, which is long, and which few need.
    #[must_use]
    pub fn without_log(self) -> Self {
        Self { log: JobLog::default(), ..self }
    }

    /// Every blob that the result points to.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobRef> {
        let predictions = self.predictions.values();
        let predictions =
            predictions.flat_map(|split| std::iter::once(&split.probabilities).chain(&split.samples));
        predictions.chain(self.artifacts.values())
    }

    /// Checks a result that was received: names reach paths and displays, and sizes are bounded.
    ///
    /// # Errors
    /// When something has a wrong name, or there is too much of it.
    pub fn check(&self) -> Result<(), String> {
        if self.history.len() > MOST_POINTS {
            return Err(format!("it has {} reports, more than {MOST_POINTS}", self.history.len()));
        }
        if self.predictions.len() > MOST_FILES || self.artifacts.len() > MOST_FILES {
            return Err(format!("it has more than {MOST_FILES} files"));
        }
        if let Some(name) =
            self.predictions.keys().chain(self.artifacts.keys()).find(|name| !metrics::is_plain(name))
        {
            let name: String = name.chars().take(80).collect();
            return Err(format!("{name:?} cannot be the name of a file"));
        }
        let reports = std::iter::once(&self.metrics).chain(self.history.iter().map(|point| &point.metrics));
        for metrics in reports {
            metrics.check().map_err(|error| error.to_string())?;
        }
        self.log.check()?;
        match self.best_epoch {
            Some(epoch) if self.best().is_none() => {
                Err(format!("it has no epoch {epoch}, which it calls its best"))
            }
            Some(_) | None => Ok(()),
        }
    }
}
