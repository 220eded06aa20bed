//! The messaging side of a worker: claim, train on a thread of its own, prove the fence, report, commit, acknowledge.

mod adopt;
mod canary;
mod error;
mod handover;
mod hold;
mod incoming;
mod job;
mod packs;
mod presence;
mod resume;
mod room;
mod settle;
mod sightings;
mod spool;
mod thread;
mod training;
mod turn;
mod uplink;
mod weights;

use std::time::Duration;

use shared::books::{Claim, JobRecord, Token};
use shared::bus::{Bus, BusError, Credential, Delivery, Endpoint, Role};
use shared::ids::{JobId, WorkerId};
use shared::job::TRAINER_REVISION;
use shared::protocol::JobOrder;
use shared::rng::{Purpose, Stream};
use shared::signals::StopSignals;
use tokio::sync::watch;
use uuid::Uuid;

use crate::cli::AgentArgs;
use crate::device;
pub use error::AgentError;
pub use handover::WorkClaim;
use hold::Hold;
pub use packs::{PackStore, PacksError};
use presence::Presences;
use sightings::Sightings;
pub use spool::{JobSpool, Spool};
use thread::Torch;
pub use training::{Assignment, Reporter, Saved, StepProgress, Trainer, Training, TrainingError, Wish};
pub use weights::{WeightsError, WeightsStore};

/// A job of another trainer's revision is left in the queue for this long.
const NOT_FOR_US: Duration = Duration::from_mins(1);
/// Time to hand the job back after a signal to stop, which fails while the server is away.
const HAND_BACK_LIMIT: Duration = Duration::from_secs(10);
/// Time between two looks at what workers of this machine have left behind, for a worker without a job.
const ADOPT_EVERY: Duration = Duration::from_secs(30);
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
    spool: Spool,
    presences: Presences,
    sightings: Sightings,
    /// A training failed here, or none has begun yet: the canary comes before the next claim.
    suspicious: bool,
    /// Fetches of datasets or weights that failed in a row.
    fetches_failed: u32,
    /// For how long jobs are left to others.
    draws: Stream,
    stop: watch::Receiver<bool>,
}

/// A job that this worker has just taken.
struct Claimed {
    token: Token,
    /// Its record as it was written, and at which revision.
    entry: (JobRecord, u64),
    heartbeat: Duration,
    order: JobOrder,
    admitted_nanos: i128,
}

/// What a worker works with.
pub struct Equipment {
    pub bus: Bus,
    pub me: WorkerId,
    pub host: String,
    pub trainer: Box<dyn Trainer>,
    pub packs: PackStore,
    pub weights: WeightsStore,
    /// Where work is kept that the server does not have yet.
    pub spool: Spool,
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
    let host = device::host();
    let me = WorkerId::new(args.name.as_deref().unwrap_or(&host), Uuid::new_v4());
    let endpoint = endpoint(&args)?;
    let Some(bus) = connect(&endpoint, &me, stop.clone()).await? else { return Ok(()) };
    let device = match device::choose(args.device) {
        Ok(device) => device,
        Err(error) => return Err(turn::unfit(&bus, &me, error.into()).await),
    };
    tracing::info!(worker = %me, device = device::name(device), server = endpoint.url(), "ready");
    let cache = args.cache.unwrap_or_else(packs::user_cache);
    let weights = WeightsStore::new(args.data.clone(), &cache);
    let packs = PackStore::new(args.data, &cache);
    let spool = Spool::open(&cache, &me);
    serve(Equipment { bus, me, host, trainer: Box::new(Torch(device)), packs, weights, spool, stop }).await
}

/// Works until asked to stop.
pub async fn serve(equipment: Equipment) -> Result<(), AgentError> {
    let Equipment { bus, me, host, trainer, packs, weights, spool, stop } = equipment;
    let presences = Presences::start(bus.clone(), &me, &host, &trainer.record(0, &host));
    let mut patience = stop.clone();
    let sightings = Sightings::default();
    let life: Vec<u64> = me.as_str().bytes().map(u64::from).collect();
    let mut agent = Agent {
        bus,
        me,
        host,
        trainer,
        packs,
        weights,
        spool,
        presences,
        sightings,
        suspicious: true,
        fetches_failed: 0,
        draws: Stream::new(0, Purpose::Turn, &life),
        stop,
    };
    let outcome = tokio::select! {
        biased;
        outcome = Box::pin(agent.work()) => outcome,
        () = out_of_patience(&mut patience) => {
            tracing::warn!(
                "the job could not be handed back in time: the next worker of this machine does it, \
                 or its lease runs out by itself"
            );
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

/// Turns true at SIGTERM, SIGHUP or Ctrl-C, unless the signal was ignored when this program started.
fn stop_signal() -> Result<watch::Receiver<bool>, AgentError> {
    let mut signals = StopSignals::listen().map_err(AgentError::Signals)?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        signals.requested().await;
        sender.send_replace(true);
    });
    Ok(receiver)
}

impl Agent {
    async fn work(&mut self) -> Result<(), AgentError> {
        self.adopt().await;
        self.report_for_duty().await?;
        while !*self.stop.borrow() {
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
                    delivery = jobs.next() => Some(delivery),
                    () = tokio::time::sleep(ADOPT_EVERY) => None,
                };
                let Some(delivery) = delivery else {
                    self.adopt().await;
                    continue;
                };
                let Some(delivery) = delivery else { break };
                if let Some(reason) = self.refusal(&delivery).await {
                    return Err(AgentError::Out { reason });
                }
                self.consider(delivery).await?;
                if *self.stop.borrow() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Hands in what workers of this machine have left behind that are gone.
    async fn adopt(&mut self) {
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => {}
            () = adopt::adopt(&self.bus, &self.spool) => {}
        }
    }

    /// Claims the job when it may be claimed, and trains it. Errors of the bus on the way cost nothing: the queue
    /// hands the job out again.
    async fn consider(&mut self, delivery: Delivery) -> Result<(), AgentError> {
        let job = delivery.job;
        match self.claim(&delivery).await {
            Ok(Some(Claimed { token, entry, heartbeat, order, admitted_nanos })) => {
                let hold = Hold::new(self.bus.clone(), job, token, entry, Some(delivery), heartbeat);
                self.presences.working_on(Some(job));
                let outcome = Box::pin(job::run(self, hold, &order, admitted_nanos)).await;
                self.presences.working_on(None);
                match outcome {
                    Err(error) => self.recover(error).await,
                    Ok(()) => Ok(()),
                }
            }
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::warn!(%job, "{error}; the job stays in the queue");
                delivery.hand_back(RECONNECT).await;
                Ok(())
            }
        }
    }

    async fn claim(&mut self, delivery: &Delivery) -> Result<Option<Claimed>, BusError> {
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
        if self.is_others_turn(&entry.record).await? {
            self.leave(delivery).await;
            return Ok(None);
        }
        let admitted_nanos = self.bus.admitted_at(job).await?.unwrap_or_default();
        // Both times are the server's, so no clock of any worker matters. Where the server's clock leapt back, the
        // time for which this worker has seen the record unchanged stands in.
        let now = self.presences.server_time().await?;
        let age = Duration::from_nanos(u64::try_from(now - entry.written_nanos).unwrap_or(0));
        let age = age.max(self.sightings.unchanged_for(job, entry.revision));
        let timing = self.bus.timing().await?;
        match entry.record.claim(&self.me, age, timing.lease()) {
            Claim::Take { token, record } => match self.bus.swap(job, entry.revision, &record).await {
                Ok(revision) => {
                    let (entry, heartbeat) = ((record, revision), timing.heartbeat());
                    Ok(Some(Claimed { token, entry, heartbeat, order, admitted_nanos }))
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
