//! The coordinator: expands, admits, watches, assembles.

pub mod backup;
pub mod broker;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod data;
pub mod devices;
pub mod engine;
pub mod ensemble;
pub mod evaluation;
pub mod fleet;
pub mod guard;
pub mod home;
mod plural;
pub mod report;
pub mod run_dir;
pub mod service;
pub mod sweep;
pub mod view;
