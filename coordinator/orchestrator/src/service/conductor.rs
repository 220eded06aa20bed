//! Runs the engine on the bus: records, queue and results. It knows no process, no display and no disk.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use shared::books::{JobRecord, JobState, WorkerRecord};
use shared::bus::{BookEntry, Bucket, Bus, BusError, RecordWatch, StandingWatch};
use shared::causes::in_words;
use shared::disk;
use shared::ids::{JobId, WorkerId};
use shared::trainer::Remedies;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::downloads::{FetchedResult, fetch_result};
use crate::engine::cost::CostModel;
use crate::engine::crash::Crash;
use crate::engine::{Effect, Engine, Event, Notice};
use crate::sweep::plan::Plan;

const RECONCILE_EVERY: Duration = Duration::from_secs(30);
/// The pause before a watch is opened again on a server that is away. Other work continues in the meantime.
const REOPEN: Duration = Duration::from_millis(500);

/// Something that happened, to be handled by [`Conductor::act`].
#[derive(Debug)]
pub struct Input(InputKind);

#[derive(Debug)]
enum InputKind {
    Record(BookEntry),
    Standing(WorkerRecord),
    /// The watch of the records has ended; changes may have been missed.
    RecordsClosed,
    /// The same for the workers' standings.
    StandingsClosed,
    Fetch(JobId, Box<Result<FetchedResult, BusError>>),
    Reconcile,
}

/// Runs one sweep on one bus.
#[derive(Debug)]
pub struct Conductor {
    engine: Engine,
    cost: CostModel,
    plan: Arc<Plan>,
    bus: Bus,
    records: Subscription<RecordWatch>,
    standings: Subscription<StandingWatch>,
    fetches: JoinSet<(JobId, Result<FetchedResult, BusError>)>,
    reconcile: Interval,
}

/// A watch, or the time at which to open it again.
#[derive(Debug)]
enum Subscription<W> {
    Open(W),
    Closed { until: Instant },
}

impl Conductor {
    /// Begins with a sweep whose jobs are in the books.
    ///
    /// # Errors
    /// When the server refuses to let the books be watched.
    pub async fn begin(bus: Bus, engine: Engine, cost: CostModel, plan: Arc<Plan>) -> Result<Self, BusError> {
        let mut reconcile = tokio::time::interval(RECONCILE_EVERY);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let standings = subscribed(bus.watch_standings().await)?;
        let records = subscribed(bus.watch_records().await)?;
        Ok(Self { engine, cost, plan, bus, records, standings, fetches: JoinSet::new(), reconcile })
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn cost(&self) -> &CostModel {
        &self.cost
    }

    /// The engine in its final state.
    pub fn into_engine(self) -> Engine {
        self.engine
    }

    /// Waits for the next input. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Input {
        Input(tokio::select! {
            biased; // Rare events first, so that frequent ones cannot starve them.
            _ = self.reconcile.tick() => InputKind::Reconcile,
            Some(fetched) = self.fetches.join_next() => match fetched {
                Ok((job, outcome)) => InputKind::Fetch(job, Box::new(outcome)),
                Err(error) => std::panic::resume_unwind(error.into_panic()), // Fetches are never cancelled.
            },
            record = self.standings.next() => {
                record.map_or(InputKind::StandingsClosed, InputKind::Standing)
            }
            entry = self.records.next() => entry.map_or(InputKind::RecordsClosed, InputKind::Record),
        })
    }

    /// Acts on an input and returns what the user should know. `store` keeps a fetched result.
    ///
    /// # Errors
    /// When a result cannot be stored for another reason than a full disk, the server has lost one, or the books can no
    /// longer be watched.
    pub async fn act(
        &mut self,
        input: Input,
        store: &mut (dyn FnMut(&FetchedResult) -> anyhow::Result<()> + Send),
    ) -> anyhow::Result<Vec<Notice>> {
        match input.0 {
            InputKind::Record(entry) => Ok(self.record_changed(entry).await),
            InputKind::Standing(record) => Ok(self.apply(Event::StandingChanged(record)).await),
            InputKind::RecordsClosed => {
                self.records = subscribed(self.bus.watch_records().await)?;
                Ok(Vec::new())
            }
            InputKind::StandingsClosed => {
                self.standings = subscribed(self.bus.watch_standings().await)?;
                Ok(Vec::new())
            }
            InputKind::Fetch(job, outcome) => {
                let event = stored(job, *outcome, store)?;
                Ok(self.apply(event).await)
            }
            InputKind::Reconcile => Ok(self.apply(Event::Reconcile).await),
        }
    }

    /// A local worker has died, and only this process knows why: enters that into the books for the jobs that it held,
    /// in the background. With a `crash` the job has failed there, with `log` as its last lines; without one, the job
    /// lost its worker.
    pub fn worker_died(&self, worker: &WorkerId, held: &[JobId], crash: Option<Crash>, log: &str) {
        let log: Vec<String> = log.lines().map(str::to_owned).collect();
        for &job in held {
            let error = crash.map(|crash| crash.error(&self.remedies(job)));
            let (bus, worker, log) = (self.bus.clone(), worker.clone(), log.clone());
            tokio::spawn(async move {
                if let Err(error) = close_for(&bus, &worker, job, error, &log).await {
                    tracing::warn!(%job, %error, "cannot enter into the books how {worker} died");
                }
            });
        }
    }

    fn remedies(&self, job: JobId) -> Remedies {
        let planned = self.plan.jobs.iter().find(|planned| planned.id == job);
        let known = self.plan.kind().zip(planned);
        known.map_or_else(Remedies::default, |(kind, planned)| kind.remedies(&planned.settings))
    }

    async fn record_changed(&mut self, BookEntry { job, record, revision, .. }: BookEntry) -> Vec<Notice> {
        if let JobState::Running { progress, .. } = &record.state
            && self.engine.record(job).is_none_or(|before| before.saved_epochs() < progress.epoch)
            && let Some(seconds) = progress.epoch_seconds
        {
            self.cost.learn(job, seconds);
        }
        self.apply(Event::RecordChanged { job, revision, record }).await
    }

    async fn apply(&mut self, event: Event) -> Vec<Notice> {
        let (mut notices, mut to_queue) = (Vec::new(), Vec::new());
        for effect in self.engine.apply(event) {
            match effect {
                Effect::Enqueue(job) => {
                    to_queue.push((job, self.engine.record(job).map_or(0, JobRecord::saved_epochs)));
                }
                Effect::Fetch(job) => {
                    let bus = self.bus.clone();
                    self.fetches.spawn(async move { (job, fetch_result(&bus, job).await) });
                }
                Effect::DropCheckpoint(name) => {
                    let bus = self.bus.clone();
                    tokio::spawn(async move {
                        if let Err(error) = bus.delete_blob(Bucket::Checkpoints, &name).await {
                            tracing::warn!(%error, "cannot delete an old checkpoint; it will be collected later");
                        }
                    });
                }
                Effect::WriteStanding(record) => {
                    if let Err(error) = self.bus.write_standing(&record).await {
                        tracing::warn!(%error, "cannot write a worker's standing now; it is written again later");
                    }
                }
                Effect::Swap { job, revision, next } => {
                    let bus = self.bus.clone();
                    tokio::spawn(async move {
                        if let Err(error) = bus.swap(job, revision, &next).await {
                            tracing::debug!(%job, %error, "somebody else changed the record first");
                        }
                    });
                }
                Effect::Tell(notice) => notices.push(notice),
            }
        }
        self.cost.longest_first(&mut to_queue);
        for (job, _) in to_queue {
            // The server may be restarting. The next reconciliation queues the rest.
            if let Err(error) = self.bus.enqueue(job).await {
                tracing::warn!(%error, "cannot queue a job now; it is queued again later");
                break;
            }
        }
        notices
    }
}

/// Changes a job's record in the name of the dead worker that holds it, unless somebody else changed it first.
async fn close_for(
    bus: &Bus,
    worker: &WorkerId,
    job: JobId,
    error: Option<String>,
    log: &[String],
) -> Result<(), BusError> {
    while let Some(BookEntry { record, revision, .. }) = bus.record(job).await? {
        let JobState::Running { token, .. } = &record.state else { return Ok(()) };
        if &token.owner != worker {
            return Ok(());
        }
        let next = match &error {
            Some(error) => record.failed(token, error, log, revision),
            None => record.lost(token),
        };
        let Ok(next) = next else { return Ok(()) };
        match bus.swap(job, revision, &next).await {
            Err(BusError::Conflict { .. }) => {} // The worker's last heartbeat was still on its way.
            outcome => return outcome.map(drop),
        }
    }
    Ok(())
}

/// A new watch, which shows everything again. If the server is away, the watch is opened later.
fn subscribed<W>(watch: Result<W, BusError>) -> Result<Subscription<W>, BusError> {
    match watch {
        Ok(watch) => Ok(Subscription::Open(watch)),
        Err(error) if error.is_transient() => Ok(Subscription::Closed { until: Instant::now() + REOPEN }),
        Err(error) => Err(error),
    }
}

/// A watch of records or standings.
trait Watch {
    type Item;
    async fn next(&mut self) -> Option<Self::Item>;
}

impl Watch for RecordWatch {
    type Item = BookEntry;
    async fn next(&mut self) -> Option<BookEntry> {
        RecordWatch::next(self).await
    }
}

impl Watch for StandingWatch {
    type Item = WorkerRecord;
    async fn next(&mut self) -> Option<WorkerRecord> {
        StandingWatch::next(self).await
    }
}

impl<W: Watch> Subscription<W> {
    /// The next change; `None` when the watch must be opened again.
    async fn next(&mut self) -> Option<W::Item> {
        match self {
            Self::Open(watch) => watch.next().await,
            Self::Closed { until } => {
                tokio::time::sleep_until(*until).await;
                None
            }
        }
    }
}

/// True if a full disk is the cause of the error.
fn wants_room(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref()).any(disk::is_lack_of_room)
}

/// Stores a fetched result, and returns the event that follows.
fn stored(
    job: JobId,
    outcome: Result<FetchedResult, BusError>,
    store: &mut (dyn FnMut(&FetchedResult) -> anyhow::Result<()> + Send),
) -> anyhow::Result<Event> {
    match outcome {
        Ok(fetched) => match store(&fetched) {
            Ok(()) => Ok(Event::Stored(job)),
            Err(error) if wants_room(&error) => {
                let why = in_words(error.as_ref());
                tracing::warn!(%job, "{why}: make room on the disk; the result is safe on the server and is fetched again");
                Ok(Event::NotStored(job))
            }
            Err(error) => Err(error),
        },
        Err(error) if error.is_transient() => {
            tracing::warn!(%job, %error, "cannot fetch a result now; it is fetched again later");
            Ok(Event::NotStored(job))
        }
        Err(error) => Err(error).context(format!("the server has lost the result of job {job}")),
    }
}
