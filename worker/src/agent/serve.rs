//! The main loop of a worker: connect, check in, then train one job after another until asked to stop.
//! What is said here of a job holds for each of several, if they are short ([`super::pace`]).

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use shared::bus::{Bus, BusError, Credential, Delivery, Endpoint, Jobs, Role};
use shared::ids::WorkerId;
use shared::job::TrainerId;
use shared::retry::Backoff;
use shared::rng::{Purpose, Stream};
use shared::signals::StopSignals;
use tch::Device;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument;
use uuid::Uuid;

use super::claim::{Claimed, Look};
use super::conditions::{Conditions, KnownConditions};
use super::error::AgentError;
use super::fitness::unfit;
use super::hold::Hold;
use super::lull::{Came, Lull};
use super::own_jobs::OwnJobs;
use super::pace::{InLine, Pace};
use super::packs::{self, PackStore};
use super::presence::{self, Presences};
use super::record_ages::RecordAges;
use super::spool::Spool;
use super::state::{Agent, Memory, RECONNECT, Suspicion};
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
    let counters: Vec<u64> = me.as_str().bytes().map(u64::from).collect();
    let agent = Agent {
        bus,
        me,
        host,
        trainers,
        packs: tokio::sync::Mutex::new(packs),
        weights,
        spool,
        presences,
        pace: Pace::default(),
        conditions: KnownConditions::default(),
        suspicion: Suspicion::at_the_start(),
        without_inputs: AtomicU32::new(0),
        own_jobs: OwnJobs::default(),
        memory: Mutex::new(Memory {
            record_ages: RecordAges::default(),
            left_alone: BTreeSet::new(),
            is_drained: false,
            draws: Stream::new(0, Purpose::Turn, &counters),
        }),
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
    async fn work(&self) -> Result<(), AgentError> {
        self.hand_in_leftovers().await;
        self.check_in().await?;
        let (mut queue, mut held) = (None, FuturesUnordered::new());
        let mut lull = Lull::begin(Instant::now());
        let mut leftovers = tokio::time::interval_at(Instant::now() + LEFTOVERS_EVERY, LEFTOVERS_EVERY);
        leftovers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = self.pace.has_room(held.len());
            let (asks_at, looks_at) = (lull.asks_at(), lull.looks_at(held.len()).filter(|_| room));
            // Nothing is awaited elsewhere while jobs are held, because they are at work only here.
            tokio::select! {
                biased;
                () = self.stopped() => break,
                Some(outcome) = held.next() => match outcome {
                    Ok(came) => lull.ended(came, self.pace.is_brisk(), Instant::now()),
                    Err(error) => {
                        while held.next().await.is_some() {}
                        self.recover(error).await?;
                    }
                },
                delivery = self.next(&mut queue, asks_at), if room => {
                    held.push(self.consider(Some(delivery?), self.pace.line_up()));
                }
                () = at(looks_at) => held.push(self.consider(None, self.pace.line_up())),
                _ = leftovers.tick(), if held.is_empty() => self.hand_in_leftovers().await,
            }
        }
        while let Some(outcome) = held.next().await {
            outcome?;
        }
        Ok(())
    }

    /// The next job that the queue hands out. Dropping the future loses nothing.
    async fn next(&self, queue: &mut Option<Jobs>, asks_at: Instant) -> Result<Delivery, BusError> {
        tokio::time::sleep_until(asks_at).await;
        loop {
            if let Some(jobs) = queue {
                match jobs.next().await {
                    Some(delivery) => return Ok(delivery),
                    None => *queue = None,
                }
            }
            let tell = |error: &BusError| tracing::warn!("{error}; trying again");
            let subscribed =
                Backoff::every(RECONNECT).endless().run(|| self.bus.jobs(), BusError::is_transient, tell);
            *queue = Some(subscribed.await?);
        }
    }

    /// Hands in the leftovers of other workers on this machine.
    async fn hand_in_leftovers(&self) {
        tokio::select! {
            biased;
            () = self.stopped() => {}
            () = leftovers::hand_in(&self.bus, &self.spool) => {}
        }
    }

    /// Claims the delivered job if this worker may, or one that comes before it, and trains it. Without a delivery, one that
    /// comes when the queue hands out nothing.
    async fn consider<'a>(
        &'a self,
        delivery: Option<Delivery>,
        in_line: InLine<'a>,
    ) -> Result<Came, AgentError> {
        let conditions = self.conditions.now(&self.bus, self.me.name(), self.pace.is_brisk()).await;
        let conditions = match conditions {
            Ok(conditions) => conditions,
            Err(error) => {
                tracing::warn!("{error}; looking again later");
                return Ok(go_back(delivery, RECONNECT, Came::Passed).await);
            }
        };
        // Whoever gets no jobs ends when the queue has one: until then, the standing may change.
        if delivery.is_none() && conditions.standing.refusal().is_some() {
            return Ok(Came::Nothing);
        }
        if let Some(reason) = self.refusal(&conditions.standing).await {
            go_back(delivery, Duration::ZERO, Came::Passed).await;
            return Err(AgentError::Out { reason });
        }
        if self.is_drained(&conditions) {
            return Ok(go_back(delivery, Duration::ZERO, Came::Drained).await);
        }
        match delivery {
            Some(delivery) => self.consider_delivery(delivery, &conditions, in_line).await,
            None => match self.claim_last(&conditions).await {
                Some(claimed) => {
                    self.train(*claimed, None, in_line).await?;
                    Ok(Came::Last)
                }
                None => Ok(Came::Nothing),
            },
        }
    }

    async fn consider_delivery<'a>(
        &'a self,
        delivery: Delivery,
        conditions: &Conditions,
        in_line: InLine<'a>,
    ) -> Result<Came, AgentError> {
        let job = delivery.job;
        if let Some(claimed) = self.claim_first(job, conditions).await {
            delivery.hand_back(Duration::ZERO).await;
            self.train(*claimed, None, in_line).await?;
            return Ok(Came::Taken);
        }
        match self.claim(job, conditions).await {
            Ok(Look::Claimed(claimed)) => {
                self.train(*claimed, Some(delivery), in_line).await?;
                return Ok(Came::Taken);
            }
            Ok(Look::Later(time)) => delivery.hand_back(time).await,
            Ok(Look::Over) => delivery.finish().await,
            Err(error) => {
                tracing::warn!(%job, "{error}; the job stays in the queue");
                delivery.hand_back(RECONNECT).await;
            }
        }
        Ok(Came::Passed)
    }

    /// Trains a job that this worker has just claimed.
    async fn train<'a>(
        &'a self,
        claimed: Claimed<'a>,
        delivery: Option<Delivery>,
        in_line: InLine<'a>,
    ) -> Result<(), AgentError> {
        let Claimed {
            token,
            entry,
            heartbeat,
            order,
            admitted_nanos,
            company: _company,
            own: _until_the_end,
        } = claimed;
        let (job, execution) = (order.job, order.execution.clone());
        let hold = Hold::new(self.bus.clone(), job, token, entry, delivery, heartbeat, execution);
        let span = job::span(self, &hold, &order);
        Box::pin(job::run(self, hold, &order, admitted_nanos, in_line)).instrument(span).await
    }
}

/// Hands a delivery back, if there is one, to be handed out again after `delay`. Then that came of it.
async fn go_back(delivery: Option<Delivery>, delay: Duration, came: Came) -> Came {
    match delivery {
        Some(delivery) => {
            delivery.hand_back(delay).await;
            came
        }
        None => Came::Nothing,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
