//! The vocabulary that coordinator and worker share: what a job is, what its result is, how both are stored.
//!
//! Nothing here trains, schedules or prints. Absent on purpose: libtorch, command-line parsing, wall-clock time.

pub mod blob;
pub mod books;
pub mod bus;
pub mod causes;
pub mod confusion;
pub mod cuda_visible;
pub mod device;
pub mod disk;
pub mod empty;
pub mod exit;
pub mod expression;
pub mod files;
pub mod ids;
pub mod image;
pub mod job;
pub mod kinds;
pub mod log;
pub mod log_format;
pub mod metrics;
pub mod mistaken;
pub mod mtl;
pub mod pack;
pub mod plural;
pub mod predicted;
pub mod predictions;
pub mod protocol;
pub mod result;
pub mod retraining;
pub mod retry;
pub mod rng;
pub mod seal;
pub mod settings;
pub mod signals;
pub mod stdio;
pub mod subset;
pub mod table;
pub mod terminal;
pub mod trainer;
pub mod unique_name;
pub mod version;
pub mod vote;
pub mod warning;
pub mod weights;
