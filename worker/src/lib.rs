//! The worker: claims a job, trains, reports.

pub mod cuda;
pub mod data;
#[cfg(test)]
mod golden;
pub mod losses;
pub mod models;
pub mod train;
