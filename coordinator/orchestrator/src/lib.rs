//! The orchestrating half of Ferry without its command line: sweeps, engine, service, run folders, reports.

pub mod backup;
pub mod broker;
pub mod cluster;
pub mod cost;
pub mod data;
pub mod devices;
pub mod engine;
pub mod ensemble;
pub mod evaluation;
pub mod events;
pub mod fleet;
pub mod guard;
pub mod home;
pub mod report;
pub mod run_dir;
pub mod selection;
pub mod service;
pub mod story;
pub mod sweep;
pub mod verification;
pub mod view;
