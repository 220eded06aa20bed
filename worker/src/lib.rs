//! The worker: claims a job, trains, reports.
