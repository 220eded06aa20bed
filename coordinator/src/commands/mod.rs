//! One file per command: plain arguments in, text and exit codes out.

mod access;
pub mod backup;
pub mod chaos;
pub mod data;
pub mod evaluate;
pub mod failure;
pub mod init;
pub mod plan;
mod progress;
pub mod report;
pub mod restore;
pub mod run;
pub mod schema;
pub mod serve;
pub mod server;
pub mod status;
