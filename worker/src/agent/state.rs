//! The state of one worker: its connection, its equipment, and its recent problems.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::bus::Bus;
use shared::ids::WorkerId;
use shared::job::TrainerId;
use shared::rng::Stream;
use tokio::sync::watch;

use super::conditions::KnownConditions;
use super::own_jobs::OwnJobs;
use super::pace::Pace;
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
    pub(super) packs: tokio::sync::Mutex<PackStore>,
    pub(super) weights: WeightsStore,
    pub(super) spool: Spool,
    pub(super) presences: Presences,
    /// The device, and the jobs that wait for it.
    pub(super) pace: Pace,
    /// What was last read before a claim.
    pub(super) conditions: KnownConditions,
    pub(super) suspicion: Suspicion,
    /// Jobs in a row whose dataset or weights could not be fetched.
    pub(super) without_inputs: AtomicU32,
    /// The jobs that it claims or holds.
    pub(super) own_jobs: OwnJobs,
    pub(super) memory: Mutex<Memory>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Whether something may be wrong with this worker: after a failed training, and at the start. Then the self-test runs
/// before the next claim.
#[derive(Debug)]
pub(super) struct Suspicion(AtomicBool);

impl Suspicion {
    pub(super) fn at_the_start() -> Self {
        Self(AtomicBool::new(true))
    }

    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a worker remembers from one look at a job to the next.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) record_ages: RecordAges,
    /// What was said about jobs that this worker leaves alone, so that it is said once.
    pub(super) left_alone: BTreeSet<String>,
    /// Whether a user has drained this worker, as was said.
    pub(super) is_drained: bool,
    /// The random times for which jobs are left to other workers.
    pub(super) draws: Stream,
}

impl Agent {
    /// The trainer for these jobs, if this worker has it.
    pub(super) fn trainer(&self, id: &TrainerId) -> Option<Arc<dyn Trainer>> {
        self.trainers.iter().find(|trainer| trainer.id() == *id).cloned()
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Resolves when this worker is asked to stop.
    pub(super) async fn stopped(&self) {
        // If nobody is left who could ask, nobody will.
        if self.stop.clone().wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
