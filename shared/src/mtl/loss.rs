//! What is minimised: mix-up or mix-augment cross-entropy, affinity, partition, landmark error (paper section 2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Drop, Irrelevant};
use crate::settings::Problem;

/// The main augmentation, which also sets the form of the cross-entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Augmentation {
    /// Cross-entropy of the real images only.
    None,
    /// Mix-up: cross-entropy of the virtual (mixed) images.
    Mixup,
    /// Mix-augment: mix-up's loss plus the cross-entropy of both real images.
    Mixaug,
}

/// Weights of the classes in the cross-entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    Off,
    /// 1 − n_c/N over the job's own training subset (the authors' code).
    InverseShare,
}

/// Labels of the affinity loss on mixed features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AffinityLabels {
    /// λ·AF(y) + (1 − λ)·AF(y of the partner).
    Soft,
    /// The partner's label only (the authors' code).
    Partner,
}

/// Which pass of mix-augment carries affinity and partition loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MixaugTerms {
    /// The real images, with their exact labels.
    Real,
    /// The virtual images, as in mix-up.
    Virtual,
    /// Virtual + 2 × real.
    All,
}

/// The loss of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LossSpec {
    pub augmentation: Augmentation,
    /// λ ~ Beta(alpha, alpha), one draw per batch (paper Table 1).
    pub alpha: f64,
    pub class_weights: ClassWeights,
    pub affinity_labels: AffinityLabels,
    pub mixaug_terms: MixaugTerms,
    /// Factor of the affinity loss.
    pub affinity_weight: f64,
    /// Factor of the partition loss.
    pub partition_weight: f64,
    /// Factor of the landmark mean squared error.
    pub landmark_weight: f64,
}

impl Default for LossSpec {
    fn default() -> Self {
        Self {
            augmentation: Augmentation::Mixaug,
            alpha: 0.1,
            class_weights: ClassWeights::Off,
            affinity_labels: AffinityLabels::Soft,
            mixaug_terms: MixaugTerms::Real,
            affinity_weight: 1.0,
            partition_weight: 1.0,
            landmark_weight: 1.0,
        }
    }
}

impl LossSpec {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        Problem::unless((0.0..=100.0).contains(&self.alpha), problems, "alpha", "must lie between 0 and 100");
        for (name, weight) in [
            ("affinity_weight", self.affinity_weight),
            ("partition_weight", self.partition_weight),
            ("landmark_weight", self.landmark_weight),
        ] {
            Problem::unless(
                (0.0..=1e6).contains(&weight),
                problems,
                name,
                "must lie between 0 and a million",
            );
        }
    }

    pub(super) fn irrelevant(&self, drop: &mut Drop<'_>) {
        match self.augmentation {
            Augmentation::None => {
                drop(&["alpha", "affinity_labels", "mixaug_terms"], Irrelevant::Because("augmentation"));
            }
            Augmentation::Mixup => drop(&["mixaug_terms"], Irrelevant::Because("augmentation")),
            Augmentation::Mixaug if self.mixaug_terms == MixaugTerms::Real => {
                drop(&["affinity_labels"], Irrelevant::Because("mixaug_terms"));
            }
            Augmentation::Mixaug => {}
        }
    }
}
