//! The worker: claims a job, trains, reports.

pub mod agent;
pub mod cli;
pub mod cuda;
pub mod data;
pub mod device;
#[cfg(test)]
mod golden;
pub mod losses;
pub mod models;
pub mod train;
