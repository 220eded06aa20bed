//! The messaging side of a worker: claim, train on a thread of its own, prove the fence, report, commit, acknowledge.

mod hold;
mod incoming;
mod job;
mod packs;
mod presence;
mod thread;
mod training;
mod weights;

use std::time::Duration;

use shared::books::Claim;
use shared::bus::{Bus, BusError, Credential, Delivery, Endpoint, LEASE, Role};
use shared::ids::{JobId, WorkerId};
use shared::job::TRAINER_REVISION;
use tokio::sync::watch;
use uuid::Uuid;

use crate::cli::AgentArgs;
use crate::cuda::CudaError;
use crate::device;
use hold::Hold;
pub use packs::{PackStore, PacksError};
use presence::Presences;
use thread::Torch;
pub use training::{Assignment, Report, Reporter, StepProgress, Trainer, Training};
pub use weights::{WeightsError, WeightsStore};

/// Why a worker ends.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Device(#[from] CudaError),
    #[error(transparent)]
    Packs(#[from] PacksError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("the runtime cannot start: {0}")]
    Runtime(std::io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
}

impl AgentError {
    /// True when the same worker started again would end the same way.
    pub fn is_hopeless(&self) -> bool {
        match self {
            Self::Device(_) => true,
            Self::Bus(error) => error.is_bad_input(),
            Self::Packs(_) | Self::Weights(_) | Self::Runtime(_) | Self::Signals(_) => false,
        }
    }
}

/// A job of another trainer's revision is left in the queue for this long.
const NOT_FOR_US: Duration = Duration::from_mins(1);
/// Time to hand the job back after a signal to stop, which fails while the server is away.
const HAND_BACK_LIMIT: Duration = Duration::from_secs(10);
/// Time between two tries to reach a server that is not there (yet).
const RECONNECT: Duration = Duration::from_secs(1);
/// Tries to reach a server before giving up: a server of the same machine may just be starting.
const CONNECT_TRIES: u32 = 10;

/// One worker: its connection and what it works with.
struct Agent {
    bus: Bus,
    me: WorkerId,
    host: String,
    trainer: Box<dyn Trainer>,
    packs: PackStore,
    weights: WeightsStore,
    presences: Presences,
    stop: watch::Receiver<bool>,
}

/// What a worker works with.
pub struct Equipment {
    pub bus: Bus,
    pub me: WorkerId,
    pub host: String,
    pub trainer: Box<dyn Trainer>,
    pub packs: PackStore,
    pub weights: WeightsStore,
    /// Turns true when the worker is asked to stop.
    pub stop: watch::Receiver<bool>,
}

impl std::fmt::Debug for Equipment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Equipment").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Connects and works until a signal to stop.
pub async fn run(args: AgentArgs) -> Result<(), AgentError> {
    let stop = stop_signal()?;
    let device = device::choose(args.device)?;
    let host = device::host();
    let me = WorkerId::new(args.name.as_deref().unwrap_or(&host), Uuid::new_v4());
    let endpoint = endpoint(&args)?;
    let Some(bus) = connect(&endpoint, &me, stop.clone()).await? else { return Ok(()) };
    tracing::info!(worker = %me, device = device::name(device), server = endpoint.url(), "ready");
    let cache = args.cache.unwrap_or_else(packs::user_cache);
    let weights = WeightsStore::new(args.data.clone(), &cache);
    let packs = PackStore::new(args.data, &cache);
    serve(Equipment { bus, me, host, trainer: Box::new(Torch(device)), packs, weights, stop }).await
}

/// Works until asked to stop.
pub async fn serve(equipment: Equipment) -> Result<(), AgentError> {
    let Equipment { bus, me, host, trainer, packs, weights, stop } = equipment;
    let presences = Presences::start(bus.clone(), &me, &host, &trainer.record(0, &host));
    let mut patience = stop.clone();
    let mut agent = Agent { bus, me, host, trainer, packs, weights, presences, stop };
    let outcome = tokio::select! {
        biased;
        outcome = Box::pin(agent.work()) => outcome,
        () = out_of_patience(&mut patience) => {
            tracing::warn!("the job could not be handed back in time; its lease runs out by itself");
            return Ok(());
        }
    };
    agent.presences.end().await;
    outcome
}

/// Resolves some time after the signal to stop.
async fn out_of_patience(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_ok() {
        tokio::time::sleep(HAND_BACK_LIMIT).await;
    } else {
        std::future::pending::<()>().await;
    }
}

fn endpoint(args: &AgentArgs) -> Result<Endpoint, BusError> {
    let credential = args.creds.as_deref().map(Credential::read).transpose()?;
    let address = args.nats.as_deref().unwrap_or_default();
    let endpoint = Endpoint::parse(address, args.token.clone())?.with_credential(credential);
    endpoint.require(&[Role::Worker, Role::Coordinator])?;
    Ok(endpoint)
}

/// The connection, or `None` after a signal to stop. A server on which no sweep has run yet is waited for: what a worker
/// needs there is made by the coordinator alone.
async fn connect(
    endpoint: &Endpoint,
    me: &WorkerId,
    mut stop: watch::Receiver<bool>,
) -> Result<Option<Bus>, AgentError> {
    let (mut tries, mut told) = (0, false);
    loop {
        match Bus::connect(endpoint, me.as_str()).await {
            Ok(bus) => return Ok(Some(bus)),
            Err(BusError::Missing { what }) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!("waiting: {} has no {what}", endpoint.url());
                }
            }
            Err(error) if tries < CONNECT_TRIES && !error.is_bad_input() => {
                tries += 1;
                tracing::info!("{error}; trying again");
            }
            Err(error) => return Err(error.into()),
        }
        if tokio::time::timeout(RECONNECT, stop.wait_for(|stop| *stop)).await.is_ok() {
            return Ok(None);
        }
    }
}

/// Turns true at SIGTERM or Ctrl-C.
fn stop_signal() -> Result<watch::Receiver<bool>, AgentError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AgentError::Signals)?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
    });
    Ok(receiver)
}

impl Agent {
    async fn work(&mut self) -> Result<(), AgentError> {
        loop {
            let mut jobs = match self.bus.jobs().await {
                Ok(jobs) => jobs,
                Err(error) if error.is_transient() => {
                    tracing::warn!("{error}; trying again");
                    tokio::time::sleep(RECONNECT).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            loop {
                let delivery = tokio::select! {
                    biased;
                    _ = self.stop.wait_for(|stop| *stop) => return Ok(()),
                    delivery = jobs.next() => delivery,
                };
                let Some(delivery) = delivery else { break };
                self.consider(delivery).await?;
                if *self.stop.borrow() {
                    return Ok(());
                }
            }
        }
    }

    /// Claims the job when it may be claimed, and trains it. Errors of the bus on the way cost nothing: the queue
    /// hands the job out again.
    async fn consider(&mut self, delivery: Delivery) -> Result<(), AgentError> {
        match self.claim(&delivery).await {
            Ok(Some((hold, order))) => {
                let job = delivery.job;
                self.presences.working_on(Some(job));
                let outcome = Box::pin(job::run(self, hold, &order, &delivery)).await;
                self.presences.working_on(None);
                outcome
            }
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::warn!(job = %delivery.job, "{error}; the job stays in the queue");
                delivery.hand_back(RECONNECT).await;
                Ok(())
            }
        }
    }

    async fn claim(
        &self,
        delivery: &Delivery,
    ) -> Result<Option<(Hold, shared::protocol::JobOrder)>, BusError> {
        let job = delivery.job;
        let Some(entry) = self.bus.record(job).await? else {
            tracing::warn!(%job, "the books do not know this job");
            delivery.finish().await;
            return Ok(None);
        };
        let order = self.bus.order(job).await?;
        if let Err(reason) = order.check(job) {
            tracing::error!(%job, "its order is not to be believed and is left alone: {reason}");
            delivery.hand_back(NOT_FOR_US).await;
            return Ok(None);
        }
        if order.trainer_revision != TRAINER_REVISION {
            let theirs = order.trainer_revision;
            tracing::warn!(%job, "is for trainer revision {theirs}, this worker has {TRAINER_REVISION}: left alone");
            delivery.hand_back(NOT_FOR_US).await;
            return Ok(None);
        }
        // Both times are the server's, so no clock of any worker matters.
        let now = self.presences.server_time().await?;
        let age = Duration::from_nanos(u64::try_from(now - entry.written_nanos).unwrap_or(0));
        match entry.record.claim(&self.me, age, LEASE) {
            Claim::Take { token, record } => match self.bus.swap(job, entry.revision, &record).await {
                Ok(revision) => {
                    let hold = Hold::new(self.bus.clone(), job, token, record, revision);
                    Ok(Some((hold, order)))
                }
                Err(BusError::Conflict { .. }) => {
                    delivery.hand_back(RECONNECT).await;
                    Ok(None)
                }
                Err(error) => Err(error),
            },
            Claim::Wait(delay) => {
                delivery.hand_back(delay).await;
                Ok(None)
            }
            Claim::GiveUp(record) => {
                self.bus.swap(job, entry.revision, &record).await?;
                delivery.finish().await;
                Ok(None)
            }
            Claim::Finished => {
                delivery.finish().await;
                Ok(None)
            }
        }
    }

    fn live(&self, job: JobId, progress: StepProgress) -> shared::protocol::LiveReport {
        let StepProgress { epoch, epochs, step, steps } = progress;
        shared::protocol::LiveReport { worker: self.me.clone(), job, epoch, epochs, step, steps }
    }
}
