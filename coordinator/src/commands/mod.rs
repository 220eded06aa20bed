//! The verbs of `ferry`, one a file: each takes plain arguments and prints its answer.

pub mod report;
