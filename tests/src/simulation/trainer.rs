//! Trainings without a network. An epoch takes virtual seconds, and its weights are a digest of the weights before it.
//!
//! So a training that continues from the wrong bytes, skips an epoch or repeats one ends with other weights.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::device::DeviceRecord;
use shared::job::{Job, TrainerId};
use shared::metrics::{Metrics, Point};
use shared::predictions::{Matrix, SampleList};
use shared::result::{MODEL, TEST, VALIDATION};
use tokio::time::Instant;
use worker::agent::{
    Assignment, Finished, FinishedPredictions, Instruction, Outcome, Reporter, Saved, StepProgress, Trainer,
    Training, TrainingError,
};

use super::history::{Bad, Script};
use super::process::Process;
use super::sweep::Spec;
use crate::in_process::{self, SCORE};

/// Steps in an epoch; a training notices a request to stop after each.
pub(super) const STEPS: u32 = 4;

/// Totals over the trainings of each job in a history, by the seed in the job's settings.
#[derive(Debug, Default)]
pub(super) struct TrainingLog {
    entries: Mutex<BTreeMap<u64, Totals>>,
}

/// Totals over the trainings of one job.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) time: Duration,
    pub(super) failures: u32,
    /// Number of trainings, including those that refused their checkpoint.
    pub(super) starts: u32,
    /// An unusable checkpoint was reported.
    pub(super) torn: bool,
    /// Failures caused by a bad worker.
    pub(super) device_failures: u32,
}

impl TrainingLog {
    pub(super) fn of(&self, job: u64) -> Totals {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(&job).copied().unwrap_or_default()
    }

    fn add(&self, job: u64, change: impl FnOnce(&mut Totals)) {
        change(self.entries.lock().unwrap_or_else(PoisonError::into_inner).entry(job).or_default());
    }
}

/// Trains in one simulated process.
pub(super) struct Simulated {
    pub(super) trainer: TrainerId,
    pub(super) process: Process,
    pub(super) scripts: Arc<BTreeMap<u64, Script>>,
    pub(super) training_log: Arc<TrainingLog>,
    pub(super) bad: Option<Bad>,
}

impl Trainer for Simulated {
    fn id(&self) -> TrainerId {
        self.trainer.clone()
    }

    fn device(&self) -> String {
        "cpu (simulated)".to_owned()
    }

    fn record(&self, _job: &Job, host: &str) -> DeviceRecord {
        in_process::device(host)
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        assert_eq!(assignment.job.trainer, self.trainer, "a job of another trainer");
        let (training, reporter) = Training::of(&assignment);
        let spec = Spec::of(&assignment.job)?;
        let script = self.scripts[&spec.seed];
        let (process, training_log, bad) =
            (self.process.clone(), self.training_log.clone(), self.bad.is_some());
        tokio::spawn(async move {
            let context = Context { spec, script, bad, training_log: &training_log };
            process.run(train(&assignment, context, reporter)).await;
        });
        Ok(training)
    }

    fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
        let verdict = match self.bad {
            Some(Bad::SelfTest) => Err("the self-test failed".to_owned()),
            Some(Bad::Trainings) | None => Ok(()),
        };
        Box::pin(std::future::ready(verdict))
    }
}

/// The state after a step, which is also its checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    weights: String,
    /// The weights after the last finished epoch, with which a training ends.
    kept: String,
    /// Finished steps of the current epoch.
    step: u32,
    history: Vec<Point>,
}

impl State {
    fn fresh(spec: Spec) -> Self {
        let weights = digest(&[&spec.seed.to_le_bytes()]);
        Self { kept: weights.clone(), weights, step: 0, history: Vec::new() }
    }

    fn epoch(&self) -> u32 {
        self.history.len() as u32
    }

    fn take_step(&mut self, spec: Spec) {
        let place = [self.epoch(), self.step].map(u32::to_le_bytes).concat();
        self.weights = digest(&[self.weights.as_bytes(), &place, &spec.seed.to_le_bytes()]);
        self.step += 1;
    }

    fn end_epoch(&mut self, script: Script) -> Point {
        let score = f64::from(self.weights.as_bytes()[0]) / 3.0;
        let point = Point {
            epoch: self.epoch() + 1,
            step: 0,
            seconds: script.epoch.as_secs_f64(),
            metrics: Metrics::default().with(SCORE, score),
        };
        self.step = 0;
        self.kept.clone_from(&self.weights);
        self.history.push(point.clone());
        point
    }

    fn bytes(&self) -> Bytes {
        match serde_json::to_vec(self) {
            Ok(bytes) => bytes.into(),
            Err(error) => panic!("plain data always becomes JSON: {error}"),
        }
    }

    /// The first epoch with the highest score.
    fn best(&self) -> Option<&Point> {
        let score = |point: &&Point| point.metrics.get(SCORE).unwrap_or_default();
        self.history.iter().rev().max_by(|one, other| score(one).total_cmp(&score(other)))
    }

    /// The result. Jobs differ in what they hand in: one in three has no predictions, one in three has two sets of them,
    /// and every second one chooses no best epoch.
    fn finished(self, spec: Spec) -> Finished {
        let best = self.best().filter(|_| spec.seed.is_multiple_of(2));
        let names = [VALIDATION, TEST].into_iter().take((spec.seed % 3) as usize);
        Finished {
            metrics: best.or(self.history.last()).map(|point| point.metrics.clone()).unwrap_or_default(),
            best_epoch: best.map(|point| point.epoch),
            stopped_after: (self.epoch() < spec.epochs).then_some(self.epoch()),
            predictions: names.map(|name| (name.to_owned(), self.predictions(name))).collect(),
            artifacts: [(MODEL.to_owned(), self.kept.clone().into_bytes())].into(),
            train_seconds: self.history.iter().map(|point| point.seconds).sum(),
            history: self.history,
            peak_memory: Some(1000 + spec.seed),
        }
    }

    /// Predictions over samples of their own, which follow from the weights. One label in three is not known.
    fn predictions(&self, name: &str) -> FinishedPredictions {
        let classes = 4;
        let values = self.kept.bytes().map(|byte| f32::from(byte) / 1000.0).collect();
        let Some(probabilities) = Matrix::new(classes, values) else {
            panic!("a digest is a whole number of rows");
        };
        let rows = 0..probabilities.len() as u32;
        let samples = SampleList {
            ids: rows.clone().map(|row| format!("{name}-{row}")).collect(),
            labels: rows.map(|row| (row % 3 > 0).then_some(row % classes as u32)).collect(),
        };
        FinishedPredictions { probabilities, samples, own_samples: true }
    }
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// The result of a training without faults that ends after `epochs` epochs.
pub(super) fn undisturbed(spec: Spec, script: Script, epochs: u32) -> Finished {
    let mut state = State::fresh(spec);
    for _ in 0..epochs {
        (0..STEPS).for_each(|_| state.take_step(spec));
        state.end_epoch(script);
    }
    state.finished(spec)
}

/// The error of a training that fails.
pub(super) const FAILURE: &str = "the loss is not finite";

/// The error of every training on a bad worker.
pub(super) const DEVICE_FAILURE: &str = "the device is lost";

/// The weights of a training on another kind of device.
pub(super) fn other_weights(model: &[u8]) -> Vec<u8> {
    [model, b" nondeterministic"].concat()
}

/// Everything that a simulated training needs.
#[derive(Clone, Copy)]
struct Context<'a> {
    spec: Spec,
    script: Script,
    /// Whether the worker is bad.
    bad: bool,
    training_log: &'a TrainingLog,
}

impl Context<'_> {
    fn note(&self, change: impl FnOnce(&mut Totals)) {
        self.training_log.add(self.spec.seed, change);
    }

    fn spent(&self) -> Totals {
        self.training_log.of(self.spec.seed)
    }
}

async fn train(assignment: &Assignment, context: Context<'_>, mut reporter: Reporter) {
    let ended = epochs(assignment, context, &mut reporter).await;
    reporter.ended(ended).await;
}

async fn epochs(
    Assignment { resume, .. }: &Assignment,
    context: Context<'_>,
    reporter: &mut Reporter,
) -> Result<Outcome, TrainingError> {
    let Context { spec, script, .. } = context;
    context.note(|spent| spent.starts += 1);
    let differs = script.nondeterministic && context.spent().starts > 1;
    let mut state = match resume.as_ref().map(|resume| serde_json::from_slice(&resume.bytes)) {
        Some(Ok(state)) => state,
        Some(Err(error)) => return Err(TrainingError::Refused(error.to_string())),
        None => State::fresh(spec),
    };
    reporter.begin(spec.epochs, state.epoch());
    while state.epoch() < spec.epochs {
        match steps(context, reporter, &mut state).await? {
            Then::GoOn => {}
            Then::Stop => return Ok(Outcome::Stopped),
            Then::End => break,
        }
        let report = state.end_epoch(script);
        if context.spent().failures < script.failures && state.epoch() == spec.epochs.min(2) {
            context.note(|spent| spent.failures += 1);
            return Err(TrainingError::Failed(FAILURE.to_owned()));
        }
        save(context, reporter, &state, Some(report)).await;
        match reporter.instruction() {
            Instruction::GoOn => {}
            Instruction::EndEarly => break,
            Instruction::CheckpointAndStop | Instruction::Stop => return Ok(Outcome::Stopped),
        }
    }
    let mut finished = state.finished(spec);
    if differs {
        finished.artifacts.values_mut().for_each(|model| *model = other_weights(model));
    }
    Ok(Outcome::Finished(Box::new(finished)))
}

/// What a training does after the steps of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Stop,
    /// End with the result of the epochs so far.
    End,
}

/// The remaining steps of an epoch.
async fn steps(
    context: Context<'_>,
    reporter: &mut Reporter,
    state: &mut State,
) -> Result<Then, TrainingError> {
    let Context { spec: spec @ Spec { seed, epochs }, script, bad, .. } = context;
    let mut last_checkpoint = Instant::now();
    while state.step < STEPS {
        tokio::time::sleep(script.epoch / STEPS).await;
        context.note(|spent| spent.time += script.epoch / STEPS);
        // Every second job fails only after an epoch, so that it makes progress even on the bad worker.
        if bad && (seed.is_multiple_of(2) || state.epoch() > 0 || epochs == 1) {
            context.note(|spent| spent.device_failures += 1);
            return Err(TrainingError::Failed(DEVICE_FAILURE.to_owned()));
        }
        state.take_step(spec);
        reporter.at(StepProgress { epoch: state.epoch() + 1, epochs, step: state.step, steps: STEPS });
        let due = reporter.is_checkpoint_due(last_checkpoint.elapsed()) && state.step < STEPS;
        match reporter.instruction() {
            Instruction::Stop => return Ok(Then::Stop),
            Instruction::CheckpointAndStop => {
                save(context, reporter, state, None).await;
                return Ok(Then::Stop);
            }
            Instruction::EndEarly => {
                if state.step < STEPS {
                    save(context, reporter, state, None).await;
                    return Ok(Then::End);
                }
            }
            Instruction::GoOn if due => {
                save(context, reporter, state, None).await;
                last_checkpoint = Instant::now();
            }
            Instruction::GoOn => {}
        }
    }
    Ok(Then::GoOn)
}

async fn save(context: Context<'_>, reporter: &mut Reporter, state: &State, report: Option<Point>) {
    let torn = context.script.torn == Some(state.epoch()) && !context.spent().torn;
    if torn {
        context.note(|spent| spent.torn = true);
    }
    let checkpoint = if torn { Bytes::from_static(b"torn") } else { state.bytes() };
    reporter.saved(Saved { epoch: state.epoch(), step: state.step, report, checkpoint }).await;
}
