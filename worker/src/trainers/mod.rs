//! The trainers of this program, one file for each kind. A worker offers all of them.

mod empty;
mod mtl;
mod panics;
mod self_test;

use shared::job::TrainerId;
use tch::Device;

use crate::agent::Trainer;
pub use empty::EmptyTrainer;
pub use mtl::MtlTrainer;

/// What this program trains, before it has a device.
pub fn ids() -> Vec<TrainerId> {
    vec![shared::mtl::trainer(), shared::empty::trainer()]
}

/// The trainers, on `device` if they use one.
pub fn all(device: Device) -> Vec<Box<dyn Trainer>> {
    vec![Box::new(MtlTrainer::new(device)), Box::new(EmptyTrainer)]
}

#[cfg(test)]
mod tests;
