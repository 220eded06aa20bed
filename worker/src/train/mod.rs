//! The training of one job: each epoch is a pass of steps, then a score on validation and a checkpoint; the best epoch
//! is kept.
//!
//! Every random draw follows from the seed and counters (epoch, batch, sample). So, on the same kind of CPU, a training
//! that resumes from a checkpoint gives the same bits as one that was never interrupted.

pub mod adam;
pub mod arithmetic;
pub mod batch;
pub mod checkpoint;
pub mod error;
pub mod evaluate;
pub mod memory;
pub mod micro;
pub mod mixing;
pub mod model_record;
pub mod passes;
pub mod progress;
pub mod schedule;
mod session;
pub mod step;
pub mod terms;

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use shared::expression::CLASSES;
use shared::ids::JobId;
use shared::mtl::MtlSpec;
use shared::mtl::report::EpochReport;
use shared::pack::Pack;
use shared::weights::Slot;
use tch::Device;

pub use checkpoint::{Checkpoint, Partial};
pub use error::{CheckpointError, TrainError};
pub use model_record::ModelRecord;
pub(crate) use session::set_threads;
use session::{EpochEnd, Session};

/// What to train, on what.
#[derive(Debug, Clone, Copy)]
pub struct TrainTask<'a> {
    pub spec: &'a MtlSpec,
    pub pack: &'a Pack,
    pub device: Device,
    /// The checkpoint to resume from; `None` starts a new training.
    pub resume: Option<Resume<'a>>,
}

/// A checkpoint, and the job that made it: the task's own, or one that is the same but for its number of epochs.
#[derive(Debug, Clone, Copy)]
pub struct Resume<'a> {
    pub bytes: &'a [u8],
    pub by: JobId,
}

/// What a training reports while it runs.
#[derive(Debug)]
pub enum TrainEvent {
    /// Step `step` of `steps` (from 1) is queued. `loss` is the latest known one, on a GPU a few steps old.
    Step { epoch: u32, step: usize, steps: usize, loss: f64 },
    /// The batch of this step did not fit into memory. From now on, batches are split into `micro_batches`.
    OutOfMemory { epoch: u32, step: usize, micro_batches: u32 },
    /// The listener asked for a checkpoint: it resumes after `step` steps of `epoch`.
    Checkpoint { epoch: u32, step: usize, checkpoint: Vec<u8> },
    /// An epoch is finished; `checkpoint` resumes after it.
    Epoch { report: EpochReport, checkpoint: Vec<u8> },
}

/// The listener's answer to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    Continue,
    /// After a step: create a checkpoint, report it, and ask again. After other events: the same as `Continue`.
    Checkpoint,
    /// Stop now. Work since the last checkpoint is lost.
    Stop,
    /// End with the best of the finished epochs, of which there must be one. Work since the last checkpoint is lost.
    Finish,
}

/// How a training ended.
#[derive(Debug)]
pub enum TaskOutcome {
    Finished(Box<FinishedTask>),
    /// The listener asked to stop.
    Stopped,
}

/// A finished training.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedTask {
    pub epochs: Vec<EpochReport>,
    /// By validation macro F1; the earliest of those with equal scores.
    pub best_epoch: u32,
    /// The epochs after which it ended early, because the listener asked for that.
    pub stopped_after: Option<u32>,
    /// Validation probabilities of the best epoch, rows in the pack's order.
    pub validation: Vec<[f32; CLASSES]>,
    /// Test probabilities of the best epoch; `None` if the dataset has no test split.
    pub test: Option<Vec<[f32; CLASSES]>>,
    /// Weights of the best epoch, as safetensors.
    pub model: Vec<u8>,
    /// Over all epochs, including those before a resume.
    pub train_seconds: f64,
}

/// Trains `task.spec` on `task.pack` and reports every step and epoch to `sink`.
///
/// Sets libtorch's thread counts and cuDNN's options for the whole process. A failure inside a network panics, except
/// for running out of memory in a step, because tch's infallible operators panic. So run this on its own thread and
/// catch the panic.
///
/// # Errors
///
/// The settings, the dataset, the checkpoint or the weights cannot be used; the training diverges; the smallest batch
/// does not fit into memory; or libtorch fails.
pub fn train(
    task: &TrainTask<'_>,
    sink: &mut dyn FnMut(TrainEvent) -> Control,
) -> Result<TaskOutcome, TrainError> {
    train_from(task, &BTreeMap::new(), sink)
}

/// [`train`], starting from `weights`: the content of every weights file that the job's settings name. A resumed
/// training does not use them.
///
/// # Errors
///
/// As [`train`].
pub fn train_from(
    task: &TrainTask<'_>,
    weights: &BTreeMap<Slot, Bytes>,
    sink: &mut dyn FnMut(TrainEvent) -> Control,
) -> Result<TaskOutcome, TrainError> {
    let mut session = Session::start(task, weights)?;
    while !session.is_done() {
        let started = Instant::now();
        let before = session.seconds_before();
        let learning_rate = session.learning_rate();
        let losses = match session.train_epoch(started, sink)? {
            EpochEnd::Trained(losses) => losses,
            EpochEnd::Stopped => return Ok(TaskOutcome::Stopped),
            EpochEnd::Finished => break,
        };
        let probabilities = session.validate()?;
        let report = EpochReport {
            epoch: session.epoch(),
            learning_rate,
            losses,
            validation: session.score(&probabilities),
            seconds: before + started.elapsed().as_secs_f64(),
            memory: session.memory()?,
        };
        let checkpoint = session.end_epoch(report.clone(), probabilities)?;
        match sink(TrainEvent::Epoch { report, checkpoint }) {
            Control::Continue | Control::Checkpoint => {}
            Control::Stop => return Ok(TaskOutcome::Stopped),
            Control::Finish => break,
        }
    }
    session.finish().map(|finished| TaskOutcome::Finished(Box::new(finished)))
}
