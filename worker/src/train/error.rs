//! Why a training cannot begin, go on or be resumed.

use shared::pack::Split;
use tch::TchError;

use crate::archive::ArchiveError;
use crate::data::FrameError;
use crate::models::ModelError;
use crate::weights::load::LoadError;

use super::memory::OutOfMemory;
use super::terms::Term;

/// Errors of [`super::train`].
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("setting `{name}` {problem}")]
    Setting { name: &'static str, problem: String },
    #[error(
        "{found} training samples after drawing the subset, at least 2 are needed: enlarge the dataset or \
         `subset_fraction`"
    )]
    TooFewSamples { found: usize },
    #[error("the dataset has no {0} samples, so no epoch can be judged")]
    NoSamples(Split),
    #[error(
        "{term} loss is {value} in epoch {epoch}, step {step}: the training diverged; try a lower learning_rate"
    )]
    NotFinite { epoch: u32, step: usize, term: Term, value: f64 },
    #[error(
        "{samples} images, the fewest that a step can be made of, do not fit into the device's memory: use a smaller \
         network or image_size, or a device with more memory"
    )]
    OutOfMemory { samples: usize, source: OutOfMemory },
    /// Only this one speaks of what was handed to the training: another checkpoint, or none, may do.
    #[error("the checkpoint cannot be used: {0}")]
    Checkpoint(#[source] CheckpointError),
    #[error("a checkpoint cannot be made: {0}")]
    Saving(#[source] CheckpointError),
    #[error("the file of `{slot}` was not handed to the training")]
    NoWeights { slot: &'static str },
    #[error("the file of `{slot}` has digest {found}, the job starts from {digest}")]
    WrongWeights { slot: &'static str, found: String, digest: String },
    #[error("the weights cannot be used: {0}")]
    Weights(#[from] LoadError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("weights cannot be stored: {0}")]
    Archive(#[from] ArchiveError),
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// What is wrong with the bytes that a training should resume from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("its state is not readable: {0}")]
    State(#[from] serde_json::Error),
    #[error("its {what} is {found}, this training needs {expected}")]
    Foreign { what: &'static str, found: String, expected: String },
    #[error("its state contradicts itself: {0}")]
    Inconsistent(String),
}
