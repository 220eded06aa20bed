//! The training thread. libtorch never runs on the async runtime, and a panic in it ends the job, not the worker.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::future::BoxFuture;
use shared::causes::in_words;
use shared::result::{DeviceRecord, EpochReport};
use tch::Device;

use super::self_test;
use super::training::{
    Assignment, Instruction, Reporter, StepProgress, Trainer, Training, TrainingError, panic_message,
};
use super::work::Saved;
use crate::device;
use crate::train::{Control, TrainError, TrainEvent, TrainTask, train_from};

/// Trains with libtorch on one device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Torch(pub(super) Device);

impl Trainer for Torch {
    fn record(&self, threads: u32, host: &str) -> DeviceRecord {
        device::record(self.0, threads, host)
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        let device = self.0;
        let (training, mut reporter) = Training::of(&assignment);
        std::thread::Builder::new().name("train".to_owned()).spawn(move || {
            let Assignment { spec, pack, resume, weights, .. } = &assignment;
            reporter.log(match resume {
                Some(bytes) => {
                    format!("on {}, from a checkpoint of {} bytes", device::name(device), bytes.len())
                }
                None => format!("on {}, from the start", device::name(device)),
            });
            let task = TrainTask { spec, pack, device, resume: resume.as_deref() };
            let mut sink = sink(&mut reporter, spec.training.epochs);
            let outcome =
                std::panic::catch_unwind(AssertUnwindSafe(|| train_from(&task, weights, &mut sink)));
            let ended = match outcome {
                Ok(Ok(outcome)) => Ok(outcome),
                Ok(Err(error @ TrainError::Checkpoint(_))) => Err(TrainingError::Refused(in_words(&error))),
                Ok(Err(error)) => Err(TrainingError::Failed(in_words(&error))),
                Err(panic) => {
                    Err(TrainingError::Failed(format!("the training {}", panic_message(panic.as_ref()))))
                }
            };
            drop(sink);
            reporter.ended_blocking(ended);
        })?;
        Ok(training)
    }

    fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self_test::run(self.0))
    }
}

/// Passes the events of a training to the agent, and answers with the agent's instruction.
fn sink(reporter: &mut Reporter, epochs: u32) -> impl FnMut(TrainEvent) -> Control {
    let mut last_checkpoint = Instant::now();
    move |event| {
        let saved = match event {
            TrainEvent::Step { epoch, step, steps, loss } => {
                if log_worthy(step, steps) {
                    reporter.log(format!("epoch {epoch}, step {step} of {steps}: loss {loss}"));
                }
                let (step, steps) = (step as u32, steps as u32);
                reporter.at(StepProgress { epoch, epochs, step, steps });
                // An epoch ends with a checkpoint anyway, so none is due at its last step. A stop does not wait for it.
                let due = reporter.is_checkpoint_due(last_checkpoint.elapsed());
                return match reporter.instruction() {
                    Instruction::Stop => Control::Stop,
                    Instruction::CheckpointAndStop => Control::Checkpoint,
                    Instruction::GoOn if due && step < steps => Control::Checkpoint,
                    Instruction::GoOn => Control::Continue,
                };
            }
            TrainEvent::OutOfMemory { epoch, step, micro_batches } => {
                reporter.note_blocking(format!(
                    "a batch did not fit into memory in epoch {epoch}, step {step}: from then on, batches are split \
                     into {micro_batches} micro-batches, whose gradients add up to the batch's; batch norms see each \
                     micro-batch separately"
                ));
                return Control::Continue;
            }
            TrainEvent::Checkpoint { epoch, step, checkpoint } => {
                let (epoch, step) = (epoch - 1, step as u32);
                Saved { epoch, step, report: None, checkpoint: checkpoint.into() }
            }
            TrainEvent::Epoch { report, checkpoint } => {
                reporter.log(epoch_line(&report));
                Saved { epoch: report.epoch, step: 0, report: Some(report), checkpoint: checkpoint.into() }
            }
        };
        reporter.saved_blocking(saved);
        last_checkpoint = Instant::now();
        if reporter.instruction() == Instruction::GoOn { Control::Continue } else { Control::Stop }
    }
}

/// True for the first three steps, where most failures occur, then for ten more in each epoch.
fn log_worthy(step: usize, steps: usize) -> bool {
    step <= 3 || step == steps || step.is_multiple_of((steps / 10).max(1))
}

fn epoch_line(report: &EpochReport) -> String {
    let losses = &report.losses;
    format!(
        "epoch {} done in {:.1} s: F1 {:.2}, cross-entropy {}, affinity {}, partition {}, landmark {}",
        report.epoch,
        report.seconds,
        report.validation.macro_f1,
        losses.cross_entropy,
        losses.affinity,
        losses.partition,
        losses.landmark
    )
}
