//! Trains the paper's networks with libtorch.
//!
//! libtorch runs on a thread of its own and never on the async runtime, and a panic in it ends the job, not the worker.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use shared::causes::in_words;
use shared::device::DeviceRecord;
use shared::expression::CLASSES;
use shared::job::{Job, TrainerId};
use shared::metrics::GPU_PEAK_MEMORY;
use shared::mtl::MtlSpec;
use shared::mtl::report::{EpochReport, final_metrics};
use shared::pack::{Pack, Split};
use shared::predictions::Matrix;
use shared::result::MODEL;
use shared::settings::SettingError;
use shared::vote;
use shared::weights::Slot;
use tch::Device;

use super::panics::panic_message;
use super::self_test;
use crate::agent::{
    Assignment, Finished, FinishedPredictions, Instruction, Outcome, Reporter, Saved, StepProgress, Trainer,
    Training, TrainingError,
};
use crate::device;
use crate::host_memory::HostPeak;
use crate::train::{self, Control, TrainError, TrainEvent, TrainTask, train_from};

/// Trains with libtorch on one device.
#[derive(Debug)]
pub struct MtlTrainer {
    device: Device,
    packs: LastPack,
}

/// The pack of the last training, which stays open for the next one.
#[derive(Debug, Clone, Default)]
struct LastPack(Arc<Mutex<Option<Arc<Pack>>>>);

impl MtlTrainer {
    pub fn new(device: Device) -> Self {
        Self { device, packs: LastPack::default() }
    }
}

impl Trainer for MtlTrainer {
    fn id(&self) -> TrainerId {
        shared::mtl::trainer()
    }

    fn device(&self) -> String {
        device::described(self.device)
    }

    fn record(&self, job: &Job, host: &str) -> DeviceRecord {
        // With settings that cannot be used, there will be no result.
        let threads = MtlSpec::of(&job.settings).map_or(0, |spec| spec.training.cpu_threads);
        device::record(self.device, threads, host)
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        let (training, mut reporter) = Training::of(&assignment);
        let spec = MtlSpec::of(&assignment.job.settings);
        if let Ok(spec) = &spec {
            reporter.begin(spec.training.epochs, 0);
        }
        let (device, packs) = (self.device, self.packs.clone());
        let span = tracing::Span::current();
        std::thread::Builder::new().name("train".to_owned()).spawn(move || {
            let _entered = span.enter();
            let attempt = || train(&assignment, spec, device, &packs, &mut reporter);
            let ended = std::panic::catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
                Err(TrainingError::Failed(format!("the training {}", panic_message(panic.as_ref()))))
            });
            reporter.ended_blocking(ended);
        })?;
        Ok(training)
    }

    fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self_test::run(self.device))
    }
}

fn train(
    assignment: &Assignment,
    spec: Result<MtlSpec, SettingError>,
    device: Device,
    packs: &LastPack,
    reporter: &mut Reporter,
) -> Result<Outcome, TrainingError> {
    let spec = spec.map_err(|error| TrainingError::Failed(error.to_string()))?;
    reporter.log(match &assignment.resume {
        Some(resume) => {
            format!("on {}, from a checkpoint of {} bytes", device::name(device), resume.bytes.len())
        }
        None => format!("on {}, from the start", device::name(device)),
    });
    let pack = packs.open(assignment).map_err(TrainingError::Failed)?;
    if spec.id(pack.digest()) != assignment.id {
        return Err(TrainingError::Failed(
            "the settings of the job are not in their canonical form".to_owned(),
        ));
    }
    let file = |(slot, digest): (Slot, &str)| Some((slot, assignment.weights.get(digest)?.clone()));
    let weights: BTreeMap<Slot, Bytes> = spec.transfer.digests().filter_map(file).collect();
    let resume =
        assignment.resume.as_ref().map(|resume| train::Resume { bytes: &resume.bytes, by: resume.by });
    let task = TrainTask { spec: &spec, pack: &pack, device, resume };
    let (on_host, on_gpu) = (HostPeak::begin(), Cell::new(None));
    match train_from(&task, &weights, &mut sink(reporter, spec.training.epochs, &on_gpu)) {
        Ok(train::TaskOutcome::Finished(finished_task)) => {
            let on_gpu = on_gpu.get().map(|bytes| bytes as u64);
            let peak_memory = if device.is_cuda() { on_gpu } else { on_host.bytes() };
            let finished = Finished { peak_memory, ..finished(&pack, *finished_task) };
            Ok(Outcome::Finished(Box::new(finished)))
        }
        Ok(train::TaskOutcome::Stopped) => Ok(Outcome::Stopped),
        Err(error @ TrainError::Checkpoint(_)) => Err(TrainingError::Refused(in_words(&error))),
        Err(error) => Err(TrainingError::Failed(in_words(&error))),
    }
}

impl LastPack {
    /// The pack of a training. Its content was verified, and it is opened only if it is not the last one.
    fn open(&self, assignment: &Assignment) -> Result<Arc<Pack>, String> {
        let digest = assignment.job.inputs.dataset.as_deref();
        let (Some(digest), Some(folder)) = (digest, &assignment.dataset) else {
            return Err("the job names no dataset".to_owned());
        };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pack) = last.as_ref().filter(|pack| pack.digest() == digest) {
            return Ok(pack.clone());
        }
        let pack = Arc::new(Pack::open(folder).map_err(|error| in_words(&error))?);
        if pack.digest() != digest {
            return Err(format!("{} is dataset {}, not {digest}", folder.display(), pack.digest()));
        }
        *last = Some(pack.clone());
        Ok(pack)
    }
}

/// The result in the terms of every trainer.
fn finished(pack: &Pack, finished: train::FinishedTask) -> Finished {
    let train::FinishedTask { epochs, best_epoch, stopped_after, validation, test, model, train_seconds } =
        finished;
    let predictions = |split: Split, rows: &[[f32; CLASSES]]| FinishedPredictions {
        probabilities: Matrix::from(rows),
        samples: pack.samples(split),
        own_samples: false,
    };
    let test = test.as_deref().map(|rows| predictions(Split::Test, rows));
    let test_score = test.as_ref().and_then(|test| vote::score(&test.probabilities, &test.samples));
    let best = epochs.iter().find(|report| report.epoch == best_epoch);
    let validation = predictions(Split::Validation, &validation);
    let splits = [(Split::Validation, Some(validation)), (Split::Test, test)];
    Finished {
        metrics: final_metrics(best, test_score.as_ref()),
        history: epochs.iter().map(EpochReport::point).collect(),
        best_epoch: Some(best_epoch),
        stopped_after,
        predictions: splits
            .into_iter()
            .filter_map(|(split, rows)| Some((split.to_string(), rows?)))
            .collect(),
        artifacts: BTreeMap::from([(MODEL.to_owned(), model)]),
        train_seconds,
        peak_memory: None,
    }
}

/// Passes the events of a training to the agent, and answers with the agent's instruction.
fn sink(
    reporter: &mut Reporter,
    epochs: u32,
    on_gpu: &Cell<Option<f64>>,
) -> impl FnMut(TrainEvent) -> Control {
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
                    Instruction::EndEarly if step < steps => Control::Checkpoint,
                    Instruction::GoOn if due && step < steps => Control::Checkpoint,
                    Instruction::EndEarly | Instruction::GoOn => Control::Continue,
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
                let point = report.point();
                let peaks = on_gpu.get().into_iter().chain(point.metrics.get(GPU_PEAK_MEMORY));
                on_gpu.set(peaks.reduce(f64::max));
                Saved { epoch: report.epoch, step: 0, report: Some(point), checkpoint: checkpoint.into() }
            }
        };
        reporter.saved_blocking(saved);
        last_checkpoint = Instant::now();
        match reporter.instruction() {
            Instruction::GoOn => Control::Continue,
            Instruction::EndEarly => Control::Finish,
            Instruction::CheckpointAndStop | Instruction::Stop => Control::Stop,
        }
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
