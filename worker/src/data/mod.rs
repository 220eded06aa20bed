//! From a dataset pack to batches in plain buffers, without tensors.
//!
//! Every random draw comes from [`shared::rng::Stream`], keyed by seed, purpose, epoch and sample. So a batch depends
//! only on its position in the training, and a resumed job needs no random state.

pub mod frames;
pub mod geometry;
pub mod jitter;
pub mod loader;
pub mod sampler;
pub mod views;

pub use frames::{FrameError, Frames};
pub use loader::{Batch, TrainingSet};
pub use views::{BatchPosition, Draw, Views};
