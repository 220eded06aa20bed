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
use shared::expression::CLASSES;
use shared::job::JobSpec;
use shared::metrics::Confusion;
use shared::pack::Split;
use shared::result::{DeviceRecord, EpochReport, LossTerms, MemoryUse, Score};
use tokio::time::Instant;
use worker::agent::{
    Assignment, Instruction, Reporter, Saved, StepProgress, Trainer, Training, TrainingError,
};
use worker::train::{Control, Finished, Outcome};

use super::history::{Bad, Script};
use super::process::Process;

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
    pub(super) process: Process,
    pub(super) scripts: Arc<BTreeMap<u64, Script>>,
    pub(super) training_log: Arc<TrainingLog>,
    pub(super) bad: Option<Bad>,
}

impl Trainer for Simulated {
    fn record(&self, threads: u32, host: &str) -> DeviceRecord {
        DeviceRecord {
            device: "cpu".to_owned(),
            model: "simulated".to_owned(),
            memory: None,
            uuid: None,
            cpu_capability: "none".to_owned(),
            threads,
            host: host.to_owned(),
        }
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        let (training, reporter) = Training::of(&assignment);
        let script = self.scripts[&assignment.spec.training.seed];
        let (process, training_log, bad) =
            (self.process.clone(), self.training_log.clone(), self.bad.is_some());
        tokio::spawn(async move {
            let context = Context { spec: &assignment.spec, script, bad, training_log: &training_log };
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
    /// Finished steps of the current epoch.
    step: u32,
    epochs: Vec<EpochReport>,
}

impl State {
    fn fresh(spec: &JobSpec) -> Self {
        Self { weights: digest(&[&spec.training.seed.to_le_bytes()]), step: 0, epochs: Vec::new() }
    }

    fn epoch(&self) -> u32 {
        self.epochs.len() as u32
    }

    fn take_step(&mut self, spec: &JobSpec) {
        let place = [self.epoch(), self.step].map(u32::to_le_bytes).concat();
        self.weights = digest(&[self.weights.as_bytes(), &place, &spec.training.seed.to_le_bytes()]);
        self.step += 1;
    }

    fn end_epoch(&mut self, spec: &JobSpec, script: Script) -> EpochReport {
        let hits = u64::from(self.weights.as_bytes()[0]);
        let report = EpochReport {
            epoch: self.epoch() + 1,
            learning_rate: spec.training.learning_rate,
            losses: LossTerms::default(),
            validation: Score::from(Confusion::from_pairs((0..hits).map(|i| (i as usize % CLASSES, 0)))),
            seconds: script.epoch.as_secs_f64(),
            memory: MemoryUse::default(),
        };
        self.step = 0;
        self.epochs.push(report.clone());
        report
    }

    fn bytes(&self) -> Bytes {
        match serde_json::to_vec(self) {
            Ok(bytes) => bytes.into(),
            Err(error) => panic!("plain data always becomes JSON: {error}"),
        }
    }

    fn finished(self, samples: [usize; 2]) -> Finished {
        let rows = |count: usize| {
            let row = std::array::from_fn(|class| f32::from(self.weights.as_bytes()[class]) / 1000.0);
            vec![row; count]
        };
        let [validation, test] = samples.map(rows);
        Finished {
            best_epoch: self.epoch(),
            validation,
            test: Some(test),
            model: self.weights.into_bytes(),
            train_seconds: self.epochs.iter().map(|epoch| epoch.seconds).sum(),
            epochs: self.epochs,
        }
    }
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// The result of a training without faults.
pub(super) fn undisturbed(spec: &JobSpec, script: Script, samples: [usize; 2]) -> Finished {
    let mut state = State::fresh(spec);
    for _ in 0..spec.training.epochs {
        (0..STEPS).for_each(|_| state.take_step(spec));
        state.end_epoch(spec, script);
    }
    state.finished(samples)
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
    spec: &'a JobSpec,
    script: Script,
    /// Whether the worker is bad.
    bad: bool,
    training_log: &'a TrainingLog,
}

impl Context<'_> {
    fn note(&self, change: impl FnOnce(&mut Totals)) {
        self.training_log.add(self.spec.training.seed, change);
    }

    fn spent(&self) -> Totals {
        self.training_log.of(self.spec.training.seed)
    }
}

async fn train(assignment: &Assignment, context: Context<'_>, mut reporter: Reporter) {
    let ended = epochs(assignment, context, &mut reporter).await;
    reporter.ended(ended).await;
}

async fn epochs(
    Assignment { pack, resume, .. }: &Assignment,
    context: Context<'_>,
    reporter: &mut Reporter,
) -> Result<Outcome, TrainingError> {
    let Context { spec, script, .. } = context;
    context.note(|spent| spent.starts += 1);
    let differs = script.nondeterministic && context.spent().starts > 1;
    let mut state = match resume.as_deref().map(serde_json::from_slice) {
        Some(Ok(state)) => state,
        Some(Err(error)) => return Err(TrainingError::Refused(error.to_string())),
        None => State::fresh(spec),
    };
    while state.epoch() < spec.training.epochs {
        if steps(context, reporter, &mut state).await? == Control::Stop {
            return Ok(Outcome::Stopped);
        }
        let report = state.end_epoch(spec, script);
        if context.spent().failures < script.failures && state.epoch() == spec.training.epochs.min(2) {
            context.note(|spent| spent.failures += 1);
            return Err(TrainingError::Failed(FAILURE.to_owned()));
        }
        save(context, reporter, &state, Some(report)).await;
        if reporter.instruction() != Instruction::GoOn {
            return Ok(Outcome::Stopped);
        }
    }
    let samples = [Split::Validation, Split::Test].map(|split| pack.len(split));
    let mut finished = state.finished(samples);
    if differs {
        finished.model = other_weights(&finished.model);
    }
    Ok(Outcome::Finished(Box::new(finished)))
}

/// The remaining steps of an epoch.
async fn steps(
    context: Context<'_>,
    reporter: &mut Reporter,
    state: &mut State,
) -> Result<Control, TrainingError> {
    let Context { spec, script, bad, .. } = context;
    let (job, epochs) = (spec.training.seed, spec.training.epochs);
    let mut last_checkpoint = Instant::now();
    while state.step < STEPS {
        tokio::time::sleep(script.epoch / STEPS).await;
        context.note(|spent| spent.time += script.epoch / STEPS);
        // Every second job fails only after an epoch, so that it makes progress even on the bad worker.
        if bad && (job.is_multiple_of(2) || state.epoch() > 0 || epochs == 1) {
            context.note(|spent| spent.device_failures += 1);
            return Err(TrainingError::Failed(DEVICE_FAILURE.to_owned()));
        }
        state.take_step(spec);
        reporter.at(StepProgress { epoch: state.epoch() + 1, epochs, step: state.step, steps: STEPS });
        let due = reporter.is_checkpoint_due(last_checkpoint.elapsed()) && state.step < STEPS;
        match reporter.instruction() {
            Instruction::Stop => return Ok(Control::Stop),
            Instruction::CheckpointAndStop => {
                save(context, reporter, state, None).await;
                return Ok(Control::Stop);
            }
            Instruction::GoOn if due => {
                save(context, reporter, state, None).await;
                last_checkpoint = Instant::now();
            }
            Instruction::GoOn => {}
        }
    }
    Ok(Control::Continue)
}

async fn save(context: Context<'_>, reporter: &mut Reporter, state: &State, report: Option<EpochReport>) {
    let torn = context.script.torn == Some(state.epoch()) && !context.spent().torn;
    if torn {
        context.note(|spent| spent.torn = true);
    }
    let checkpoint = if torn { Bytes::from_static(b"torn") } else { state.bytes() };
    reporter.saved(Saved { epoch: state.epoch(), step: state.step, report, checkpoint }).await;
}
