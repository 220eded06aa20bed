//! The coordinator: expands, admits, watches, assembles.

pub mod cli;
pub mod commands;
pub mod data;
pub mod sweep;
