//! The main loop of a worker: connect, check in, then train one job after another until asked to stop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shared::bus::{Bus, BusError, Credential, Delivery, Endpoint, Role};
use shared::ids::WorkerId;
use shared::job::TrainerId;
use shared::retry::Backoff;
use shared::rng::{Purpose, Stream};
use shared::signals::StopSignals;
use tch::Device;
use tokio::sync::watch;
use uuid::Uuid;

use super::claim::{Claimed, Look};
use super::error::AgentError;
use super::fitness::unfit;
use super::hold::Hold;
use super::packs::{self, PackStore};
use super::presence::{self, Presences};
use super::record_ages::RecordAges;
use super::spool::Spool;
use super::state::{Agent, RECONNECT};
use super::training::Trainer;
use super::weights::WeightsStore;
use super::{job, leftovers, name};
use crate::cli::AgentArgs;
use crate::device;

/// Time to give the job back after a signal to stop. That cannot succeed while the server is away.
const HAND_BACK_LIMIT: Duration = Duration::from_secs(10);
/// How often a worker without a job looks for leftovers of other workers on this machine.
const LEFTOVERS_EVERY: Duration = Duration::from_secs(30);
/// How often to try to reach a server. A server on this machine may still be starting.
const CONNECT_TRIES: u32 = 11;

/// Everything that a worker needs to serve.
pub struct Equipment {
    pub bus: Bus,
    pub me: WorkerId,
    pub host: String,
    /// The jobs that it takes. The device of the first one is shown.
    pub trainers: Vec<Box<dyn Trainer>>,
    pub packs: PackStore,
    pub weights: WeightsStore,
    /// Where work is stored that the server does not have yet.
    pub spool: Spool,
    /// Becomes true when the worker is asked to stop.
    pub stop: watch::Receiver<bool>,
}

impl std::fmt::Debug for Equipment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Equipment").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Connects and works until a signal to stop. `ids` are those of the trainers that `all` gives for a device.
///
/// # Errors
///
/// The server cannot be reached, the device cannot be used, or as [`serve`].
pub async fn run(
    args: AgentArgs,
    ids: Vec<TrainerId>,
    all: impl FnOnce(Device) -> Vec<Box<dyn Trainer>>,
) -> Result<(), AgentError> {
    let stop = stop_signal()?;
    let host = device::host();
    let name = name::choose(args.name.as_deref(), &host, args.device);
    let me = WorkerId::new(name.as_str(), args.life.unwrap_or_else(Uuid::new_v4));
    let endpoint = endpoint(&args)?;
    let Some(bus) = connect(&endpoint, &me, stop.clone()).await? else { return Ok(()) };
    presence::announce(&bus, &me, &host, ids).await;
    let device = match device::choose(args.device) {
        Ok(device) => device,
        Err(error) => return Err(unfit(&bus, &me, error.into()).await),
    };
    tracing::info!(worker = %me, device = device::name(device), server = endpoint.url(), "ready");
    let cache = args.cache.unwrap_or_else(packs::user_cache);
    let weights = WeightsStore::new(args.data.clone(), &cache);
    let packs = PackStore::new(args.data, &cache);
    let spool = Spool::open(&cache, &me);
    serve(Equipment { bus, me, host, trainers: all(device), packs, weights, spool, stop }).await
}

/// Works until asked to stop.
///
/// # Errors
///
/// The self-test fails, the books drain this worker, the inputs of a job cannot be stored here, or the bus fails for
/// good.
pub async fn serve(equipment: Equipment) -> Result<(), AgentError> {
    let Equipment { bus, me, host, trainers, packs, weights, spool, stop } = equipment;
    let trainers: Vec<Arc<dyn Trainer>> = trainers.into_iter().map(Arc::from).collect();
    let device = trainers.first().map_or_else(|| "none".to_owned(), |trainer| trainer.device());
    let ids = trainers.iter().map(|trainer| trainer.id()).collect();
    let presences = Presences::start(bus.clone(), &me, &host, device, ids);
    let mut stop_for_limit = stop.clone();
    let record_ages = RecordAges::default();
    let counters: Vec<u64> = me.as_str().bytes().map(u64::from).collect();
    let mut agent = Agent {
        bus,
        me,
        host,
        trainers,
        packs,
        weights,
        spool,
        presences,
        record_ages,
        suspicious: true,
        left_alone: BTreeSet::new(),
        without_inputs: 0,
        draws: Stream::new(0, Purpose::Turn, &counters),
        stop,
    };
    let outcome = tokio::select! {
        biased;
        outcome = Box::pin(agent.work()) => outcome,
        () = hand_back_limit(&mut stop_for_limit) => {
            tracing::warn!(
                "the job could not be given back in time: the next worker on this machine gives it back, or another \
                 worker takes it when its lease ends"
            );
            return Ok(());
        }
    };
    agent.presences.end().await;
    outcome
}

/// Resolves [`HAND_BACK_LIMIT`] after the signal to stop.
async fn hand_back_limit(stop: &mut watch::Receiver<bool>) {
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

/// The connection, or `None` after a signal to stop. Waits without limit if no sweep has run on the server yet, because
/// only a coordinator creates what a worker needs there.
async fn connect(
    endpoint: &Endpoint,
    me: &WorkerId,
    mut stop: watch::Receiver<bool>,
) -> Result<Option<Bus>, AgentError> {
    let is_empty = |error: &BusError| matches!(error, BusError::Missing { .. });
    let again = Backoff::every(RECONNECT);
    let reach = || {
        again.tries(CONNECT_TRIES).run(
            || Bus::connect(endpoint, me.as_str()),
            |error| !is_empty(error) && !error.is_bad_input(),
            |error| tracing::info!("{error}; trying again"),
        )
    };
    let connected = again.endless().run(reach, is_empty, |error| {
        tracing::info!("waiting for a sweep on {}: {error}", endpoint.url());
    });
    tokio::select! {
        biased;
        connected = connected => Ok(Some(connected?)),
        _ = stop.wait_for(|stop| *stop) => Ok(None),
    }
}

/// Becomes true at SIGTERM, SIGHUP or Ctrl-C, unless the signal was ignored when this program started.
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
        self.hand_in_leftovers().await;
        self.check_in().await?;
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
                    () = tokio::time::sleep(LEFTOVERS_EVERY) => None,
                };
                let Some(delivery) = delivery else {
                    self.hand_in_leftovers().await;
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

    /// Hands in the leftovers of other workers on this machine.
    async fn hand_in_leftovers(&mut self) {
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => {}
            () = leftovers::hand_in(&self.bus, &self.spool) => {}
        }
    }

    /// Claims the job if this worker may, or one that comes before it, and trains it.
    async fn consider(&mut self, delivery: Delivery) -> Result<(), AgentError> {
        let job = delivery.job;
        if let Some(claimed) = self.claim_first(job).await {
            delivery.hand_back(Duration::ZERO).await;
            return self.train(*claimed, None).await;
        }
        match self.claim(job).await {
            Ok(Look::Claimed(claimed)) => self.train(*claimed, Some(delivery)).await,
            Ok(Look::Later(time)) => {
                delivery.hand_back(time).await;
                Ok(())
            }
            Ok(Look::Over) => {
                delivery.finish().await;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%job, "{error}; the job stays in the queue");
                delivery.hand_back(RECONNECT).await;
                Ok(())
            }
        }
    }

    /// Trains a job that this worker has just claimed.
    async fn train(&mut self, claimed: Claimed, delivery: Option<Delivery>) -> Result<(), AgentError> {
        let Claimed { token, entry, heartbeat, order, admitted_nanos } = claimed;
        let (job, execution) = (order.job, order.execution.clone());
        let hold = Hold::new(self.bus.clone(), job, token, entry, delivery, heartbeat, execution);
        self.presences.working_on(Some(job));
        let outcome = Box::pin(job::run(self, hold, &order, admitted_nanos)).await;
        self.presences.working_on(None);
        match outcome {
            Err(error) => self.recover(error).await,
            Ok(()) => Ok(()),
        }
    }
}
