//! Publishes jobs to the server's queue in the background, as the [`Backlog`] says, and lists those that workers take out
//! of its order, as the [`Window`] says.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use futures::{StreamExt, stream};
use shared::bus::{Bus, BusError};
use shared::ids::JobId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backlog::{Backlog, Batch, Rank};
use super::window::{List, Window};

/// How many batches are under way at a time.
const AT_ONCE: usize = 4;
/// How many jobs of one batch are published at a time, if not all at once.
const SINGLES_AT_ONCE: usize = 16;
/// Up to so many jobs are published faster one by one than in an atomic batch.
const FEW: usize = 12;
/// The pause after a failure: the server may be restarting.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the end of a run waits for the last write of the list.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// The part of a run that queues its jobs.
#[derive(Debug)]
pub(super) struct Queueing {
    bus: Bus,
    backlog: Backlog,
    window: Window,
    under_way: JoinSet<Outcome>,
    /// Whether the list of jobs out of the queue's order is being written: one write after the other.
    is_listing: bool,
    /// Whether this run queues anything: only the one that conducts the sweep does.
    conducts: bool,
    /// Set after a failure.
    pause: Option<Instant>,
    /// True if the user has been told of a failure, and nothing was done since.
    told: bool,
}

/// What became of something that was begun.
#[derive(Debug)]
enum Outcome {
    /// Jobs were published.
    Published(EachJob),
    /// Jobs were taken out of the queue.
    Left(EachJob),
    /// The list was written.
    Listed { ours: BTreeSet<JobId>, error: Option<BusError> },
}

/// For each job whether it was done.
#[derive(Debug)]
struct EachJob {
    jobs: Vec<(JobId, bool)>,
    error: Option<BusError>,
}

impl Queueing {
    /// Of the jobs that wait for a worker, at most `most` will be in the queue at a time.
    pub(super) fn new(bus: Bus, most: usize, conducts: bool) -> Self {
        let (backlog, window, under_way) = (Backlog::new(most), Window::default(), JoinSet::new());
        Self { bus, backlog, window, under_way, is_listing: false, conducts, pause: None, told: false }
    }

    /// Begins or stops to queue jobs.
    pub(super) fn conduct(&mut self, conducts: bool) {
        if conducts && !self.conducts {
            self.backlog.forget(); // Another run has queued jobs in the meantime, or has not.
        }
        self.conducts = conducts;
    }

    /// These jobs of the sweep are listed, rightly or not.
    pub(super) fn found_listed(&mut self, jobs: impl IntoIterator<Item = JobId>) {
        self.window.doubt(jobs);
    }

    /// A job needs a message at this place of the queue's order, or none any more.
    pub(super) fn follow(&mut self, job: JobId, rank: Option<Rank>) {
        self.window.follow(job, rank.and_then(Rank::waits));
        self.backlog.follow(job, rank);
    }

    /// A job's message may be lost.
    pub(super) fn again(&mut self, job: JobId) {
        self.backlog.again(job);
    }

    /// Takes the jobs of the sweep out of the list, at its end.
    pub(super) async fn end(&mut self) {
        let last = async {
            // A write that is under way must not come after this one.
            while self.is_listing
                && let Some(Ok(outcome)) = self.under_way.join_next().await
            {
                self.take(outcome);
            }
            let listed = self.window.all();
            if self.conducts && !listed.is_empty() { self.bus.prioritise(&listed, &[]).await } else { Ok(()) }
        };
        match tokio::time::timeout(LAST_WRITE, last).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "some jobs that have ended are still listed"),
            Err(_late) => tracing::debug!("some jobs that have ended are still listed"),
        }
    }

    /// Keeps the queue filled for as long as it is polled. Dropping the future loses nothing.
    pub(super) async fn run(&mut self) -> Infallible {
        loop {
            while self.conducts && self.pause.is_none() && self.under_way.len() < AT_ONCE {
                // The list first: it is short, and what it says is urgent.
                if let Some(list) = self.next_list() {
                    self.is_listing = true;
                    self.under_way.spawn(write_list(self.bus.clone(), list));
                } else if let Some(batch) = self.backlog.next() {
                    self.under_way.spawn(carry_out(self.bus.clone(), batch));
                } else {
                    break;
                }
            }
            tokio::select! {
                Some(outcome) = self.under_way.join_next() => match outcome {
                    Ok(outcome) => self.take(outcome),
                    Err(error) => std::panic::resume_unwind(error.into_panic()), // It is never cancelled.
                },
                () = until(self.pause) => self.pause = None,
            }
        }
    }

    fn next_list(&mut self) -> Option<List> {
        if self.is_listing { None } else { self.window.next() }
    }

    fn take(&mut self, outcome: Outcome) {
        let error = match outcome {
            Outcome::Published(EachJob { jobs, error }) => {
                for (job, is_queued) in jobs {
                    self.backlog.published(job, is_queued);
                }
                error
            }
            Outcome::Left(EachJob { jobs, error }) => {
                for (job, is_out) in jobs {
                    self.backlog.left(job, is_out);
                }
                error
            }
            Outcome::Listed { ours, error } => {
                self.is_listing = false;
                if error.is_some() {
                    self.window.doubt(ours);
                }
                error
            }
        };
        let Some(error) = error else {
            self.told = false;
            return;
        };
        self.pause = Some(Instant::now() + PAUSE);
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "cannot queue jobs now; they are queued again later");
        }
    }
}

/// Resolves at this instant, and never without one.
pub(super) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn write_list(bus: Bus, List { ours, now }: List) -> Outcome {
    let error = bus.prioritise(&ours, &now).await.err();
    Outcome::Listed { ours, error }
}

/// Publishes a batch, at once if that may succeed and is worth it, or takes it out of the queue.
async fn carry_out(bus: Bus, batch: Batch) -> Outcome {
    let (jobs, at_once) = match batch {
        Batch::New(jobs) => {
            let at_once = jobs.len() > FEW;
            (jobs, at_once)
        }
        Batch::Again(jobs) => (jobs, false),
        Batch::Out(jobs) => return Outcome::Left(one_by_one(jobs, |job| bus.dequeue(job)).await),
    };
    if at_once {
        match bus.enqueue_all(&jobs).await {
            Ok(true) => return Outcome::Published(of_all(&jobs, None)),
            Ok(false) => {} // Some are in the queue already, or this server takes no batches.
            Err(error) => return Outcome::Published(of_all(&jobs, Some(error))),
        }
    }
    let bus = &bus;
    Outcome::Published(one_by_one(jobs, |job| async move { bus.enqueue(job).await.map(drop) }).await)
}

fn of_all(jobs: &[JobId], error: Option<BusError>) -> EachJob {
    EachJob { jobs: jobs.iter().map(|&job| (job, error.is_none())).collect(), error }
}

/// Does this for each job, several at a time, and stops at the first error: a server that is away lets each of them wait.
async fn one_by_one<Doing>(jobs: Vec<JobId>, act: impl Fn(JobId) -> Doing) -> EachJob
where
    Doing: Future<Output = Result<(), BusError>>,
{
    let acting: Vec<_> = jobs.iter().map(|&job| act(job)).collect();
    let mut acting = stream::iter(acting).buffered(SINGLES_AT_ONCE);
    let mut done = Vec::new();
    let mut error = None;
    for &job in &jobs {
        let Some(outcome) = acting.next().await else { break };
        done.push((job, outcome.is_ok()));
        if let Err(failed) = outcome {
            error = Some(failed);
            break;
        }
    }
    let rest: Vec<_> = jobs.iter().skip(done.len()).map(|&job| (job, false)).collect();
    done.extend(rest);
    EachJob { jobs: done, error }
}
