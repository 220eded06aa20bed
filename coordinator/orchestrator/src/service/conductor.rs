//! Runs the engine on the bus: records, queue and results. It knows no process, no display and no disk.

use std::sync::Arc;
use std::time::Duration;

use shared::books::CarriedOut;
use shared::bus::{BookEntry, Bucket, Bus, BusError, Change, Feed, RequestEntry};
use shared::ids::JobId;
use shared::protocol::{Priorities, subjects};
use shared::trainer::DatasetSize;
use tokio::time::{Interval, MissedTickBehavior};

use super::backlog::Rank;
use super::downloads::{Downloads, FetchedResult};
use super::ending::Ending;
use super::input::{Acted, Input, InputKind};
use super::perform::{Performed, Performer};
use super::plans::{ChangeError, ChangedPlan};
use super::queueing::Queueing;
use super::storing::stored;
use super::work;
use crate::cost::CostModel;
use crate::engine::{Effect, Engine, Event, Fate, Need, PlanChange};
use crate::sweep::plan::Plan;

const RECONCILE_EVERY: Duration = Duration::from_secs(30);

/// What a run of a sweep does on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It queues jobs, judges workers and carries requests out.
    Conducting,
    /// Another run does that. This one fetches results and shows what happens.
    Following,
}

/// What the work on a sweep depends on, besides its plan.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Number of training samples in the dataset.
    pub dataset_size: DatasetSize,
    /// How many jobs that wait for a worker may be in the server's queue at a time.
    pub most_queued: usize,
}

/// Runs one sweep on one bus.
#[derive(Debug)]
pub struct Conductor {
    role: Role,
    engine: Engine,
    cost: CostModel,
    plan: Arc<Plan>,
    /// Number of training samples in the dataset.
    dataset_size: DatasetSize,
    bus: Bus,
    feed: Feed,
    performer: Performer,
    queueing: Queueing,
    downloads: Downloads,
    reconcile: Interval,
    ending: Ending,
}

impl Conductor {
    /// Begins with a sweep whose jobs are in the books.
    pub fn begin(
        bus: Bus,
        engine: Engine,
        plan: Arc<Plan>,
        Extent { dataset_size, most_queued }: Extent,
        role: Role,
    ) -> Self {
        let mut reconcile = tokio::time::interval(RECONCILE_EVERY);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let feed = bus.feed(subjects::COORDINATED_KEYS);
        let performer = Performer::new(bus.clone());
        let queueing = Queueing::new(bus.clone(), most_queued, role == Role::Conducting);
        let cost = work::cost_model(&plan, dataset_size);
        let downloads = Downloads::new(bus.clone());
        Self {
            role,
            engine,
            cost,
            plan,
            dataset_size,
            bus,
            feed,
            performer,
            queueing,
            downloads,
            reconcile,
            ending: Ending::Open,
        }
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// Takes another role. A run that begins to conduct makes good at once what was left undone.
    pub async fn take(&mut self, role: Role) -> Acted {
        self.queueing.conduct(role == Role::Conducting);
        match (std::mem::replace(&mut self.role, role), role) {
            (Role::Following, Role::Conducting) => {
                self.look_for_listed().await;
                self.apply(Event::Reconcile).await
            }
            (Role::Following, Role::Following) | (Role::Conducting, _) => Acted::default(),
        }
    }

    /// Looks which jobs of the sweep are listed as out of the queue's order: another run has written that.
    async fn look_for_listed(&mut self) {
        match self.bus.priorities().await {
            Ok((listed, _)) => self.found_listed(&listed),
            Err(error) => tracing::debug!(%error, "some jobs may be listed wrongly"),
        }
    }

    /// These jobs are listed as out of the queue's order, rightly or not; those of other sweeps are passed over.
    pub(super) fn found_listed(&mut self, listed: &Priorities) {
        let (engine, jobs) = (&self.engine, listed.jobs.iter().map(|entry| entry.job));
        self.queueing.found_listed(jobs.filter(|job| engine.has(*job)));
    }

    /// Leaves nothing in the books that only a running sweep needs.
    pub async fn end(&mut self) {
        self.queueing.end().await;
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// True when every job has ended, every request is answered, and nothing else is in the books.
    pub fn is_finished(&self) -> bool {
        self.engine.is_finished() && self.ending.is_reached(self.feed.seen())
    }

    /// The plan as it is now. A change replaces it.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub(super) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// What the time that is left depends on.
    pub(super) fn costs(&mut self) -> (&Engine, &mut CostModel) {
        (&self.engine, &mut self.cost)
    }

    /// The engine in its final state.
    pub fn into_engine(self) -> Engine {
        self.engine
    }

    /// Waits for the next input. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Input {
        self.ending.follow(self.engine.is_finished());
        Input(tokio::select! {
            biased; // Rare events first, so that frequent ones cannot starve them.
            _ = self.reconcile.tick() => InputKind::Reconcile,
            Some((job, outcome)) = self.downloads.next() => InputKind::Fetch(job, Box::new(outcome)),
            Some(performed) = self.performer.next() => InputKind::Performed(Box::new(performed)),
            never = self.queueing.run() => match never {},
            fed = self.feed.next() => InputKind::Fed(Box::new(fed)),
            newest = self.ending.newest(&self.bus) => InputKind::Newest(newest),
        })
    }

    /// Acts on an input and returns what follows outside the bus. `store` keeps a fetched result.
    ///
    /// # Errors
    /// When a result cannot be stored for another reason than a full disk, or the server has lost one.
    pub async fn act(
        &mut self,
        input: Input,
        store: &mut dyn FnMut(&FetchedResult) -> anyhow::Result<()>,
    ) -> anyhow::Result<Acted> {
        match input.0 {
            InputKind::Fed(fed) => Ok(self.changed(fed.revision, fed.change).await),
            InputKind::Newest(newest) => {
                self.ending = Ending::Until(newest);
                Ok(Acted::default())
            }
            InputKind::Performed(performed) => Ok(self.performed(*performed).await),
            InputKind::Fetch(job, outcome) => self.fetched(job, *outcome, store).await,
            InputKind::Reconcile => Ok(self.apply(Event::Reconcile).await),
        }
    }

    async fn changed(&mut self, revision: u64, change: Change) -> Acted {
        match change {
            Change::Record(entry) => self.record_changed(*entry).await,
            Change::Standing(record) => self.apply(Event::StandingChanged { revision, record }).await,
            Change::Request(RequestEntry { request, revision, .. }) if request.sweep == self.plan.name => {
                self.apply(Event::Requested { revision, request }).await
            }
            Change::Request(_) | Change::Result(_) | Change::Sweep(_) | Change::Scoreboard { .. } => {
                Acted::default()
            }
        }
    }

    async fn record_changed(&mut self, entry: BookEntry) -> Acted {
        let BookEntry { job, record, revision, written_nanos } = entry;
        self.cost.saw_record(job, &record, written_nanos);
        self.apply(Event::RecordChanged { job, revision, record }).await
    }

    /// Stores a fetched result. One that was outdated on the way is set aside at once.
    async fn fetched(
        &mut self,
        job: JobId,
        outcome: Result<FetchedResult, BusError>,
        store: &mut dyn FnMut(&FetchedResult) -> anyhow::Result<()>,
    ) -> anyhow::Result<Acted> {
        let fate = match &outcome {
            Ok(fetched) => self.engine.fate(job, fetched.result.attempt),
            Err(_) => Fate::Wanted,
        };
        match fate {
            Fate::Wanted => {
                if let Ok(fetched) = &outcome {
                    self.cost.saw_result(&fetched.result);
                }
                let event = stored(job, outcome, store)?;
                Ok(self.apply(event).await)
            }
            Fate::Outdated => {
                stored(job, outcome, store)?;
                let mut acted = self.apply(Event::NotStored(job)).await;
                acted.set_aside.push(job);
                Ok(acted)
            }
            Fate::Unwanted => Ok(self.apply(Event::NotStored(job)).await),
        }
    }

    /// Passes on what became of a request. What failed because the server is away is done again later.
    async fn performed(&mut self, performed: Performed) -> Acted {
        match performed {
            Performed::Job { request, job, outcome: Ok(outcome) } => {
                self.apply(Event::CarriedOut { request, job, outcome }).await
            }
            Performed::Job { request, job, outcome: Err(error) } if !error.is_transient() => {
                let outcome = CarriedOut::Refused(error.to_string());
                self.apply(Event::CarriedOut { request, job, outcome }).await
            }
            Performed::Plan { request, outcome: Ok(changed) } => {
                let ChangedPlan { plan, change, records } = *changed;
                self.replan(plan, &change);
                let acted = self.apply(Event::PlanChanged { request, outcome: Ok(change) }).await;
                acted.and(self.added(records).await)
            }
            Performed::Learned(Ok(changed)) => {
                let ChangedPlan { plan, change, records } = *changed;
                self.replan(plan, &change);
                let acted = self.apply(Event::Learned(change)).await;
                acted.and(self.added(records).await)
            }
            Performed::Plan { request, outcome: Err(error) } => match error.refusal() {
                Ok(why) => self.apply(Event::PlanChanged { request, outcome: Err(why) }).await,
                Err(error) => later(&error),
            },
            Performed::Answer { request, outcome: Err(BusError::Missing { .. }) } => {
                self.apply(Event::RequestGone(request)).await
            }
            Performed::Job { outcome: Err(error), .. }
            | Performed::Learned(Err(ChangeError::Bus(error)))
            | Performed::Answer { outcome: Err(error), .. } => later(&error),
            Performed::Learned(Err(ChangeError::Refused(why))) => {
                tracing::warn!("another run of this sweep has changed it, but not readably: {why}");
                Acted::default()
            }
            Performed::Answer { outcome: Ok(()), .. } => Acted::default(),
        }
    }

    /// Takes a changed plan.
    fn replan(&mut self, plan: Plan, change: &PlanChange) {
        let added = plan.jobs.iter().filter(|job| change.added.contains(&job.id));
        self.cost.add(work::described(&plan, added, self.dataset_size));
        if plan.priority != self.plan.priority {
            self.engine.shift_all();
        }
        if plan != *self.plan {
            self.plan = Arc::new(plan);
        }
    }

    /// Takes the records of jobs that were added.
    async fn added(&mut self, records: Vec<BookEntry>) -> Acted {
        let mut acted = Acted::default();
        for entry in records {
            acted.added.push(entry.clone());
            acted = acted.and(self.record_changed(entry).await);
        }
        acted
    }

    async fn apply(&mut self, event: Event) -> Acted {
        let mut acted = Acted::default();
        let effects = self.engine.apply(event);
        self.queue_shifted();
        for effect in effects {
            if self.role == Role::Following && effect.is_for_the_conductor() {
                continue;
            }
            match effect {
                Effect::Enqueue(job) => self.queueing.again(job),
                Effect::Fetch(job) => self.downloads.begin(job),
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
                        let next = next.dated(bus.server_seconds());
                        if let Err(error) = bus.swap(job, revision, &next).await {
                            tracing::debug!(%job, %error, "somebody else changed the record first");
                        }
                    });
                }
                Effect::CarryOut { request, job, change } => self.performer.carry_out(request, job, change),
                Effect::ChangePlan { request, demand } => {
                    self.performer.change_plan(request, demand, self.plan.clone());
                }
                Effect::Answer { request, answer } => self.performer.answer(request, answer),
                Effect::Learn(request) => self.performer.learn(request, self.plan.clone()),
                Effect::SetAside(job) => acted.set_aside.push(job),
                Effect::Drained { worker, reason } => acted.drained.push((worker, reason)),
            }
        }
        acted
    }

    /// Lets the queue follow what jobs need of it now.
    fn queue_shifted(&mut self) {
        for job in self.engine.shifted() {
            let rank = match self.engine.need(job) {
                Need::Nothing => None,
                Need::Worker { finished_epochs, priority } => {
                    let priority = priority.unwrap_or(self.plan.priority);
                    Some(Rank::work(priority, self.cost.work(job, finished_epochs)))
                }
                Need::Cover => Some(Rank::Held),
            };
            self.queueing.follow(job, rank);
        }
    }
}

fn later(error: &BusError) -> Acted {
    tracing::warn!(%error, "cannot carry out a request now; it is done again later");
    Acted::default()
}
