//! The worker: claims a job, trains, reports.

pub mod cuda;
pub mod losses;
pub mod models;
