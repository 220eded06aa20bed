//! What the trainer reports after each epoch, and the names of its metrics.

use serde::{Deserialize, Serialize};

use crate::confusion::{Score, chance_level};
use crate::expression::Expression;
use crate::metrics::{GPU_PEAK_MEMORY, Metrics, Point};

/// Validation macro F1 in percent: the metric by which jobs are compared.
pub const VAL_MACRO_F1: &str = "val_macro_f1";
/// Test macro F1 in percent.
pub const TEST_MACRO_F1: &str = "test_macro_f1";
/// The validation macro F1 that guessing reaches ([`chance_level`]).
pub const CHANCE_LEVEL: &str = "val_chance_level";
/// How the names of the metrics begin that tell how much memory of the GPU was in use.
pub const MEMORY: &str = "gpu_";
/// The most micro-batches that a batch of the epoch was cut into.
pub const MICRO_BATCHES: &str = "micro_batches";

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

impl LossTerms {
    /// The terms with the names of their metrics.
    pub fn named(&self) -> [(&'static str, f64); 4] {
        [
            ("loss_cross_entropy", self.cross_entropy),
            ("loss_affinity", self.affinity),
            ("loss_partition", self.partition),
            ("loss_landmark", self.landmark),
        ]
    }
}

impl EpochReport {
    /// The report for the books.
    pub fn point(&self) -> Point {
        let mut metrics = Metrics::default()
            .with(VAL_MACRO_F1, self.validation.macro_f1)
            .with("learning_rate", self.learning_rate)
            .with(MICRO_BATCHES, f64::from(self.memory.micro_batches));
        for (name, value) in self.losses.named() {
            metrics = metrics.with(name, value);
        }
        for (expression, f1) in Expression::ALL.into_iter().zip(&self.validation.per_class_f1) {
            metrics = metrics.with(&format!("val_f1_{}", expression.name().to_lowercase()), *f1);
        }
        if let Some(memory) = self.memory.device {
            metrics = metrics
                .with("gpu_allocated_bytes", memory.allocated as f64)
                .with("gpu_reserved_bytes", memory.reserved as f64)
                .with("gpu_peak_allocated_bytes", memory.peak_allocated as f64)
                .with(GPU_PEAK_MEMORY, memory.peak_reserved as f64);
        }
        Point { epoch: self.epoch, step: 0, seconds: self.seconds, metrics }
    }
}

/// The metrics that a job ends with: those of its best epoch, and the score on the test split where its labels are
/// known.
pub fn final_metrics(best: Option<&EpochReport>, test: Option<&Score>) -> Metrics {
    let mut metrics = Metrics::default();
    if let Some(best) = best {
        let chance = chance_level(&best.validation.confusion.truths());
        metrics = metrics.with(VAL_MACRO_F1, best.validation.macro_f1).with(CHANCE_LEVEL, chance);
    }
    match test {
        Some(test) => metrics.with(TEST_MACRO_F1, test.macro_f1),
        None => metrics,
    }
}
