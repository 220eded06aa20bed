//! A sweep of the real orchestration code on a server in memory, under faults drawn from one seed, on a virtual clock.
//!
//! The books, claims, the bus, the worker's agent, and the coordinator's engine and conductor are real. The server, the
//! network, processes that die or are suspended, and trainings are simulated. A simulated training takes virtual seconds
//! and computes a chain of digests; its trainer is known to the workers here and to nobody else. The same seed gives the
//! same history, event by event.

mod checker;
mod coordinator;
mod counts;
mod drained;
mod drains;
mod expected;
mod history;
mod process;
mod requested;
mod sweep;
mod trace;
mod trainer;
mod user;
mod witness;
mod world;

pub use counts::Counts;
pub use drained::Drained;
pub use history::{Ask, Bad, Fault, History, Kind, Script};
use memory_server::ServerBug;
use tokio::task::LocalSet;

/// How to run a history.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A rule that the server breaks, which the checker must detect.
    pub bug: Option<ServerBug>,
    /// Print every event.
    pub trace: bool,
}

/// The outcome of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryResult {
    /// A digest of every event and its time, which is equal for equal histories.
    pub digest: u64,
    pub counts: Counts,
    /// The first broken promise, if any.
    pub violation: Option<String>,
}

/// Runs a history to its end.
pub fn run(history: History, options: Options) -> HistoryResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    match runtime {
        Ok(runtime) => runtime.block_on(LocalSet::new().run_until(world::run(history, options))),
        Err(error) => panic!("a runtime without threads cannot be built: {error}"),
    }
}
