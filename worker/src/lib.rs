//! The worker: claims a job, trains, reports.

pub mod cuda;
