//! The training thread: libtorch never runs on the messaging runtime, and a panic in it ends a job, not the worker.

use std::panic::AssertUnwindSafe;

use shared::result::DeviceRecord;
use tch::Device;

use super::training::{Assignment, Report, StepProgress, Trainer, Training};
use crate::device;
use crate::train::{Control, TrainEvent, TrainTask, train_from};

/// Trains with libtorch on one device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Torch(pub(super) Device);

impl Trainer for Torch {
    fn record(&self, threads: u32, host: &str) -> DeviceRecord {
        device::record(self.0, threads, host)
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        let device = self.0;
        let epochs = assignment.spec.training.epochs;
        let (training, reporter) = Training::of(epochs);
        std::thread::Builder::new().name("train".to_owned()).spawn(move || {
            let mut sink = |event: TrainEvent| {
                match event {
                    TrainEvent::Step { epoch, step, steps, .. } => {
                        let (step, steps) = (step as u32, steps as u32);
                        reporter.at(StepProgress { epoch, epochs, step, steps });
                    }
                    TrainEvent::OutOfMemory { epoch, step, micro_batches } => {
                        reporter.say_blocking(Report::Note(format!(
                            "a batch did not fit into memory in epoch {epoch}, step {step}: from there on each is cut into \
                             {micro_batches} micro-batches, whose gradients add up to the batch's; batch norms see each \
                             micro-batch by itself"
                        )));
                    }
                    TrainEvent::Epoch { report, checkpoint } => {
                        reporter.say_blocking(Report::Epoch(Box::new((report, checkpoint.into()))));
                    }
                }
                if reporter.is_stopped() { Control::Stop } else { Control::Continue }
            };
            let Assignment { spec, pack, resume, weights } = &assignment;
            let task = TrainTask { spec, pack, device, resume: resume.as_deref() };
            let outcome =
                std::panic::catch_unwind(AssertUnwindSafe(|| train_from(&task, weights, &mut sink)));
            let ended = match outcome {
                Ok(Ok(outcome)) => Ok(outcome),
                Ok(Err(error)) => Err(format!("{:#}", anyhow::Error::new(error))),
                Err(panic) => Err(panic_text(panic.as_ref())),
            };
            reporter.say_blocking(Report::Ended(ended));
        })?;
        Ok(training)
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the training panicked: {}", text.unwrap_or("without a message"))
}
