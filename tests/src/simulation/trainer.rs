//! Trainings without a network: an epoch is some virtual seconds, its weights are the digest of the weights before.
//!
//! A training that goes on from the wrong bytes, skips an epoch or repeats one ends with other weights.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::expression::CLASSES;
use shared::job::JobSpec;
use shared::metrics::Confusion;
use shared::pack::Split;
use shared::result::{DeviceRecord, EpochReport, LossTerms, MemoryUse, Score};
use worker::agent::{Assignment, Report, Reporter, Trainer, Training};
use worker::train::{Finished, Outcome};

use super::history::Script;
use super::process::Process;

/// Steps of an epoch: a request to stop is seen between two.
const STEPS: u32 = 4;

/// What the trainings of a history did, by the seed of the job's settings.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Mutex<BTreeMap<u64, Spent>>,
}

/// What one job's trainings did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) time: Duration,
    pub(super) failures: u32,
}

impl Ledger {
    pub(super) fn of(&self, job: u64) -> Spent {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(&job).copied().unwrap_or_default()
    }

    fn add(&self, job: u64, change: impl FnOnce(&mut Spent)) {
        change(self.entries.lock().unwrap_or_else(PoisonError::into_inner).entry(job).or_default());
    }
}

/// Trains in one simulated process.
pub(super) struct Simulated {
    pub(super) process: Process,
    pub(super) scripts: Arc<BTreeMap<u64, Script>>,
    pub(super) ledger: Arc<Ledger>,
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
        let (training, reporter) = Training::of(assignment.spec.training.epochs);
        let script = self.scripts[&assignment.spec.training.seed];
        let (process, ledger) = (self.process.clone(), self.ledger.clone());
        tokio::spawn(async move {
            process.run(train(&assignment, script, &ledger, &reporter)).await;
        });
        Ok(training)
    }
}

/// The state after an epoch, which is also its checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    weights: String,
    epochs: Vec<EpochReport>,
}

impl State {
    fn fresh(spec: &JobSpec) -> Self {
        Self { weights: digest(&[&spec.training.seed.to_le_bytes()]), epochs: Vec::new() }
    }

    fn epoch(&self) -> u32 {
        self.epochs.len() as u32
    }

    fn after_next_epoch(&self, spec: &JobSpec, script: Script) -> Self {
        let epoch = self.epoch() + 1;
        let weights =
            digest(&[self.weights.as_bytes(), &epoch.to_le_bytes(), &spec.training.seed.to_le_bytes()]);
        let hits = u64::from(weights.as_bytes()[0]);
        let score = Score::from(Confusion::from_pairs((0..hits).map(|i| (i as usize % CLASSES, 0))));
        let mut epochs = self.epochs.clone();
        epochs.push(EpochReport {
            epoch,
            learning_rate: spec.training.learning_rate,
            losses: LossTerms::default(),
            validation: score,
            seconds: script.epoch.as_secs_f64(),
            memory: MemoryUse::default(),
        });
        Self { weights, epochs }
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

/// What a training that nothing ever disturbed ends with.
pub(super) fn undisturbed(spec: &JobSpec, script: Script, samples: [usize; 2]) -> Finished {
    let mut state = State::fresh(spec);
    for _ in 0..spec.training.epochs {
        state = state.after_next_epoch(spec, script);
    }
    state.finished(samples)
}

/// What a training that fails says.
pub(super) const FAILURE: &str = "the loss is not finite";

async fn train(assignment: &Assignment, script: Script, ledger: &Ledger, reporter: &Reporter) {
    let ended = epochs(assignment, script, ledger, reporter).await;
    reporter.say(Report::Ended(ended)).await;
}

async fn epochs(
    Assignment { spec, pack, resume, weights: _ }: &Assignment,
    script: Script,
    ledger: &Ledger,
    reporter: &Reporter,
) -> Result<Outcome, String> {
    let job = spec.training.seed;
    let mut state = match resume {
        Some(bytes) => serde_json::from_slice(bytes).map_err(|error| format!("checkpoint: {error}"))?,
        None => State::fresh(spec),
    };
    while state.epoch() < spec.training.epochs {
        for _ in 0..STEPS {
            tokio::time::sleep(script.epoch / STEPS).await;
            ledger.add(job, |spent| spent.time += script.epoch / STEPS);
            if reporter.is_stopped() {
                return Ok(Outcome::Stopped);
            }
        }
        state = state.after_next_epoch(spec, script);
        if ledger.of(job).failures < script.failures && state.epoch() == spec.training.epochs.min(2) {
            ledger.add(job, |spent| spent.failures += 1);
            return Err(FAILURE.to_owned());
        }
        let checkpoint = serde_json::to_vec(&state).map_err(|error| error.to_string())?;
        let report = state.epochs.last().cloned().ok_or("an epoch has a report")?;
        reporter.say(Report::Epoch(Box::new((report, Bytes::from(checkpoint))))).await;
        if reporter.is_stopped() {
            return Ok(Outcome::Stopped);
        }
    }
    let samples = [Split::Validation, Split::Test].map(|split| pack.len(split));
    Ok(Outcome::Finished(Box::new(state.finished(samples))))
}
