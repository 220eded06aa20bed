//! The worker: claims a job, trains, reports; its verbs do one thing with a network and end.

pub mod agent;
pub mod archive;
pub mod cli;
pub mod commands;
pub mod cuda;
pub mod data;
pub mod device;
pub mod driver;
#[cfg(test)]
mod golden;
pub mod losses;
pub mod models;
pub mod native;
pub mod predict;
pub mod preview;
pub mod train;
pub mod variables;
pub mod weights;
