//! What a finished job hands in: its epochs, its scores, and pointers to its probabilities and weights.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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

impl BlobRef {
    /// The pointer to `bytes`, under a name that ends in their digest.
    pub fn of(stem: &str, bytes: &[u8]) -> Self {
        let sha256 = hex::encode(Sha256::digest(bytes));
        Self { name: format!("{stem}.{}", &sha256[..16]), sha256, size: bytes.len() as u64 }
    }

    /// Checks a pointer that came in a message.
    ///
    /// # Errors
    /// When the name has other characters than Ferry's own names, the digest is not one, or the size is above
    /// `largest`.
    pub fn check(&self, largest: u64) -> Result<(), String> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        if self.name.is_empty() || self.name.len() > 256 || !self.name.bytes().all(plain) {
            return Err(format!("{:?} is not a blob name", self.name.chars().take(80).collect::<String>()));
        }
        if !is_digest(&self.sha256) {
            return Err(format!("blob {} has no SHA-256 digest", self.name));
        }
        if self.size > largest {
            return Err(format!(
                "blob {} claims {} bytes, but at most {largest} are allowed here",
                self.name, self.size
            ));
        }
        Ok(())
    }
}

/// True for 64 lower-case hexadecimal digits, the only form in which a digest may become part of a path or key.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
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
    #[serde(default)]
    pub memory: MemoryUse,
}

/// How the steps of an epoch fitted into the device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// The most micro-batches that a batch of this epoch was cut into; 1 means that none was cut. Batch norms see the
    /// statistics of one micro-batch at a time, so with more than 1 the result differs from that of whole batches.
    pub micro_batches: u32,
    /// Memory of the GPU; the peaks are over the part of this epoch that the last attempt trained. `None` on a CPU.
    pub device: Option<DeviceMemory>,
}

impl Default for MemoryUse {
    fn default() -> Self {
        Self { micro_batches: 1, device: None }
    }
}

/// What libtorch's allocator holds of a GPU, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMemory {
    /// In tensors.
    pub allocated: u64,
    /// Taken from the driver, in use or kept for the next tensor.
    pub reserved: u64,
    pub peak_allocated: u64,
    pub peak_reserved: u64,
}

/// Where a job was trained. Results differ in the last bits between devices and kinds of CPU, so the record names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// CPU or GPU model name.
    pub model: String,
    /// The GPU's memory in bytes; `None` on a CPU.
    #[serde(default)]
    pub memory: Option<u64>,
    /// The GPU's or MIG instance's UUID as `nvidia-smi -L` writes it; `None` on a CPU.
    #[serde(default)]
    pub uuid: Option<String>,
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
    /// Version of this record's layout. 2: how the training fitted into memory, and which GPU it was.
    pub const VERSION: u32 = 2;

    /// The largest number of micro-batches that a step of this training was cut into.
    pub fn micro_batches(&self) -> u32 {
        self.epochs.iter().map(|report| report.memory.micro_batches).max().unwrap_or(1)
    }

    /// The best epoch's report.
    pub fn best(&self) -> Option<&EpochReport> {
        self.epochs.iter().find(|report| report.epoch == self.best_epoch)
    }
}
