//! Publishes jobs to the server's queue in the background, as the [`Backlog`] says.

use std::convert::Infallible;
use std::time::Duration;

use futures::{StreamExt, stream};
use shared::bus::{Bus, BusError};
use shared::ids::JobId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backlog::{Backlog, Batch, Rank};

/// How many batches are under way at a time.
const AT_ONCE: usize = 4;
/// How many jobs of one batch are published at a time, if not all at once.
const SINGLES_AT_ONCE: usize = 16;
/// Up to so many jobs are published faster one by one than in an atomic batch.
const FEW: usize = 12;
/// The pause after a failure: the server may be restarting.
const PAUSE: Duration = Duration::from_secs(1);

/// The part of a run that queues its jobs.
#[derive(Debug)]
pub(super) struct Queueing {
    bus: Bus,
    backlog: Backlog,
    under_way: JoinSet<Published>,
    /// Whether this run queues anything: only the one that conducts the sweep does.
    conducts: bool,
    /// Set after a failure.
    pause: Option<Instant>,
    /// True if the user has been told of a failure, and nothing was published since.
    told: bool,
}

/// What became of a batch.
#[derive(Debug)]
struct Published {
    jobs: Vec<(JobId, bool)>,
    error: Option<BusError>,
}

impl Queueing {
    /// Of the jobs that wait for a worker, at most `most` will be in the queue at a time.
    pub(super) fn new(bus: Bus, most: usize, conducts: bool) -> Self {
        let (backlog, under_way) = (Backlog::new(most), JoinSet::new());
        Self { bus, backlog, under_way, conducts, pause: None, told: false }
    }

    /// Begins or stops to queue jobs.
    pub(super) fn conduct(&mut self, conducts: bool) {
        if conducts && !self.conducts {
            self.backlog.forget(); // Another run has queued jobs in the meantime, or has not.
        }
        self.conducts = conducts;
    }

    /// A job needs a message at this place of the queue's order, or none any more.
    pub(super) fn follow(&mut self, job: JobId, rank: Option<Rank>) {
        self.backlog.follow(job, rank);
    }

    /// A job's message may be lost.
    pub(super) fn again(&mut self, job: JobId) {
        self.backlog.again(job);
    }

    /// Keeps the queue filled for as long as it is polled. Dropping the future loses nothing.
    pub(super) async fn run(&mut self) -> Infallible {
        loop {
            while self.conducts && self.pause.is_none() && self.under_way.len() < AT_ONCE {
                let Some(batch) = self.backlog.next() else { break };
                self.under_way.spawn(publish(self.bus.clone(), batch));
            }
            tokio::select! {
                Some(published) = self.under_way.join_next() => match published {
                    Ok(published) => self.take(published),
                    Err(error) => std::panic::resume_unwind(error.into_panic()), // It is never cancelled.
                },
                () = until(self.pause) => self.pause = None,
            }
        }
    }

    fn take(&mut self, Published { jobs, error }: Published) {
        for (job, is_queued) in jobs {
            self.backlog.published(job, is_queued);
        }
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

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Publishes a batch: at once if that may succeed and is worth it.
async fn publish(bus: Bus, batch: Batch) -> Published {
    let (jobs, at_once) = match batch {
        Batch::New(jobs) => {
            let at_once = jobs.len() > FEW;
            (jobs, at_once)
        }
        Batch::Again(jobs) => (jobs, false),
    };
    if at_once {
        match bus.enqueue_all(&jobs).await {
            Ok(true) => return of_all(&jobs, None),
            Ok(false) => {} // Some are in the queue already, or this server takes no batches.
            Err(error) => return of_all(&jobs, Some(error)),
        }
    }
    one_by_one(&bus, jobs).await
}

fn of_all(jobs: &[JobId], error: Option<BusError>) -> Published {
    Published { jobs: jobs.iter().map(|&job| (job, error.is_none())).collect(), error }
}

/// Publishes jobs, several at a time, and stops at the first error: a server that is away lets each of them wait.
async fn one_by_one(bus: &Bus, jobs: Vec<JobId>) -> Published {
    let publishing = jobs.iter().map(|&job| async move { (job, bus.enqueue(job).await) });
    let mut publishing = stream::iter(publishing.collect::<Vec<_>>()).buffered(SINGLES_AT_ONCE);
    let mut published = Vec::new();
    let mut error = None;
    while let Some((job, outcome)) = publishing.next().await {
        published.push((job, outcome.is_ok()));
        if let Err(failed) = outcome {
            error = Some(failed);
            break;
        }
    }
    drop(publishing);
    let rest = jobs.iter().skip(published.len()).map(|&job| (job, false)).collect::<Vec<_>>();
    published.extend(rest);
    Published { jobs: published, error }
}
