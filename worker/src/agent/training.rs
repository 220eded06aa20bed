//! The interface between a running training and the agent: it reports checkpoints and its end, and can be asked to stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use shared::device::DeviceRecord;
use shared::ids::JobId;
use shared::job::{Job, TrainerId};
use shared::log::JobLog;
use shared::protocol::{Execution, Wish};
use tokio::sync::{mpsc, watch};

use super::log::Log;
use super::work::{Finished, FinishedWork, Outcome, Saved};

/// Trains jobs of one kind.
pub trait Trainer: Send + Sync {
    /// The jobs that it trains.
    fn id(&self) -> TrainerId;

    /// The device in words, for displays: its name and model.
    fn device(&self) -> String;

    /// The description of the device and of the machine `host` in the result of `job`.
    fn record(&self, job: &Job, host: &str) -> DeviceRecord;

    /// Starts a training and returns without waiting for it.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    fn start(&self, assignment: Assignment) -> std::io::Result<Training>;

    /// The self-test: checks that trainings work here. The error says what is wrong.
    fn self_test(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// What one training needs. Owned, because it moves to the training thread.
#[derive(Debug)]
pub struct Assignment {
    pub id: JobId,
    pub job: Job,
    pub execution: Execution,
    /// The folder of the job's dataset, whose content was verified; `None` if the job has none.
    pub dataset: Option<PathBuf>,
    /// The content of every file of weights that the job names, by digest.
    pub weights: BTreeMap<String, Bytes>,
    pub resume: Option<Resume>,
    /// Takes what the training logs.
    pub log: Log,
    /// Keeps checkpoints and the result until the server has them.
    pub keeper: Arc<dyn Keeper>,
}

/// The checkpoint that a training goes on from.
#[derive(Debug)]
pub struct Resume {
    pub bytes: Bytes,
    /// The job that made it: this one, or one that is the same but for its number of epochs.
    pub by: JobId,
}

/// Where a training's products are kept until the server has them. What cannot be kept is only less safe.
pub trait Keeper: std::fmt::Debug + Send + Sync {
    fn keep(&self, saved: &Saved);

    /// Makes a result of a finished training and of its log, and keeps it.
    ///
    /// # Errors
    ///
    /// As [`FinishedWork::of`]: it cannot be a result.
    fn keep_result(&self, finished: Finished, log: JobLog) -> Result<FinishedWork, String>;
}

/// The progress of a training, for displays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepProgress {
    pub epoch: u32,
    pub epochs: u32,
    pub step: u32,
    pub steps: u32,
}

/// What a training reports.
#[derive(Debug)]
pub(super) enum Report {
    Saved(Box<Saved>),
    /// A note for the job's record.
    Note(String),
    /// The last report.
    Ended(Result<Ended, TrainingError>),
}

/// How a training ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its result, ready to be handed in.
    Finished(Box<FinishedWork>),
    /// The agent asked it to stop.
    Stopped,
}

/// Why a training ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainingError {
    /// The checkpoint is intact, but this training cannot resume from it. This does not count against the job.
    #[error("{0}")]
    Refused(String),
    /// The training itself failed.
    #[error("{0}")]
    Failed(String),
}

/// What the agent wants from a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    GoOn,
    /// Create a checkpoint after the next step, then end with the result so far. At least one epoch is finished.
    EndEarly,
    /// Create a checkpoint after the next step, then stop.
    CheckpointAndStop,
    /// Stop now.
    Stop,
}

/// A running training.
#[derive(Debug)]
pub struct Training {
    reports: mpsc::Receiver<Report>,
    progress: watch::Receiver<StepProgress>,
    instruction: Arc<AtomicU8>,
    execution: watch::Sender<Execution>,
    /// The newest request to train the job anew that this training meets.
    anew_after: u32,
}

/// The training's side of a [`Training`].
#[derive(Debug)]
pub struct Reporter {
    reports: mpsc::Sender<Report>,
    progress: watch::Sender<StepProgress>,
    instruction: Arc<AtomicU8>,
    log: Log,
    execution: watch::Receiver<Execution>,
    /// All epochs of the job, and those that are finished.
    epochs: (u32, u32),
    steps_since: u32,
    keeper: Arc<dyn Keeper>,
    /// Why the agent refused a report. Then the training can only end.
    refusal: Option<String>,
}

/// How many reports may wait for the agent, which takes them promptly even while the server is away.
const ON_THE_WAY: usize = 2;

impl Training {
    /// Both sides of a training.
    pub fn of(assignment: &Assignment) -> (Self, Reporter) {
        let (sender, reports) = mpsc::channel(ON_THE_WAY);
        let (told, progress) = watch::channel(StepProgress::default());
        let instruction = Arc::new(AtomicU8::new(Instruction::GoOn as u8));
        let (execution, executions) = watch::channel(assignment.execution.clone());
        let reporter = Reporter {
            reports: sender,
            progress: told,
            instruction: instruction.clone(),
            log: assignment.log.clone(),
            execution: executions,
            epochs: (0, 0),
            steps_since: 0,
            keeper: assignment.keeper.clone(),
            refusal: None,
        };
        let anew_after = assignment.execution.steering.anew_after;
        (Self { reports, progress, instruction, execution, anew_after }, reporter)
    }

    /// The next report. Do not call it after [`Report::Ended`].
    pub(super) async fn next(&mut self) -> Report {
        let vanished =
            || Report::Ended(Err(TrainingError::Failed("the training thread vanished".to_owned())));
        self.reports.recv().await.unwrap_or_else(vanished)
    }

    pub(super) fn progress(&self) -> StepProgress {
        *self.progress.borrow()
    }

    /// Passes on how the job is to be carried out, and asks the training to stop if it is not wanted now.
    pub(super) fn carry_out(&self, execution: &Execution) {
        self.execution.send_if_modified(|known| {
            let changed = known != execution;
            *known = execution.clone();
            changed
        });
        match execution.steering.wish {
            _ if self.anew_after < execution.steering.anew_after => self.stop(),
            Wish::Train => {}
            Wish::Pause => self.ask_to_stop(),
            Wish::Cancel => self.stop(),
        }
    }

    fn stop(&self) {
        self.instruction.store(Instruction::Stop as u8, Ordering::Relaxed);
    }

    /// Asks the training to create a checkpoint after the next step and to stop.
    pub(super) fn ask_to_stop(&self) {
        let (from, to) = (Instruction::GoOn as u8, Instruction::CheckpointAndStop as u8);
        // Fails if a stop was requested before, which stays in force.
        let _ = self.instruction.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Stops the training and waits until the device is free. Returns its result if it had just finished.
    pub(super) async fn abandon(&mut self) -> Option<Box<FinishedWork>> {
        self.stop();
        loop {
            match self.next().await {
                Report::Saved(_) | Report::Note(_) => {}
                Report::Ended(Ok(Ended::Finished(finished_work))) => return Some(finished_work),
                Report::Ended(Ok(Ended::Stopped) | Err(_)) => return None,
            }
        }
    }
}

impl Reporter {
    /// Says how many epochs the job has, and how many are finished, before the first step.
    pub fn begin(&mut self, epochs: u32, finished: u32) {
        self.epochs = (epochs, finished);
        self.progress.send_replace(StepProgress { epoch: finished, epochs, ..StepProgress::default() });
    }

    /// Reports the progress after each step.
    pub fn at(&mut self, progress: StepProgress) {
        self.steps_since += 1;
        self.epochs.1 = self.epochs.1.max(progress.epoch.saturating_sub(1));
        self.progress.send_replace(progress);
    }

    /// Logs a line. The first and the last lines are kept.
    pub fn log(&self, line: String) {
        tracing::debug!("{line}");
        self.log.add(line);
    }

    /// True if a checkpoint is due, `since` the last one.
    pub fn is_checkpoint_due(&self, since: Duration) -> bool {
        self.execution.borrow().checkpoint_every().is_due(self.steps_since, since)
    }

    /// Reports a checkpoint. It is kept first, so that it outlives this process. If its report is refused, the training
    /// is asked to stop, and fails whatever it reports as its end.
    pub async fn saved(&mut self, saved: Saved) {
        if let Some(report) = self.kept(saved) {
            self.send(report).await;
        }
    }

    /// As [`Self::saved`], on a thread without a runtime.
    pub fn saved_blocking(&mut self, saved: Saved) {
        if let Some(report) = self.kept(saved) {
            let _gone = self.reports.blocking_send(report);
        }
    }

    /// Adds a note to the job's record.
    pub async fn note(&self, note: String) {
        self.send(Report::Note(note)).await;
    }

    /// As [`Self::note`], on a thread without a runtime.
    pub fn note_blocking(&self, note: String) {
        let _gone = self.reports.blocking_send(Report::Note(note));
    }

    /// Reports the end. A result is kept first; one that cannot be right is a failure.
    pub async fn ended(&self, outcome: Result<Outcome, TrainingError>) {
        let report = self.closed(outcome);
        self.send(report).await;
    }

    /// As [`Self::ended`], on a thread without a runtime.
    pub fn ended_blocking(&self, outcome: Result<Outcome, TrainingError>) {
        let report = self.closed(outcome);
        let _gone = self.reports.blocking_send(report);
    }

    /// What the training should do now.
    pub fn instruction(&self) -> Instruction {
        let asked = [Instruction::GoOn, Instruction::CheckpointAndStop, Instruction::Stop]
            .into_iter()
            .find(|instruction| *instruction as u8 == self.instruction.load(Ordering::Relaxed))
            .unwrap_or(Instruction::Stop);
        let (epochs, finished) = self.epochs;
        let ends = finished < epochs && self.execution.borrow().steering.ends_after(finished);
        if asked == Instruction::GoOn && ends { Instruction::EndEarly } else { asked }
    }

    /// The report of a checkpoint that was kept; `None` if it was refused, now or before.
    fn kept(&mut self, saved: Saved) -> Option<Report> {
        self.steps_since = 0;
        self.epochs.1 = saved.epoch;
        if self.refusal.is_none() {
            self.refusal = saved.check(&self.execution.borrow().ranking).err();
        }
        if self.refusal.is_some() {
            self.instruction.store(Instruction::Stop as u8, Ordering::Relaxed);
            return None;
        }
        self.keeper.keep(&saved);
        Some(Report::Saved(Box::new(saved)))
    }

    fn closed(&self, outcome: Result<Outcome, TrainingError>) -> Report {
        let ended = match (&self.refusal, outcome) {
            (Some(why), _) => Err(TrainingError::Failed(why.clone())),
            (None, Err(error)) => Err(error),
            (None, Ok(Outcome::Stopped)) => Ok(Ended::Stopped),
            (None, Ok(Outcome::Finished(finished))) => {
                match self.keeper.keep_result(*finished, self.log.kept()) {
                    Ok(finished_work) => Ok(Ended::Finished(Box::new(finished_work))),
                    Err(why) => Err(TrainingError::Failed(why)),
                }
            }
        };
        Report::Ended(ended)
    }

    /// If nobody receives the report, the job is lost and the training will soon be asked to stop.
    async fn send(&self, report: Report) {
        let _gone = self.reports.send(report).await;
    }
}
