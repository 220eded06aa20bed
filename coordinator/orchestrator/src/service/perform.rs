//! Carries out requests on the bus in the background, a bounded number of jobs at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shared::books::CarriedOut;
use shared::bus::{Bus, BusError};
use shared::ids::{JobId, RequestId};
use shared::protocol::{Answer, Demand, JobChange, Request};
use shared::retry::Backoff;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::plans::{self, ChangedPlan, Situation};
use crate::sweep::plan::Plan;

/// The pause before a server that is away is asked again.
const LOOK_AGAIN: Backoff = Backoff::every(Duration::from_secs(1));
/// How many jobs are changed at the same time.
const AT_ONCE: usize = 32;

/// What became of a request, or of a part of it.
#[derive(Debug)]
pub(super) enum Performed {
    Job {
        request: RequestId,
        job: JobId,
        outcome: Result<CarriedOut, BusError>,
    },
    Plan {
        request: RequestId,
        outcome: Result<Box<ChangedPlan>, plans::ChangeError>,
    },
    Answer {
        request: RequestId,
        outcome: Result<(), BusError>,
    },
    /// What another run has changed.
    Learned(Result<Box<ChangedPlan>, plans::ChangeError>),
}

/// The work that is under way.
#[derive(Debug)]
pub(super) struct Performer {
    bus: Bus,
    tasks: JoinSet<Performed>,
    permits: Arc<Semaphore>,
    /// What is under way, so that nothing is done twice at the same time.
    begun: BTreeSet<(RequestId, Option<JobId>)>,
}

impl Performer {
    pub(super) fn new(bus: Bus) -> Self {
        Self {
            bus,
            tasks: JoinSet::new(),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            begun: BTreeSet::new(),
        }
    }

    /// Changes how a job is carried out.
    pub(super) fn carry_out(&mut self, request: RequestId, job: JobId, change: JobChange) {
        if !self.begun.insert((request, Some(job))) {
            return;
        }
        let (bus, permits) = (self.bus.clone(), self.permits.clone());
        self.tasks.spawn(async move {
            let _permit = permits.acquire().await;
            let outcome = bus.carry_out(job, request, change).await;
            Performed::Job { request, job, outcome }
        });
    }

    /// Changes the plan.
    pub(super) fn change_plan(&mut self, request: RequestId, demand: Demand, plan: Arc<Plan>) {
        if !self.begun.insert((request, None)) {
            return;
        }
        let bus = self.bus.clone();
        self.tasks.spawn(async move {
            let outcome =
                plans::change(&bus, &plan, request, &demand, Situation::Conducted).await.map(Box::new);
            Performed::Plan { request, outcome }
        });
    }

    /// Looks what another run has changed on a request, until the server answers.
    pub(super) fn learn(&mut self, request: Request, plan: Arc<Plan>) {
        let bus = self.bus.clone();
        self.tasks.spawn(async move {
            let transient = |error: &plans::ChangeError| match error {
                plans::ChangeError::Bus(error) => error.is_transient(),
                plans::ChangeError::Refused(_) => false,
            };
            let tell = |error: &plans::ChangeError| tracing::debug!(%error, "cannot learn of a change; trying again");
            let look = || async { plans::learn(&bus, &plan, &request.demand).await.map(Box::new) };
            Performed::Learned(LOOK_AGAIN.endless().run(look, transient, tell).await)
        });
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, request: RequestId, answer: Answer) {
        if !self.begun.insert((request, None)) {
            return;
        }
        let bus = self.bus.clone();
        self.tasks
            .spawn(async move { Performed::Answer { request, outcome: bus.answer(request, answer).await } });
    }

    /// The next outcome. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Performed> {
        let performed = match self.tasks.join_next().await? {
            Ok(performed) => performed,
            Err(error) => std::panic::resume_unwind(error.into_panic()), // It is never cancelled.
        };
        let key = match &performed {
            Performed::Job { request, job, .. } => (*request, Some(*job)),
            Performed::Plan { request, .. } | Performed::Answer { request, .. } => (*request, None),
            Performed::Learned(_) => return Some(performed),
        };
        self.begun.remove(&key);
        Some(performed)
    }
}
