//! Trains nothing: it waits, fails and reports as the job's settings say. It runs on the async runtime.
//!
//! This is the shortest trainer there can be. Whoever adds another kind can begin here.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use shared::device::DeviceRecord;
use shared::empty::{EmptySpec, SCORE};
use shared::ids::JobId;
use shared::job::{Job, TrainerId};
use shared::metrics::{Metrics, Point};
use shared::predictions::{Matrix, SampleList};
use shared::result::{TEST, VALIDATION};
use shared::rng::{Purpose, Stream};
use tch::Device;
use tokio::time::Instant;
use tracing::Instrument;

use crate::agent::{
    Assignment, Finished, FinishedPredictions, Instruction, Outcome, Reporter, Resume, Saved, StepProgress,
    Trainer, Training, TrainingError,
};
use crate::device;

/// How long a request to stop may go unnoticed.
const LOOK: Duration = Duration::from_millis(50);

/// The empty trainer.
#[derive(Debug, Clone, Copy)]
pub struct EmptyTrainer;

impl Trainer for EmptyTrainer {
    fn id(&self) -> TrainerId {
        shared::empty::trainer()
    }

    fn device(&self) -> String {
        device::described(Device::Cpu)
    }

    fn record(&self, _job: &Job, host: &str) -> DeviceRecord {
        device::record(Device::Cpu, 1, host)
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        let (training, mut reporter) = Training::of(&assignment);
        let until_its_end = async move {
            let ended = train(&assignment, &mut reporter).await;
            reporter.ended(ended).await;
        };
        tokio::spawn(until_its_end.in_current_span());
        Ok(training)
    }

    fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// All that a training needs to continue.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    job: JobId,
    /// Finished epochs.
    epoch: u32,
}

async fn train(assignment: &Assignment, reporter: &mut Reporter) -> Result<Outcome, TrainingError> {
    let spec = EmptySpec::of(&assignment.job.settings);
    let spec = spec.map_err(|error| TrainingError::Failed(error.to_string()))?;
    let done = resumed(assignment, &spec).map_err(TrainingError::Refused)?;
    reporter.begin(spec.epochs, done);
    for epoch in done + 1..=spec.epochs {
        // The last checkpoint is all there is to save.
        match wait(Duration::from_millis(spec.epoch_ms.into()), reporter).await {
            Instruction::GoOn => {}
            Instruction::EndEarly => return Ok(Outcome::Finished(Box::new(finished(&spec, epoch - 1)))),
            Instruction::CheckpointAndStop | Instruction::Stop => return Ok(Outcome::Stopped),
        }
        if spec.fail_in_epoch == Some(epoch) {
            return Err(TrainingError::Failed(format!("failed in epoch {epoch}, as `fail_in_epoch` asks")));
        }
        reporter.at(StepProgress { epoch, epochs: spec.epochs, step: 1, steps: 1 });
        reporter.log(format!("epoch {epoch} of {} done", spec.epochs));
        let checkpoint = serde_json::json!(Checkpoint { job: assignment.id, epoch }).to_string().into();
        reporter.saved(Saved { epoch, step: 0, report: Some(point(&spec, epoch)), checkpoint }).await;
    }
    Ok(Outcome::Finished(Box::new(finished(&spec, spec.epochs))))
}

/// Finished epochs in the checkpoint; 0 if there is none.
fn resumed(assignment: &Assignment, spec: &EmptySpec) -> Result<u32, String> {
    let Some(Resume { bytes, by }) = &assignment.resume else { return Ok(0) };
    let Checkpoint { job, epoch } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if job != *by || epoch > spec.epochs {
        return Err(format!("it is of job {job} after epoch {epoch}"));
    }
    Ok(epoch)
}

/// Waits, or returns earlier with what else to do.
async fn wait(time: Duration, reporter: &Reporter) -> Instruction {
    let end = Instant::now() + time;
    loop {
        let (instruction, left) = (reporter.instruction(), end.saturating_duration_since(Instant::now()));
        if instruction != Instruction::GoOn || left.is_zero() {
            return instruction;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

fn point(spec: &EmptySpec, epoch: u32) -> Point {
    Point { epoch, step: 0, seconds: f64::from(spec.epoch_ms) / 1000.0, metrics: score(spec, epoch) }
}

fn score(spec: &EmptySpec, epoch: u32) -> Metrics {
    Metrics::default().with(SCORE, spec.gain * f64::from(epoch))
}

/// The result after `epochs` epochs, which depends on the settings alone.
fn finished(spec: &EmptySpec, epochs: u32) -> Finished {
    let splits = [VALIDATION, TEST].into_iter().filter_map(|split| {
        let values = spec.samples as usize * spec.classes as usize;
        let mut draws = Stream::new(spec.seed, Purpose::Simulation, &[(split == TEST).into()]);
        let probabilities = (0..values).map(|_| draws.uniform() as f32).collect();
        let samples = SampleList {
            ids: (0..spec.samples).map(|sample| format!("{split}-{sample}")).collect(),
            labels: (0..spec.samples).map(|sample| Some(sample % spec.classes)).collect(),
        };
        let probabilities = Matrix::new(spec.classes as usize, probabilities)?;
        Some((split.to_owned(), FinishedPredictions { probabilities, samples, own_samples: true }))
    });
    let predictions = if spec.classes > 0 { splits.collect() } else { BTreeMap::new() };
    Finished {
        metrics: score(spec, epochs),
        history: (1..=epochs).map(|epoch| point(spec, epoch)).collect(),
        stopped_after: (epochs < spec.epochs).then_some(epochs),
        predictions,
        train_seconds: f64::from(epochs) * f64::from(spec.epoch_ms) / 1000.0,
        ..Finished::default()
    }
}
