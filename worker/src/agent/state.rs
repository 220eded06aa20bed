//! What one worker has: its connection, what it trains with, and what it knows of its own troubles.

use std::time::Duration;

use shared::bus::Bus;
use shared::ids::WorkerId;
use shared::rng::Stream;
use tokio::sync::watch;

use super::packs::PackStore;
use super::presence::Presences;
use super::record_ages::RecordAges;
use super::spool::Spool;
use super::training::Trainer;
use super::weights::WeightsStore;

/// Time between two tries to reach a server that is not there (yet).
pub(super) const RECONNECT: Duration = Duration::from_secs(1);

/// One worker.
pub(super) struct Agent {
    pub(super) bus: Bus,
    pub(super) me: WorkerId,
    pub(super) host: String,
    pub(super) trainer: Box<dyn Trainer>,
    pub(super) packs: PackStore,
    pub(super) weights: WeightsStore,
    pub(super) spool: Spool,
    pub(super) presences: Presences,
    pub(super) record_ages: RecordAges,
    /// A training failed here, or none has begun yet: the canary runs before the next claim.
    pub(super) suspicious: bool,
    /// Jobs in a row whose dataset or weights could not be fetched.
    pub(super) without_inputs: u32,
    /// For how long jobs are left to other workers.
    pub(super) draws: Stream,
    pub(super) stop: watch::Receiver<bool>,
}
