//! Follows a sweep from any process that may read the books, whether or not a coordinator runs.

use shared::bus::{BookEntry, Bus, BusError, Change, Fed, Feed};
use shared::ids::JobId;
use shared::protocol::subjects;
use shared::result::JobResult;
use shared::retry::Backoff;

use super::plans::{self, ChangeError};
use crate::events::{Follower, Since, SweepEvent};
use crate::sweep::plan::Plan;

/// The pause before a server that is away is asked again.
const AGAIN: Backoff = Backoff::every(std::time::Duration::from_secs(1));

/// Why a sweep cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("this server does not know the sweep `{0}`; `ferry status` lists those that it knows")]
    Unknown(String),
    #[error("the plan of the sweep `{sweep}` cannot be read: {why}")]
    Plan { sweep: String, why: String },
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// A sweep that is followed.
#[derive(Debug)]
pub struct Following {
    bus: Bus,
    feed: Feed,
    follower: Follower,
    plan: Plan,
    /// The plan in the books may have changed since `plan` was read.
    is_outdated: bool,
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Followed {
    pub events: Vec<SweepEvent>,
    /// The change of the books that shows them.
    pub change: Option<Fed>,
    /// True if the plan was changed before.
    pub is_replanned: bool,
    /// What the books say of jobs that were added to the plan.
    pub added: Vec<(BookEntry, Option<JobResult>)>,
}

impl Following {
    /// Begins to follow a sweep: what `since` asks for, then everything that happens.
    ///
    /// # Errors
    /// When the server does not know the sweep, does not answer, or has a plan that cannot be read.
    pub async fn begin(bus: &Bus, sweep: &str, since: Since) -> Result<Self, FollowError> {
        // The feed begins at the start of the books, so nothing is missed in between.
        let plan = plan(bus, sweep).await?;
        let (follower, feed) = (Follower::of(&plan, since), bus.feed(subjects::FOLLOWED_KEYS));
        Ok(Self { bus: bus.clone(), feed, follower, plan, is_outdated: false })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The newest revision of the books that was seen.
    pub fn seen(&self) -> u64 {
        self.feed.seen()
    }

    /// Waits for the next change of the books and returns what it shows, which may be nothing. A server that is away is
    /// waited for. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Followed {
        if self.is_outdated {
            return self.replan().await;
        }
        let fed = self.feed.next().await;
        self.is_outdated = matches!(&fed.change, Change::Sweep(record) if record.name == self.plan.name);
        Followed { events: self.follower.saw(&fed), change: Some(fed), ..Followed::default() }
    }

    /// Follows the plan as it is now. Records and results of jobs that were added may have come before.
    async fn replan(&mut self) -> Followed {
        let passes = |error: &FollowError| match error {
            FollowError::Bus(error) => error.is_transient(),
            FollowError::Unknown(_) | FollowError::Plan { .. } => false,
        };
        let look = || async { plan_and_records(&self.bus, &self.plan).await };
        let looked = AGAIN.endless().run(look, passes, |_| ()).await;
        self.is_outdated = false;
        let (plan, entries) = match looked {
            Ok((plan, _)) if plan == self.plan => return Followed::default(),
            Ok(looked) => looked,
            Err(error) => {
                tracing::warn!("{error}; it is followed as it was");
                return Followed::default();
            }
        };
        self.follower.follow(&plan);
        self.plan = plan;
        let mut events = Vec::new();
        for (record, result) in &entries {
            events.extend(result.iter().flat_map(|result| self.follower.saw_result(result)));
            events.extend(self.follower.saw_record(record));
        }
        Followed { events, change: None, is_replanned: true, added: entries }
    }
}

type Entries = Vec<(BookEntry, Option<JobResult>)>;

/// The plan as it is now, and what the books say about the jobs that `known` does not have.
async fn plan_and_records(bus: &Bus, known: &Plan) -> Result<(Plan, Entries), FollowError> {
    let plan = plan(bus, &known.name).await?;
    let old: std::collections::BTreeSet<JobId> = known.jobs.iter().map(|job| job.id).collect();
    let mut entries = Vec::new();
    for job in plan.jobs.iter().filter(|job| !old.contains(&job.id)) {
        let Some(record) = bus.record(job.id).await? else { continue };
        let result = match bus.result(job.id).await {
            Ok(result) => Some(result),
            Err(BusError::Missing { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        entries.push((record, result));
    }
    Ok((plan, entries))
}

/// A sweep's plan, as it is now.
pub(super) async fn plan(bus: &Bus, sweep: &str) -> Result<Plan, FollowError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if sweep.is_empty() || !sweep.chars().all(is_name) || sweep.starts_with('.') || sweep.ends_with('.') {
        return Err(FollowError::Unknown(sweep.to_owned()));
    }
    loop {
        let Some((record, revision)) = bus.sweep(sweep).await? else {
            return Err(FollowError::Unknown(sweep.to_owned()));
        };
        match plans::load(bus, &record.plan).await {
            Ok(plan) => return Ok(plan),
            // It was changed meanwhile, and the old plan was collected.
            Err(ChangeError::Bus(BusError::Missing { .. }))
                if bus.sweep(sweep).await?.is_some_and(|(_, now)| now != revision) => {}
            Err(ChangeError::Bus(error)) => return Err(error.into()),
            Err(ChangeError::Refused(why)) => return Err(FollowError::Plan { sweep: sweep.to_owned(), why }),
        }
    }
}
