//! All that an exact resume needs, in one safetensors buffer.
//!
//! Tensors: `model.…` (weights, running statistics, affinity centres, under the network's own names), `exp_avg.…` and
//! `exp_avg_sq.…` (Adam), `best.…` (the weights of the best epoch) and `best_probabilities` [N, 6]. The rest is JSON
//! in the metadata. No generator state: every draw follows from counters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::expression::CLASSES;
use shared::ids::JobId;
use shared::job::{JobSpec, TRAINER_REVISION};
use shared::result::EpochReport;
use tch::{TchError, Tensor};

use super::archive::{self, Archive, Tensors};
use super::error::CheckpointError;
use super::evaluate::Probabilities;

/// Raised with every change of the layout.
const VERSION: u32 = 1;
const FORMAT: &str = "ferry-checkpoint";
const MODEL: &str = "model";
const BEST: &str = "best";
const BEST_PROBABILITIES: &str = "best_probabilities";

/// Whose training it is: a checkpoint of another is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub format: String,
    pub version: u32,
    pub job: JobId,
    pub dataset_digest: String,
    pub trainer_revision: u32,
}

impl Identity {
    pub fn new(spec: &JobSpec, dataset_digest: &str) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            job: spec.id(dataset_digest),
            dataset_digest: dataset_digest.to_owned(),
            trainer_revision: TRAINER_REVISION,
        }
    }

    fn check(&self, found: &Self) -> Result<(), CheckpointError> {
        let pairs = [
            ("format", found.format.clone(), self.format.clone()),
            ("format version", found.version.to_string(), self.version.to_string()),
            ("dataset", found.dataset_digest.clone(), self.dataset_digest.clone()),
            ("trainer revision", found.trainer_revision.to_string(), self.trainer_revision.to_string()),
            ("job", found.job.to_string(), self.job.to_string()),
        ];
        match pairs.into_iter().find(|(_, found, expected)| found != expected) {
            Some((what, found, expected)) => Err(CheckpointError::Foreign { what, found, expected }),
            None => Ok(()),
        }
    }
}

/// The best epoch so far by validation macro F1 (ties: the earliest).
#[derive(Debug)]
pub struct Best {
    pub epoch: u32,
    pub weights: Tensors,
    /// Of the validation split.
    pub probabilities: Probabilities,
}

/// A training between two epochs.
#[derive(Debug)]
pub struct Checkpoint {
    pub weights: Tensors,
    pub moments: Tensors,
    pub optimizer_steps: u64,
    /// Of the epoch to come.
    pub learning_rate: f64,
    /// One for each finished epoch.
    pub reports: Vec<EpochReport>,
    pub best: Best,
}

/// Names and shapes of the tensors of one job's checkpoint.
#[derive(Debug)]
pub struct Layout {
    pub weights: BTreeMap<String, Vec<i64>>,
    pub moments: BTreeMap<String, Vec<i64>>,
    /// Validation samples.
    pub samples: usize,
}

#[derive(Serialize, Deserialize)]
struct State {
    identity: Identity,
    epoch: u32,
    optimizer_steps: u64,
    /// The bits of the f64: a decimal text might lose the last.
    learning_rate_bits: u64,
    best_epoch: u32,
    reports: Vec<EpochReport>,
}

impl Checkpoint {
    /// The bytes to keep.
    pub fn write(&self, identity: &Identity) -> Result<Vec<u8>, CheckpointError> {
        let state = State {
            identity: identity.clone(),
            epoch: self.reports.len() as u32,
            optimizer_steps: self.optimizer_steps,
            learning_rate_bits: self.learning_rate.to_bits(),
            best_epoch: self.best.epoch,
            reports: self.reports.clone(),
        };
        let mut tensors = Tensors::new();
        tensors.extend(under(MODEL, &self.weights));
        tensors.extend(under(BEST, &self.best.weights));
        tensors.extend(self.moments.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())));
        tensors.insert(BEST_PROBABILITIES.to_owned(), matrix(&self.best.probabilities).map_err(torch)?);
        let facts = serde_json::from_value(serde_json::to_value(&state)?)?;
        Ok(archive::write(&tensors, facts)?)
    }

    /// Reads what [`Self::write`] wrote for the same identity and layout; anything else is an error.
    pub fn read(bytes: &[u8], identity: &Identity, layout: &Layout) -> Result<Self, CheckpointError> {
        let archive = Archive::open(bytes)?;
        let facts = Value::Object(archive.facts().clone());
        // The identity first: a checkpoint of another job differs in its tensors too, which says less.
        let whose: Whose = serde_json::from_value(facts.clone())?;
        identity.check(&whose.identity)?;
        let state: State = serde_json::from_value(facts)?;
        state.check()?;

        let mut shapes = layout.moments.clone();
        for part in [MODEL, BEST] {
            let named = layout.weights.iter().map(|(name, shape)| (format!("{part}.{name}"), shape.clone()));
            shapes.extend(named);
        }
        shapes.insert(BEST_PROBABILITIES.to_owned(), vec![layout.samples as i64, CLASSES as i64]);
        let mut tensors = archive.read(&shapes)?;
        let probabilities =
            tensors.remove(BEST_PROBABILITIES).map_or(Ok(Vec::new()), |m| rows(&m)).map_err(torch)?;
        let weights = take(&mut tensors, MODEL);
        let best = Best { epoch: state.best_epoch, weights: take(&mut tensors, BEST), probabilities };
        Ok(Self {
            weights,
            moments: tensors,
            optimizer_steps: state.optimizer_steps,
            learning_rate: f64::from_bits(state.learning_rate_bits),
            reports: state.reports,
            best,
        })
    }
}

#[derive(Deserialize)]
struct Whose {
    identity: Identity,
}

impl State {
    fn check(&self) -> Result<(), CheckpointError> {
        let numbered = self.reports.iter().map(|report| report.epoch).eq(1..=self.epoch);
        let rate = f64::from_bits(self.learning_rate_bits);
        if !numbered || self.epoch == 0 {
            return Err(CheckpointError::Inconsistent(format!(
                "its reports are not epochs 1 to {}",
                self.epoch
            )));
        }
        if !(1..=self.epoch).contains(&self.best_epoch) {
            return Err(CheckpointError::Inconsistent(format!(
                "epoch {} cannot be its best",
                self.best_epoch
            )));
        }
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(CheckpointError::Inconsistent(format!("its learning rate is {rate}")));
        }
        Ok(())
    }
}

fn under<'a>(part: &'a str, tensors: &'a Tensors) -> impl Iterator<Item = (String, Tensor)> + 'a {
    tensors.iter().map(move |(name, tensor)| (format!("{part}.{name}"), tensor.shallow_clone()))
}

fn take(tensors: &mut Tensors, part: &str) -> Tensors {
    let prefix = format!("{part}.");
    let (own, rest) =
        std::mem::take(tensors).into_iter().partition::<Vec<_>, _>(|(name, _)| name.starts_with(&prefix));
    *tensors = rest.into_iter().collect();
    own.into_iter().map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor)).collect()
}

fn matrix(probabilities: &[[f32; CLASSES]]) -> Result<Tensor, TchError> {
    Tensor::f_from_slice(probabilities.as_flattened())?
        .f_reshape([probabilities.len() as i64, CLASSES as i64])
}

fn rows(matrix: &Tensor) -> Result<Probabilities, TchError> {
    let values = Vec::<f32>::try_from(matrix.f_reshape([-1])?)?;
    Ok(values.chunks_exact(CLASSES).map(|row| std::array::from_fn(|class| row[class])).collect())
}

fn torch(error: TchError) -> CheckpointError {
    CheckpointError::Archive(error.into())
}
