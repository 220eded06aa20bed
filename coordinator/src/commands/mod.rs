//! One file per verb of the command line: plain arguments in, words and exit codes out.

pub mod data;
mod progress;
pub mod report;
