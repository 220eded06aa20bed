//! From a dataset pack to batches: plain pixel and number buffers, no tensors.
//!
//! Every random draw comes from [`shared::rng::Stream`] keyed by seed, purpose, epoch and sample, so a batch is a pure
//! function of its place in the training and a resumed job needs no generator state.

pub mod frames;
pub mod geometry;
pub mod jitter;
pub mod loader;
pub mod sampler;
pub mod views;

pub use frames::{FrameError, Frames};
pub use loader::{Batch, TrainingSet};
pub use views::{BatchPosition, Draw, Views};
