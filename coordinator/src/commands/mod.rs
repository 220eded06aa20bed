//! One file per verb of the command line: plain arguments in, words and exit codes out.

pub mod data;
pub mod evaluate;
pub mod failure;
pub mod plan;
mod progress;
pub mod report;
pub mod run;
pub mod schema;
pub mod status;
