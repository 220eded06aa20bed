//! Helpers of the whole-system tests: a nats-server, the two programs, waiting for events, and the simulation.

pub mod backend;
pub mod claims;
pub mod cluster;
pub mod disk;
pub mod import_graph;
pub mod in_process;
pub mod namespaces;
pub mod processes;
pub mod programs;
pub mod pseudo_terminal;
pub mod results;
pub mod run;
pub mod server;
pub mod simulation;
pub mod sources;
pub mod undisturbed;
pub mod wait;
pub mod worker;
