//! The vocabulary that coordinator and worker share: what a job is, what its result is, how both are stored.
//!
//! Nothing here trains, schedules or prints. Absent on purpose: libtorch, command-line parsing, wall-clock time.

pub mod books;
pub mod bus;
pub mod causes;
pub mod cuda_visible;
pub mod disk;
pub mod expression;
pub mod files;
pub mod ids;
pub mod image;
pub mod job;
pub mod metrics;
pub mod mistaken;
pub mod pack;
pub mod predicted;
pub mod predictions;
pub mod protocol;
pub mod result;
pub mod rng;
pub mod seal;
pub mod stdio;
pub mod subset;
pub mod terminal;
pub mod vote;
pub mod weights;
