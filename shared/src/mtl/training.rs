//! Optimiser, schedule, batch, seed and threads (paper Table 1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Drop, Irrelevant};
use crate::settings::Problem;

/// How one job is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingSpec {
    /// Images in a training step.
    pub batch_size: u32,
    /// Images in a batch of validation or test; null is `batch_size`. Another number changes the last bits.
    #[serde(default)]
    pub evaluation_batch_size: Option<u32>,
    /// Passes over the training images.
    pub epochs: u32,
    /// Adam's learning rate in the first epoch.
    pub learning_rate: f64,
    /// Factor of the learning rate after each epoch (exponential decay).
    pub lr_decay: f64,
    /// Coupled L2: added to the gradient as `torch.optim.Adam` does.
    pub weight_decay: f64,
    /// Decay of Adam's mean of gradients.
    pub adam_beta1: f64,
    /// Decay of Adam's mean of squared gradients.
    pub adam_beta2: f64,
    /// Added to the denominator of Adam's steps.
    pub adam_epsilon: f64,
    /// Seeds initial weights, order, mixing and augmentation.
    pub seed: u64,
    /// Threads of libtorch on a CPU. Sums are split by thread, so another number changes the last bits.
    pub cpu_threads: u32,
}

impl Default for TrainingSpec {
    fn default() -> Self {
        Self {
            batch_size: 128,
            evaluation_batch_size: None,
            epochs: 12,
            learning_rate: 1e-4,
            lr_decay: 0.6,
            weight_decay: 1e-4,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            seed: 17,
            cpu_threads: 1,
        }
    }
}

impl TrainingSpec {
    /// The number of images in a batch of validation or test.
    pub fn evaluated_at_once(&self) -> u32 {
        self.evaluation_batch_size.unwrap_or(self.batch_size)
    }

    /// A size equal to `batch_size` is left out, so that jobs keep the ids they had before this setting existed.
    pub(super) fn irrelevant(&self, drop: &mut Drop<'_>) {
        if self.evaluated_at_once() == self.batch_size {
            drop(&["evaluation_batch_size"], Irrelevant::Default);
        }
    }

    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        // A batch norm in training needs two samples.
        Problem::unless(
            (2..=65_536).contains(&self.batch_size),
            problems,
            "batch_size",
            "must lie between 2 and 65536",
        );
        Problem::unless(
            (1..=65_536).contains(&self.evaluated_at_once()),
            problems,
            "evaluation_batch_size",
            "must lie between 1 and 65536",
        );
        Problem::unless(
            (1..=100_000).contains(&self.epochs),
            problems,
            "epochs",
            "must lie between 1 and 100000",
        );
        let rate = self.learning_rate > 0.0 && self.learning_rate <= 1e3;
        Problem::unless(rate, problems, "learning_rate", "must be above 0 and at most 1000");
        let decay = self.lr_decay > 0.0 && self.lr_decay <= 1.0;
        Problem::unless(decay, problems, "lr_decay", "must be above 0 and at most 1");
        Problem::unless(
            (0.0..=1e3).contains(&self.weight_decay),
            problems,
            "weight_decay",
            "must lie between 0 and 1000",
        );
        for (name, beta) in [("adam_beta1", self.adam_beta1), ("adam_beta2", self.adam_beta2)] {
            Problem::unless((0.0..1.0).contains(&beta), problems, name, "must be at least 0 and below 1");
        }
        let epsilon = self.adam_epsilon > 0.0 && self.adam_epsilon <= 1.0;
        Problem::unless(epsilon, problems, "adam_epsilon", "must be above 0 and at most 1");
        Problem::unless(
            (1..=1024).contains(&self.cpu_threads),
            problems,
            "cpu_threads",
            "must lie between 1 and 1024",
        );
    }
}
