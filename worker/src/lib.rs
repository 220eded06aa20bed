//! The worker: claims jobs, trains them and reports. Its subcommands use networks without a server.

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
pub mod host_memory;
pub mod losses;
pub mod models;
pub mod native;
pub mod predict;
pub mod preview;
pub mod train;
pub mod trainers;
pub mod variables;
pub mod weights;
