//! The products of a training: checkpoints, and a result with the blobs that it points to. All of them are checked
//! before they are kept.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared::blob::BlobRef;
use shared::books::Token;
use shared::bus::Bucket;
use shared::device::DeviceRecord;
use shared::log::JobLog;
use shared::metrics::{Metrics, Point, Ranking};
use shared::predictions::{Matrix, SampleList, to_npy};
use shared::protocol::JobOrder;
use shared::result::{JobResult, Predictions};
use shared::vote;

use crate::device;

/// The attempt and the job to which work belongs, and the device that does it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkClaim {
    pub v: u32,
    pub order: JobOrder,
    /// [`shared::bus::OrderEntry::admitted_nanos`] in the books from which the job was claimed. Only they get the spooled work.
    pub admitted_nanos: i128,
    pub token: Token,
    pub device: DeviceRecord,
}

impl WorkClaim {
    /// Version of this record's layout on disk. 2: orders for any trainer; earlier ones are read too.
    pub const VERSION: u32 = 2;
}

/// A checkpoint of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Number of finished epochs.
    pub epoch: u32,
    /// Number of finished steps in the next epoch.
    pub step: u32,
    /// The report of the epoch that has just ended; `None` within an epoch.
    pub report: Option<Point>,
    pub checkpoint: Bytes,
}

impl Saved {
    /// How far the training was.
    pub(super) fn place(&self) -> (u32, u32) {
        (self.epoch, self.step)
    }

    /// Checks the report, if there is one.
    ///
    /// # Errors
    ///
    /// A metric has a wrong name, there are too many, or the metric that ranks jobs is missing or not finite.
    pub(super) fn check(&self, ranking: &Ranking) -> Result<(), String> {
        let Some(Point { epoch, metrics, .. }) = &self.report else { return Ok(()) };
        let refused = |why: &str| Err(format!("the report of epoch {epoch} was refused: {why}"));
        if let Err(error) = metrics.check() {
            return refused(&error.to_string());
        }
        let name = ranking.metric.escape_debug();
        match metrics.get(&ranking.metric) {
            Some(value) if value.is_finite() => Ok(()),
            Some(value) => refused(&format!("its `{name}` is {value}, so the job cannot be ranked")),
            None => refused(&format!("it has no `{name}`, the metric that ranks jobs")),
        }
    }
}

/// How a training ended.
#[derive(Debug)]
pub enum Outcome {
    Finished(Box<Finished>),
    /// The agent asked it to stop.
    Stopped,
}

/// A finished training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Finished {
    /// The metrics that the job ends with.
    pub metrics: Metrics,
    /// What the training reported, in order.
    pub history: Vec<Point>,
    /// The epoch whose predictions and artifacts these are, if the trainer chose one.
    pub best_epoch: Option<u32>,
    /// The epochs after which it ended early, if the agent asked for that.
    pub stopped_after: Option<u32>,
    /// By the name of the split, such as [`shared::result::VALIDATION`].
    pub predictions: BTreeMap<String, FinishedPredictions>,
    /// Files by name, such as [`shared::result::MODEL`].
    pub artifacts: BTreeMap<String, Vec<u8>>,
    /// Over all epochs, including those before a resume.
    pub train_seconds: f64,
    /// The most memory that this attempt had at once, in bytes: the GPU's if it is on one, else that of this process.
    pub peak_memory: Option<u64>,
}

/// Class probabilities over the samples of one split.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedPredictions {
    /// One row for each sample.
    pub probabilities: Matrix,
    pub samples: SampleList,
    /// True if the samples are not those of the dataset. Then their list becomes part of the result.
    pub own_samples: bool,
}

impl FinishedPredictions {
    /// What is wrong with them, as the end of a sentence.
    fn problem(&self) -> Option<String> {
        let Self { probabilities, samples, own_samples } = self;
        let (rows, ids, labels) = (probabilities.len(), samples.ids.len(), samples.labels.len());
        if rows != ids || rows != labels {
            return Some(format!("have {rows} rows for {ids} samples with {labels} labels"));
        }
        if let Some(value) = probabilities.values().iter().find(|value| !value.is_finite()) {
            return Some(format!("contain {value} as a probability"));
        }
        let stored = own_samples.then(|| SampleList::from_csv(&samples.to_csv()));
        match stored {
            Some(Ok(again)) if again == *samples => None,
            Some(_) => Some("have sample ids or labels that cannot be stored".to_owned()),
            None => None,
        }
    }
}

/// A finished result, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedWork {
    pub result: JobResult,
    /// Everything that `result` points to.
    pub blobs: Vec<(BlobRef, Bytes)>,
}

impl FinishedWork {
    /// Builds the result. This needs no server, because blobs are named by their digests.
    ///
    /// # Errors
    ///
    /// Something in it cannot be stored or read again: the text says what.
    pub fn of(claim: &WorkClaim, finished: Finished) -> Result<Self, String> {
        Self::within(claim, finished, Bucket::Results.largest())
            .map_err(|why| format!("the result was refused: {why}"))
    }

    /// [`Self::of`], with files of at most `largest` bytes.
    fn within(claim: &WorkClaim, finished: Finished, largest: u64) -> Result<Self, String> {
        let job = claim.order.job;
        let Finished { metrics, history, best_epoch, stopped_after, .. } = finished;
        let Finished { predictions, artifacts, train_seconds, peak_memory, .. } = finished;
        let mut blobs = Vec::new();
        let mut keep = |name: &str, bytes: Vec<u8>| {
            let size = bytes.len() as u64;
            if size > largest {
                let name = name.escape_debug();
                return Err(format!("`{name}` has {size} bytes, but at most {largest} are allowed"));
            }
            let blob = BlobRef::of(&format!("{job}.{name}"), &bytes);
            blobs.push((blob.clone(), Bytes::from(bytes)));
            Ok(blob)
        };
        let mut stored = BTreeMap::new();
        for (name, split) in predictions {
            if let Some(problem) = split.problem() {
                return Err(format!("the predictions `{}` {problem}", name.escape_debug()));
            }
            let FinishedPredictions { probabilities, samples, own_samples } = split;
            let list = own_samples.then(|| keep(&format!("{name}.samples"), samples.to_csv().into()));
            let split = Predictions {
                samples: list.transpose()?,
                samples_digest: samples.digest(),
                macro_f1: vote::score(&probabilities, &samples).map(|score| score.macro_f1),
                probabilities: keep(&name, to_npy(&probabilities))?,
            };
            stored.insert(name, split);
        }
        let mut files = BTreeMap::new();
        for (name, bytes) in artifacts {
            let blob = keep(&name, bytes)?;
            files.insert(name, blob);
        }
        let result = JobResult {
            v: JobResult::VERSION,
            job,
            trainer: claim.order.content.trainer.clone(),
            inputs: claim.order.content.inputs.clone(),
            metrics,
            history,
            best_epoch,
            stopped_after,
            predictions: stored,
            artifacts: files,
            train_seconds,
            peak_memory,
            device: claim.device.clone(),
            software: Some(device::software()),
            worker: claim.token.owner.clone(),
            attempt: claim.token.attempt,
            // The books know when.
            times: None,
            log: JobLog::default(),
        };
        result.check()?;
        Ok(Self { result, blobs })
    }

    /// With what the training logged.
    #[must_use]
    pub(super) fn logged(mut self, log: JobLog) -> Self {
        self.result.log = log;
        self
    }
}

#[cfg(test)]
mod tests;
