//! The worker: claims a job, trains, reports.

pub mod cuda;
#[cfg(test)]
mod golden;
pub mod losses;
pub mod models;
