//! A stored checkpoint of a job.

use serde::{Deserialize, Serialize};

use crate::blob::BlobRef;
use crate::ids::JobId;

/// How many checkpoints of a job are kept while it runs.
pub const KEPT_CHECKPOINTS: usize = 2;

/// A stored checkpoint: the training can continue after `epoch` and `step` steps of the next epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Finished epochs.
    pub epoch: u32,
    /// Finished steps of the next epoch; 0 between two epochs. Records of version 1 only have checkpoints between
    /// epochs.
    #[serde(default)]
    pub step: u32,
    pub blob: BlobRef,
    /// The shorter or longer training that made it, if it was another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A job that is trained alike, epoch by epoch, but for another number of epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub job: JobId,
    /// How many epochs it has.
    pub epochs: u32,
}

impl Checkpoint {
    /// How far the training was, to compare checkpoints.
    pub fn place(&self) -> (u32, u32) {
        (self.epoch, self.step)
    }
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.step {
            0 => write!(f, "epoch {}", self.epoch),
            step => write!(f, "epoch {} and {step} steps", self.epoch),
        }
    }
}
