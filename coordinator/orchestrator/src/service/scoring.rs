//! Scores a sweep's ensembles as results come in, and keeps its scoreboard in the books, while this run conducts the sweep.
//!
//! Choosing and voting happen on another thread, at most once a second, and for at most one part in [`SHARE`] of the time.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use shared::bus::{Bus, BusError, Change, Fed};
use shared::ids::JobId;
use shared::protocol::Scoreboard;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::conductor::Role;
use super::queueing::until;
use crate::ensemble::live::{Fate, Finished, LiveEnsembles, Predictions};
use crate::sweep::plan::Plan;

/// The shortest time between two scorings, and the pause after a write that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Scoring takes one part in so many of the time.
const SHARE: u32 = 20;
/// How long the end of a run waits for the last scores.
const LAST: Duration = Duration::from_secs(10);

/// The part of a run that scores ensembles.
#[derive(Debug)]
pub(super) struct Scoring {
    bus: Bus,
    sweep: String,
    role: Role,
    place: Place,
    /// Whether the plan has ensembles.
    has_ensembles: bool,
    /// What has happened since the scorer was last told.
    news: Vec<News>,
    /// Jobs that have failed for good.
    failed: BTreeSet<JobId>,
    /// Something may have changed since the last scoring.
    is_stale: bool,
    due: Instant,
    /// The last scores.
    board: Option<Scoreboard>,
    /// What this run has written.
    written: Option<Scoreboard>,
    /// One write after the other.
    writing: JoinSet<(Scoreboard, Result<(), BusError>)>,
    write_due: Instant,
    /// True if the user has been told of a failure, and nothing was written since.
    told: bool,
}

/// Where the scorer is.
#[derive(Debug)]
enum Place {
    /// This run stores no results, so it scores nothing.
    Nowhere,
    Here(Box<Scorer>),
    /// It works on another thread.
    Away(JoinHandle<Scored>),
}

struct Scorer {
    ensembles: LiveEnsembles,
    predictions: Box<dyn Predictions + Send>,
}

impl std::fmt::Debug for Scorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scorer").field("ensembles", &self.ensembles).finish_non_exhaustive()
    }
}

/// What the scorer must know.
#[derive(Debug)]
enum News {
    Job(JobId, Fate),
    /// A changed plan, and the jobs that have failed.
    Plan(Arc<Plan>, BTreeSet<JobId>),
}

#[derive(Debug)]
struct Scored {
    scorer: Box<Scorer>,
    /// `None` if nobody wanted to know.
    board: Option<Scoreboard>,
    took: Duration,
}

impl Scorer {
    fn work(mut self: Box<Self>, news: Vec<News>, is_wanted: bool) -> Scored {
        let begun = Instant::now();
        for news in news {
            match news {
                News::Job(job, fate) => self.ensembles.take(job, fate),
                News::Plan(plan, failed) => self.ensembles.follow(plan, failed),
            }
        }
        let Self { ensembles, predictions } = &mut *self;
        let board = is_wanted.then(|| ensembles.score(predictions.as_mut()));
        Scored { scorer: self, board, took: begun.elapsed() }
    }
}

impl Scoring {
    /// Begins with a sweep of which some jobs are finished. Without `predictions`, nothing is scored.
    pub(super) fn begin(
        bus: Bus,
        plan: &Arc<Plan>,
        finished: Vec<(JobId, Finished)>,
        predictions: Option<Box<dyn Predictions + Send>>,
        role: Role,
    ) -> Self {
        let place = match predictions {
            Some(predictions) => {
                let ensembles = LiveEnsembles::of(plan.clone(), finished);
                Place::Here(Box::new(Scorer { ensembles, predictions }))
            }
            None => Place::Nowhere,
        };
        let now = Instant::now();
        Self {
            bus,
            sweep: plan.name.clone(),
            role,
            place,
            has_ensembles: !plan.ensembles.is_empty(),
            news: Vec::new(),
            failed: BTreeSet::new(),
            is_stale: true,
            due: now,
            board: None,
            written: None,
            writing: JoinSet::new(),
            write_due: now,
            told: false,
        }
    }

    /// Begins or stops to score. Another run may have written other scores in the meantime.
    pub(super) fn conduct(&mut self, role: Role) {
        if role != self.role {
            self.role = role;
            (self.board, self.written, self.is_stale) = (None, None, true);
        }
    }

    fn conducts(&self) -> bool {
        self.role == Role::Conducting
    }

    /// This has become of a job of the sweep.
    pub(super) fn take(&mut self, job: JobId, fate: Fate) {
        match fate {
            Fate::Failed => self.failed.insert(job),
            Fate::Finished(_) | Fate::Open => self.failed.remove(&job),
        };
        if self.has_ensembles {
            self.tell(News::Job(job, fate));
        }
    }

    /// Takes from a change of the books which jobs have failed for good, and which begin anew after that. Results are not
    /// taken from there, because they come later.
    pub(super) fn saw(&mut self, fed: &Fed) {
        let Change::Record(entry) = &fed.change else { return };
        match (entry.record.state.failure().is_some(), self.failed.contains(&entry.job)) {
            (true, false) => self.take(entry.job, Fate::Failed),
            (false, true) => self.take(entry.job, Fate::Open),
            (true, true) | (false, false) => {}
        }
    }

    /// Takes a changed plan.
    pub(super) fn follow(&mut self, plan: &Arc<Plan>, failed: BTreeSet<JobId>) {
        self.failed.clone_from(&failed);
        self.has_ensembles = !plan.ensembles.is_empty();
        self.due = self.due.min(Instant::now());
        self.tell(News::Plan(plan.clone(), failed));
    }

    fn tell(&mut self, news: News) {
        match self.place {
            Place::Nowhere => {}
            Place::Here(_) | Place::Away(_) => {
                self.news.push(news);
                self.is_stale = true;
            }
        }
    }

    /// Scores and writes for as long as it is polled. Dropping the future loses nothing.
    pub(super) async fn run(&mut self) -> Infallible {
        loop {
            self.step().await;
        }
    }

    /// Scores and writes what is left, and returns the last scores; `None` if another run conducts the sweep.
    pub(super) async fn end(&mut self) -> Option<Scoreboard> {
        if !self.conducts() {
            return None;
        }
        self.due = Instant::now();
        let last = async {
            while !self.is_idle() {
                self.step().await;
            }
        };
        if tokio::time::timeout(LAST, last).await.is_err() {
            tracing::debug!("the last scores of the ensembles are not in the books");
        }
        self.board.clone()
    }

    /// Begins what is due, and waits until something has come of it.
    async fn step(&mut self) {
        self.score();
        self.write();
        let wake = self.wake();
        tokio::select! {
            scored = back(&mut self.place) => self.take_back(scored),
            Some(written) = self.writing.join_next() => match written {
                Ok((board, outcome)) => self.wrote(board, outcome),
                Err(error) => std::panic::resume_unwind(error.into_panic()), // It is never cancelled.
            },
            () = until(wake) => {}
        }
    }

    fn score(&mut self) {
        if !self.has_work() || Instant::now() < self.due {
            return;
        }
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Here(scorer) => {
                let (news, is_wanted) = (std::mem::take(&mut self.news), self.conducts());
                self.is_stale &= !is_wanted;
                let working = tokio::task::spawn_blocking(move || scorer.work(news, is_wanted));
                self.place = Place::Away(working);
            }
            elsewhere @ (Place::Nowhere | Place::Away(_)) => self.place = elsewhere,
        }
    }

    /// True if the scorer is here and should be told or asked something.
    fn has_work(&self) -> bool {
        let has_news = !self.news.is_empty() || (self.conducts() && self.is_stale);
        has_news && matches!(self.place, Place::Here(_))
    }

    fn take_back(&mut self, Scored { scorer, board, took }: Scored) {
        // What could not be read is read again.
        self.is_stale |= scorer.ensembles.is_stale();
        self.place = Place::Here(scorer);
        // A changed plan waits for nothing.
        let is_replanned = self.news.iter().any(|news| matches!(news, News::Plan(..)));
        let pause = if is_replanned { Duration::ZERO } else { (took * SHARE).max(PAUSE) };
        self.due = Instant::now() + pause;
        if self.conducts() && board.is_some() {
            self.board = board;
        }
    }

    /// The last scores, if the books do not have them.
    fn unwritten(&self) -> Option<&Scoreboard> {
        self.board.as_ref().filter(|board| self.conducts() && self.written.as_ref() != Some(*board))
    }

    fn write(&mut self) {
        if !self.writing.is_empty() || Instant::now() < self.write_due {
            return;
        }
        let Some(board) = self.unwritten().cloned() else { return };
        let (bus, sweep) = (self.bus.clone(), self.sweep.clone());
        self.writing.spawn(async move {
            let outcome = bus.write_scoreboard(&sweep, &board).await;
            (board, outcome)
        });
    }

    fn wrote(&mut self, board: Scoreboard, outcome: Result<(), BusError>) {
        match outcome {
            Ok(()) => (self.written, self.told) = (Some(board), false),
            Err(error) => {
                self.write_due = Instant::now() + PAUSE;
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(%error, "cannot write the scores of ensembles now; they are written again later");
                }
            }
        }
    }

    /// When there is something to begin.
    fn wake(&self) -> Option<Instant> {
        let score = self.has_work().then_some(self.due);
        let write = (self.writing.is_empty() && self.unwritten().is_some()).then_some(self.write_due);
        score.into_iter().chain(write).min()
    }

    fn is_idle(&self) -> bool {
        let is_away = matches!(self.place, Place::Away(_));
        !is_away && !self.has_work() && self.writing.is_empty() && self.unwritten().is_none()
    }
}

/// Resolves when the scorer comes back.
async fn back(place: &mut Place) -> Scored {
    match place {
        Place::Away(working) => match working.await {
            Ok(scored) => scored,
            Err(error) => std::panic::resume_unwind(error.into_panic()), // It is never cancelled.
        },
        Place::Nowhere | Place::Here(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
