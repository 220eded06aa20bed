//! The training thread: libtorch never runs on the messaging runtime, and a panic in it ends a job, not the worker.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use shared::job::JobSpec;
use shared::pack::Pack;
use shared::result::EpochReport;
use shared::weights::Slot;
use tch::Device;
use tokio::sync::{mpsc, watch};

use crate::train::{Control, Outcome, TrainEvent, TrainTask, train_from};

/// What one training needs; owned, because it moves to the thread.
pub(super) struct Assignment {
    pub(super) spec: JobSpec,
    pub(super) pack: Arc<Pack>,
    pub(super) device: Device,
    pub(super) resume: Option<Bytes>,
    /// Content of the files that the job's settings name.
    pub(super) weights: BTreeMap<Slot, Bytes>,
}

/// Where the training is, for displays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StepProgress {
    pub(super) epoch: u32,
    pub(super) epochs: u32,
    pub(super) step: u32,
    pub(super) steps: u32,
}

/// What the thread says.
pub(super) enum Report {
    /// An epoch and the checkpoint after it.
    Epoch(Box<(EpochReport, Bytes)>),
    /// The last report. The error is in words: nothing decides on it.
    Ended(Result<Outcome, String>),
}

/// A running training.
pub(super) struct Training {
    reports: mpsc::Receiver<Report>,
    progress: watch::Receiver<StepProgress>,
    stop: Arc<AtomicBool>,
}

/// Epochs that may wait for their upload before the training waits too.
const EPOCHS_AHEAD: usize = 2;

impl Training {
    pub(super) fn start(assignment: Assignment) -> std::io::Result<Self> {
        let (sender, reports) = mpsc::channel(EPOCHS_AHEAD);
        let epochs = assignment.spec.training.epochs;
        let (told, progress) = watch::channel(StepProgress { epochs, ..StepProgress::default() });
        let flag = Arc::new(AtomicBool::new(false));
        let asked_to_stop = flag.clone();
        std::thread::Builder::new().name("train".to_owned()).spawn(move || {
            let mut sink = |event: TrainEvent| {
                match event {
                    TrainEvent::Step { epoch, step, steps, .. } => {
                        let (step, steps) = (step as u32, steps as u32);
                        told.send_replace(StepProgress { epoch, epochs, step, steps });
                    }
                    TrainEvent::Epoch { report, checkpoint } => {
                        // Nobody listens any more: the job is lost, the stop flag is on its way.
                        let epoch = Report::Epoch(Box::new((report, checkpoint.into())));
                        let _gone = sender.blocking_send(epoch);
                    }
                }
                if asked_to_stop.load(Ordering::Relaxed) { Control::Stop } else { Control::Continue }
            };
            let Assignment { spec, pack, device, resume, weights } = &assignment;
            let task = TrainTask { spec, pack, device: *device, resume: resume.as_deref() };
            let outcome =
                std::panic::catch_unwind(AssertUnwindSafe(|| train_from(&task, weights, &mut sink)));
            let ended = match outcome {
                Ok(Ok(outcome)) => Ok(outcome),
                Ok(Err(error)) => Err(format!("{:#}", anyhow::Error::new(error))),
                Err(panic) => Err(panic_text(panic.as_ref())),
            };
            let _gone = sender.blocking_send(Report::Ended(ended));
        })?;
        Ok(Self { reports, progress, stop: flag })
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
        while let Report::Epoch(_) = self.next().await {}
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the training panicked: {}", text.unwrap_or("without a message"))
}
