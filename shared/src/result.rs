//! What a finished job hands in: its epochs, its scores, and pointers to its probabilities and weights.

use serde::{Deserialize, Serialize};

use crate::expression::CLASSES;
use crate::ids::{Attempt, JobId, WorkerId};
use crate::metrics::Confusion;

/// A pointer to immutable bytes in the object store: never the bytes themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// Object name within its bucket.
    pub name: String,
    /// SHA-256 of the bytes in hexadecimal.
    pub sha256: String,
    pub size: u64,
}

/// Scores of one split, F1 in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub macro_f1: f64,
    pub per_class_f1: [f64; CLASSES],
    pub confusion: Confusion,
}

impl From<Confusion> for Score {
    fn from(confusion: Confusion) -> Self {
        Self { macro_f1: confusion.macro_f1(), per_class_f1: confusion.per_class_f1(), confusion }
    }
}

/// Mean of each loss term over one epoch; terms that a job does not use are zero.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LossTerms {
    pub cross_entropy: f64,
    pub affinity: f64,
    pub partition: f64,
    pub landmark: f64,
}

impl LossTerms {
    /// The sum that is minimised, all weights applied by the caller.
    pub fn total(&self) -> f64 {
        self.cross_entropy + self.affinity + self.partition + self.landmark
    }
}

/// One trained epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// From 1.
    pub epoch: u32,
    pub learning_rate: f64,
    pub losses: LossTerms,
    pub validation: Score,
    /// Wall time of training and validating this epoch.
    pub seconds: f64,
}

/// Where a job was trained. Results differ in bits between devices and CPU kinds, so the record names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// CPU or GPU model name.
    pub model: String,
    /// Vector instructions libtorch uses on this CPU, such as `AVX512`.
    pub cpu_capability: String,
    pub threads: u32,
    pub host: String,
}

/// Probabilities of one split and, where its labels are known, their score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitResult {
    /// `.npy`, [N, 6] f32, rows in the order of the pack's sample list.
    pub probabilities: BlobRef,
    /// Digest of that sample list ([`crate::predictions::SampleList::digest`]).
    pub samples_digest: String,
    pub score: Option<Score>,
}

/// A job's accepted result: the best epoch by validation macro F1 (ties: the earliest).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    pub v: u32,
    pub job: JobId,
    pub dataset_digest: String,
    pub trainer_revision: u32,
    pub epochs: Vec<EpochReport>,
    pub best_epoch: u32,
    pub validation: SplitResult,
    /// `None` where the dataset has no test split.
    pub test: Option<SplitResult>,
    /// Weights of the best epoch, safetensors.
    pub model: BlobRef,
    /// Wall time of all epochs of this job, over all its attempts.
    pub train_seconds: f64,
    pub device: DeviceRecord,
    pub worker: WorkerId,
    pub attempt: Attempt,
}

impl JobResult {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;

    /// The best epoch's report.
    pub fn best(&self) -> Option<&EpochReport> {
        self.epochs.iter().find(|report| report.epoch == self.best_epoch)
    }
}
