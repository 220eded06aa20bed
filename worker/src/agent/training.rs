//! A training as the agent sees it: started somewhere, handing over checkpoints and its end, asked to end itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use shared::books::LOG_TAIL;
use shared::job::JobSpec;
use shared::pack::Pack;
use shared::protocol::CheckpointEvery;
use shared::result::{DeviceRecord, EpochReport};
use shared::weights::Slot;
use tokio::sync::{mpsc, watch};

use super::handover::HandIn;
use super::spool::JobSpool;
use crate::train::Outcome;

/// Where trainings run.
pub trait Trainer: Send + Sync {
    /// What a result's record says about this place.
    fn record(&self, threads: u32, host: &str) -> DeviceRecord;

    /// Starts a training and returns at once.
    fn start(&self, assignment: Assignment) -> std::io::Result<Training>;

    /// Proves that this place can train: what is wrong with it, else.
    fn canary(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// What one training needs; owned, because it moves to where it runs.
#[derive(Debug)]
pub struct Assignment {
    pub spec: JobSpec,
    pub pack: Arc<Pack>,
    pub resume: Option<Bytes>,
    /// Content of the files that the job's settings name.
    pub weights: BTreeMap<Slot, Bytes>,
    pub checkpoint_every: CheckpointEvery,
    /// Where what it hands over is kept until the server has it.
    pub spool: JobSpool,
}

/// Where the training is, for displays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepProgress {
    pub epoch: u32,
    pub epochs: u32,
    pub step: u32,
    pub steps: u32,
}

/// A checkpoint that a training hands over.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Finished epochs.
    pub epoch: u32,
    /// Finished steps of the epoch after them.
    pub step: u32,
    /// Of the epoch that has just ended; `None` within an epoch.
    pub report: Option<EpochReport>,
    pub checkpoint: Bytes,
}

/// What a training says.
#[derive(Debug)]
pub(super) enum Report {
    Saved(Box<Saved>),
    /// Something that a reader of the job's record should know.
    Note(String),
    /// The last report.
    Ended(Result<Ended, TrainingError>),
}

/// How a training ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its result, ready to be handed in.
    Finished(Box<HandIn>),
    /// It was asked to.
    Stopped,
}

/// Why a training ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainingError {
    /// The checkpoint that it was to go on from is whole and yet of no use. The job is not to blame.
    #[error("{0}")]
    Refused(String),
    /// The training itself failed.
    #[error("{0}")]
    Failed(String),
}

/// What the agent wants of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    GoOn,
    /// A checkpoint after the next step, and then the end.
    HandOver,
    /// The end, at once.
    End,
}

/// A running training.
#[derive(Debug)]
pub struct Training {
    reports: mpsc::Receiver<Report>,
    progress: watch::Receiver<StepProgress>,
    wish: Arc<AtomicU8>,
    log: Log,
}

/// The training's own end of it.
#[derive(Debug)]
pub struct Reporter {
    reports: mpsc::Sender<Report>,
    progress: watch::Sender<StepProgress>,
    wish: Arc<AtomicU8>,
    log: Log,
    checkpoint_every: CheckpointEvery,
    steps_since: u32,
    pack: Arc<Pack>,
    spool: JobSpool,
}

/// The last lines that a training logged. Clones are the same.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOG_TAIL {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Reports on their way to the agent, which takes them at once, whatever the server does.
const ON_THE_WAY: usize = 2;

impl Training {
    /// Both ends of a training.
    pub fn of(assignment: &Assignment) -> (Self, Reporter) {
        let epochs = assignment.spec.training.epochs;
        let (sender, reports) = mpsc::channel(ON_THE_WAY);
        let (told, progress) = watch::channel(StepProgress { epochs, ..StepProgress::default() });
        let wish = Arc::new(AtomicU8::new(Wish::GoOn as u8));
        let log = Log::default();
        let reporter = Reporter {
            reports: sender,
            progress: told,
            wish: wish.clone(),
            log: log.clone(),
            checkpoint_every: assignment.checkpoint_every,
            steps_since: 0,
            pack: assignment.pack.clone(),
            spool: assignment.spool.clone(),
        };
        (Self { reports, progress, wish, log }, reporter)
    }

    /// The next report. After [`Report::Ended`] there is none.
    pub(super) async fn next(&mut self) -> Report {
        let vanished =
            || Report::Ended(Err(TrainingError::Failed("the training thread vanished".to_owned())));
        self.reports.recv().await.unwrap_or_else(vanished)
    }

    pub(super) fn progress(&self) -> StepProgress {
        *self.progress.borrow()
    }

    /// The last lines that the training logged, oldest first.
    pub(super) fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Asks for a checkpoint after the next step and for the end.
    pub(super) fn hand_over(&self) {
        let (from, to) = (Wish::GoOn as u8, Wish::HandOver as u8);
        let _other_wish = self.wish.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Ends it and waits until the device is free. A result that it came to all the same is not lost.
    pub(super) async fn abandon(&mut self) -> Option<Box<HandIn>> {
        self.wish.store(Wish::End as u8, Ordering::Relaxed);
        loop {
            match self.next().await {
                Report::Saved(_) | Report::Note(_) => {}
                Report::Ended(Ok(Ended::Finished(hand_in))) => return Some(hand_in),
                Report::Ended(Ok(Ended::Stopped) | Err(_)) => return None,
            }
        }
    }
}

impl Reporter {
    /// Shows where the training is, after each step.
    pub fn at(&mut self, progress: StepProgress) {
        self.steps_since += 1;
        self.progress.send_replace(progress);
    }

    /// Logs a line; the oldest fall out.
    pub fn log(&self, line: String) {
        self.log.add(line);
    }

    /// True when a checkpoint is due, so long after the last one.
    pub fn is_checkpoint_due(&self, since: Duration) -> bool {
        self.checkpoint_every.is_due(self.steps_since, since)
    }

    /// Hands a checkpoint over: into the spool first, so that it outlives this process.
    pub async fn saved(&mut self, saved: Saved) {
        let report = self.spooled(saved);
        self.say(report).await;
    }

    /// As [`Self::saved`], on a thread without a runtime.
    pub fn saved_blocking(&mut self, saved: Saved) {
        let report = self.spooled(saved);
        let _gone = self.reports.blocking_send(report);
    }

    /// Says something that a reader of the job's record should know.
    pub async fn note(&self, note: String) {
        self.say(Report::Note(note)).await;
    }

    /// As [`Self::note`], on a thread without a runtime.
    pub fn note_blocking(&self, note: String) {
        let _gone = self.reports.blocking_send(Report::Note(note));
    }

    /// Hands the end over; a result goes into the spool first.
    pub async fn ended(&self, outcome: Result<Outcome, TrainingError>) {
        let report = self.closed(outcome);
        self.say(report).await;
    }

    /// As [`Self::ended`], on a thread without a runtime.
    pub fn ended_blocking(&self, outcome: Result<Outcome, TrainingError>) {
        let report = self.closed(outcome);
        let _gone = self.reports.blocking_send(report);
    }

    pub fn wish(&self) -> Wish {
        [Wish::GoOn, Wish::HandOver, Wish::End]
            .into_iter()
            .find(|wish| *wish as u8 == self.wish.load(Ordering::Relaxed))
            .unwrap_or(Wish::End)
    }

    fn spooled(&mut self, saved: Saved) -> Report {
        self.steps_since = 0;
        self.spool.keep(&saved);
        Report::Saved(Box::new(saved))
    }

    fn closed(&self, outcome: Result<Outcome, TrainingError>) -> Report {
        Report::Ended(outcome.map(|outcome| match outcome {
            Outcome::Stopped => Ended::Stopped,
            Outcome::Finished(finished) => {
                let hand_in = HandIn::of(self.spool.claim(), &self.pack, *finished);
                self.spool.keep_result(&hand_in);
                Ended::Finished(Box::new(hand_in))
            }
        }))
    }

    /// Nobody may listen any more: then the job is lost and the wish that it ends is on its way.
    async fn say(&self, report: Report) {
        let _gone = self.reports.send(report).await;
    }
}
