//! Scores a sweep's ensembles as results come in, and keeps its scoreboard in the books, while this run conducts the sweep.
//!
//! Choosing and voting happen on another thread, at most once a second, and for at most one part in [`SHARE`] of the time.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared::books::JobState;
use shared::bus::{Bus, BusError, Change, Fed};
use shared::ids::JobId;
use shared::protocol::Scoreboard;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::conductor::Role;
use super::queueing::until;
use super::stored_predictions::UntilStopped;
use crate::ensemble::live::{Candidate, Finished, LiveEnsembles, Predictions};
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
    /// What this run has written, and nobody else since.
    written: Option<Scoreboard>,
    /// Revision of the entry that it writes over, if that is known.
    over: Option<u64>,
    /// One write after the other.
    writing: JoinSet<(Scoreboard, Result<Option<u64>, BusError>)>,
    write_due: Instant,
    /// True if the user has been told of a failure, and nothing was written since.
    told: bool,
    pace: Pace,
    /// Nobody needs the scores any more.
    stop: Arc<AtomicBool>,
}

impl Drop for Scoring {
    /// A long vote must not hold up the end of the program.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How much of the time scoring may take.
#[derive(Debug)]
enum Pace {
    /// Its share.
    Restrained,
    /// All of it, because the run ends.
    Hurried,
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
    stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for Scorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scorer").field("ensembles", &self.ensembles).finish_non_exhaustive()
    }
}

/// What the scorer must know.
#[derive(Debug)]
enum News {
    Job(JobId, Candidate),
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
                News::Job(job, candidate) => self.ensembles.take(job, candidate),
                News::Plan(plan, failed) => self.ensembles.follow(plan, failed),
            }
        }
        let Self { ensembles, predictions, stop } = &mut *self;
        let mut predictions = UntilStopped { predictions: predictions.as_mut(), stop };
        let board = is_wanted.then(|| ensembles.score(&mut predictions));
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
        let stop = Arc::new(AtomicBool::new(false));
        let place = match predictions {
            Some(predictions) => {
                let ensembles = LiveEnsembles::of(plan.clone(), finished);
                Place::Here(Box::new(Scorer { ensembles, predictions, stop: stop.clone() }))
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
            over: None,
            writing: JoinSet::new(),
            write_due: now,
            told: false,
            pace: Pace::Restrained,
            stop,
        }
    }

    /// Begins or stops to score. Another run may have written other scores in the meantime.
    pub(super) fn conduct(&mut self, role: Role) {
        if role != self.role {
            self.role = role;
            self.writing.abort_all();
            (self.board, self.written, self.over, self.is_stale) = (None, None, None, true);
        }
    }

    fn conducts(&self) -> bool {
        self.role == Role::Conducting
    }

    /// This has become of a job of the sweep.
    pub(super) fn take(&mut self, job: JobId, candidate: Candidate) {
        match candidate {
            Candidate::Failed => self.failed.insert(job),
            Candidate::Finished(_) | Candidate::Open => self.failed.remove(&job),
        };
        if self.has_ensembles {
            self.tell(News::Job(job, candidate));
        }
    }

    /// Takes from a change of the books which jobs have failed for good, and which begin anew after that. Results are not
    /// taken from there, because they come later. `is_own` tells the jobs of this sweep.
    pub(super) fn saw(&mut self, fed: &Fed, is_own: impl Fn(JobId) -> bool) {
        match &fed.change {
            Change::Record(entry) if is_own(entry.job) => {
                match (&entry.record.state, self.failed.contains(&entry.job)) {
                    (JobState::Failed { .. } | JobState::Parked { .. }, false) => {
                        self.take(entry.job, Candidate::Failed);
                    }
                    (JobState::Pending | JobState::Running { .. }, true) => {
                        self.take(entry.job, Candidate::Open);
                    }
                    // A result that was refused counts as a failure.
                    (JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. }, true)
                    | (JobState::Done { .. } | JobState::Pending | JobState::Running { .. }, false) => {}
                }
            }
            // A run that this one has followed wrote late.
            Change::Scoreboard { sweep, .. } if *sweep == self.sweep && self.writing.is_empty() => {
                if self.over.is_some_and(|known| known < fed.revision) {
                    (self.written, self.over) = (None, None);
                }
            }
            Change::Record(_)
            | Change::Result(_)
            | Change::Standing(_)
            | Change::Request(_)
            | Change::Sweep(_)
            | Change::Scoreboard { .. } => {}
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
        (self.due, self.pace) = (Instant::now(), Pace::Hurried);
        let last = async {
            while !self.is_idle() {
                self.step().await;
            }
        };
        if tokio::time::timeout(LAST, last).await.is_err() {
            tracing::debug!("the last scores of the ensembles are not in the books");
            return None;
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
                Err(error) if error.is_cancelled() => {}
                Err(error) => std::panic::resume_unwind(error.into_panic()),
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
        let pause = match self.pace {
            Pace::Restrained if !is_replanned => (took * SHARE).max(PAUSE),
            Pace::Restrained | Pace::Hurried => Duration::ZERO,
        };
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
        let (bus, sweep, over) = (self.bus.clone(), self.sweep.clone(), self.over);
        self.writing.spawn(async move {
            let outcome = bus.write_scoreboard(&sweep, &board, over).await;
            (board, outcome)
        });
    }

    fn wrote(&mut self, board: Scoreboard, outcome: Result<Option<u64>, BusError>) {
        match outcome {
            Ok(Some(revision)) => {
                (self.written, self.over, self.told) = (Some(board), Some(revision), false);
            }
            // Another run has written. If this one conducts the sweep after the pause, it writes over that.
            Ok(None) => (self.over, self.write_due) = (None, Instant::now() + PAUSE),
            Err(error) => {
                (self.over, self.write_due) = (None, Instant::now() + PAUSE);
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
