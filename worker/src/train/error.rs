//! Why a training cannot start, continue or resume.

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
        "the training subset has {found} samples, but at least 2 are needed: use a larger dataset or a larger \
         `subset_fraction`"
    )]
    TooFewSamples { found: usize },
    #[error("the dataset has no {0} samples, so no epoch can be scored")]
    NoSamples(Split),
    #[error(
        "{term} loss is {value} in epoch {epoch}, step {step}: the training diverged; try a lower learning_rate"
    )]
    NotFinite { epoch: u32, step: usize, term: Term, value: f64 },
    #[error(
        "the network answers {value} instead of a probability for image {row} of the split: the training diverged (try \
         a lower learning_rate), or the weights that it started from are damaged"
    )]
    NotAProbability { row: usize, value: f32 },
    #[error(
        "the smallest possible micro-batch ({samples} images) does not fit into the device's memory: use a smaller \
         network or image_size, or a device with more memory"
    )]
    OutOfMemory { samples: usize, source: OutOfMemory },
    /// The only error that is about the checkpoint passed in: another checkpoint, or a fresh start, may work.
    #[error("the checkpoint cannot be used: {0}")]
    Checkpoint(#[source] CheckpointError),
    #[error("cannot create a checkpoint: {0}")]
    Saving(#[source] CheckpointError),
    #[error("the weights file of `{slot}` was not passed to the training")]
    NoWeights { slot: &'static str },
    #[error("the weights file of `{slot}` has digest {found}, but the job starts from {digest}")]
    WrongWeights { slot: &'static str, found: String, digest: String },
    #[error("the weights cannot be used: {0}")]
    Weights(#[from] LoadError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("cannot store the weights: {0}")]
    Archive(#[from] ArchiveError),
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// Why a training cannot resume from a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("its state cannot be read: {0}")]
    State(#[from] serde_json::Error),
    #[error("its {what} is {found}, but this training needs {expected}")]
    Foreign { what: &'static str, found: String, expected: String },
    #[error("its state contradicts itself: {0}")]
    Inconsistent(String),
}
