//! The coordinator: expands, admits, watches, assembles.

pub mod broker;
pub mod sweep;
