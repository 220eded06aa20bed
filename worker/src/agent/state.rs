//! The state of one worker: its connection, its equipment, and its recent problems.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shared::bus::Bus;
use shared::ids::WorkerId;
use shared::job::TrainerId;
use shared::rng::Stream;
use tokio::sync::watch;

use super::packs::PackStore;
use super::presence::Presences;
use super::record_ages::RecordAges;
use super::spool::Spool;
use super::training::Trainer;
use super::weights::WeightsStore;

/// Time between two tries to reach a server that is away or has not started yet.
pub(super) const RECONNECT: Duration = Duration::from_secs(1);

/// One worker.
pub(super) struct Agent {
    pub(super) bus: Bus,
    pub(super) me: WorkerId,
    pub(super) host: String,
    pub(super) trainers: Vec<Arc<dyn Trainer>>,
    pub(super) packs: PackStore,
    pub(super) weights: WeightsStore,
    pub(super) spool: Spool,
    pub(super) presences: Presences,
    pub(super) record_ages: RecordAges,
    /// True after a failed training, and at the start: the self-test runs before the next claim.
    pub(super) suspicious: bool,
    /// What was said about jobs that this worker leaves alone, so that it is said once.
    pub(super) left_alone: BTreeSet<String>,
    /// Jobs in a row whose dataset or weights could not be fetched.
    pub(super) without_inputs: u32,
    /// The random times for which jobs are left to other workers.
    pub(super) draws: Stream,
    pub(super) stop: watch::Receiver<bool>,
}

impl Agent {
    /// The trainer for these jobs, if this worker has it.
    pub(super) fn trainer(&self, id: &TrainerId) -> Option<Arc<dyn Trainer>> {
        self.trainers.iter().find(|trainer| trainer.id() == *id).cloned()
    }
}
