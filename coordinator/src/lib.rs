//! The coordinator: expands, admits, watches, assembles.

pub mod commands;
pub mod data;
pub mod sweep;
