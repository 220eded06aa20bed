//! The coordinator: expands, admits, watches, assembles.

pub mod commands;
pub mod data;
pub mod ensemble;
pub mod report;
pub mod run_dir;
pub mod sweep;
