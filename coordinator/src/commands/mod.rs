//! One file per command: plain arguments in, text and exit codes out.

mod access;
pub(crate) mod backup;
pub(crate) mod chaos;
pub(crate) mod cluster;
mod comparison;
mod confirm;
pub(crate) mod data;
pub(crate) mod ensemble;
pub(crate) mod error;
pub(crate) mod evaluate;
mod exit;
pub(crate) mod init;
pub(crate) mod logs;
pub(crate) mod plan;
mod progress;
pub(crate) mod remove;
pub(crate) mod report;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod server;
pub(crate) mod shell;
pub(crate) mod status;
pub(crate) mod steer;
pub(crate) mod watch;
pub(crate) mod why;
