//! One file per command: plain arguments in, text and exit codes out.

mod access;
pub mod backup;
pub mod data;
pub mod evaluate;
mod exit;
pub mod failure;
pub mod init;
pub mod plan;
mod progress;
pub mod remove;
pub mod report;
pub mod restore;
pub mod retry;
pub mod run;
pub mod schema;
pub mod serve;
pub mod server;
pub mod status;
