//! Layouts from before there was another trainer: orders up to version 4 and results up to version 2.

use serde::Deserialize;

use super::report::{EpochReport, final_metrics};
use super::{MtlSpec, trainer};
use crate::blob::BlobRef;
use crate::confusion::Score;
use crate::device::DeviceRecord;
use crate::ids::{Attempt, JobId, WorkerId};
use crate::job::{Job, TrainerId};
use crate::metrics::Metrics;

/// The part of an order that says what the job is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EarlierJob {
    pub spec: MtlSpec,
    pub dataset_digest: String,
    pub trainer_revision: u32,
}

impl From<EarlierJob> for Job {
    fn from(earlier: EarlierJob) -> Self {
        let trainer = TrainerId { revision: earlier.trainer_revision, ..trainer() };
        Self { trainer, ..earlier.spec.job(&earlier.dataset_digest) }
    }
}

/// A finished job's result.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EarlierResult {
    pub job: JobId,
    pub dataset_digest: String,
    trainer_revision: u32,
    pub epochs: Vec<EpochReport>,
    pub best_epoch: u32,
    validation: EarlierSplit,
    test: Option<EarlierSplit>,
    pub model: BlobRef,
    pub train_seconds: f64,
    pub device: DeviceRecord,
    pub worker: WorkerId,
    pub attempt: Attempt,
}

/// Probabilities of one split and, where its labels are known, their score.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EarlierSplit {
    pub probabilities: BlobRef,
    pub samples_digest: String,
    pub score: Option<Score>,
}

impl EarlierResult {
    pub fn trainer(&self) -> TrainerId {
        TrainerId { revision: self.trainer_revision, ..trainer() }
    }

    /// The scored splits by name.
    pub fn splits(&self) -> impl Iterator<Item = (&'static str, &EarlierSplit)> {
        let test = self.test.as_ref().map(|split| ("test", split));
        std::iter::once(("validation", &self.validation)).chain(test)
    }

    pub fn metrics(&self) -> Metrics {
        let best = self.epochs.iter().find(|report| report.epoch == self.best_epoch);
        final_metrics(best, self.test.as_ref().and_then(|split| split.score.as_ref()))
    }
}
