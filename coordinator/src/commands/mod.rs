
//! One file per verb of the command line: plain arguments in, words and exit codes out.
//! The verbs of `ferry`, one a file: each takes plain arguments and prints its answer.
mod progress;
pub mod data;
pub mod report;
