//! A training as the agent sees it: started somewhere, reporting epoch by epoch, asked to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use shared::job::JobSpec;
use shared::pack::Pack;
use shared::result::{DeviceRecord, EpochReport};
use shared::weights::Slot;
use tokio::sync::{mpsc, watch};

use crate::train::Outcome;

/// Where trainings run.
pub trait Trainer: Send + Sync {
    /// What a result's record says about this place.
    fn record(&self, threads: u32, host: &str) -> DeviceRecord;

    /// Starts a training and returns at once.
    fn start(&self, assignment: Assignment) -> std::io::Result<Training>;
}

/// What one training needs; owned, because it moves to where it runs.
#[derive(Debug)]
pub struct Assignment {
    pub spec: JobSpec,
    pub pack: Arc<Pack>,
    pub resume: Option<Bytes>,
    /// Content of the files that the job's settings name.
    pub weights: BTreeMap<Slot, Bytes>,
}

/// Where the training is, for displays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepProgress {
    pub epoch: u32,
    pub epochs: u32,
    pub step: u32,
    pub steps: u32,
}

/// What a training says.
#[derive(Debug)]
pub enum Report {
    /// An epoch and the checkpoint after it.
    Epoch(Box<(EpochReport, Bytes)>),
    /// Something that a reader of the job's record should know.
    Note(String),
    /// The last report. The error is in words: nothing decides on it.
    Ended(Result<Outcome, String>),
}

/// A running training.
#[derive(Debug)]
pub struct Training {
    reports: mpsc::Receiver<Report>,
    progress: watch::Receiver<StepProgress>,
    stop: Arc<AtomicBool>,
}

/// The training's own end of it.
#[derive(Debug)]
pub struct Reporter {
    reports: mpsc::Sender<Report>,
    progress: watch::Sender<StepProgress>,
    stop: Arc<AtomicBool>,
}

/// Epochs that may wait for their upload before the training waits too.
const EPOCHS_AHEAD: usize = 2;

impl Training {
    /// Both ends of a training of so many epochs.
    pub fn of(epochs: u32) -> (Self, Reporter) {
        let (sender, reports) = mpsc::channel(EPOCHS_AHEAD);
        let (told, progress) = watch::channel(StepProgress { epochs, ..StepProgress::default() });
        let stop = Arc::new(AtomicBool::new(false));
        let reporter = Reporter { reports: sender, progress: told, stop: stop.clone() };
        (Self { reports, progress, stop }, reporter)
    }

    /// The next report. After [`Report::Ended`] there is none.
    pub(super) async fn next(&mut self) -> Report {
        self.reports
            .recv()
            .await
            .unwrap_or_else(|| Report::Ended(Err("the training thread vanished".to_owned())))
    }

    pub(super) fn progress(&self) -> StepProgress {
        *self.progress.borrow()
    }

    /// Asks the training to end at its next step.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Stops it and waits until the device is free.
    pub(super) async fn abandon(mut self) {
        self.stop();
        while let Report::Epoch(_) | Report::Note(_) = self.next().await {}
    }
}

impl Reporter {
    /// Shows where the training is.
    pub fn at(&self, progress: StepProgress) {
        self.progress.send_replace(progress);
    }

    /// Says something; waits while the agent lags behind. Nobody may listen any more: then the job is lost and the
    /// request to stop is on its way.
    pub async fn say(&self, report: Report) {
        let _gone = self.reports.send(report).await;
    }

    /// As [`Self::say`], on a thread without a runtime.
    pub fn say_blocking(&self, report: Report) {
        let _gone = self.reports.blocking_send(report);
    }

    /// True when the training was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
