//! Everything that an exact resume needs, in one safetensors buffer.
//!
//! Tensors: `model.…` (weights, running statistics, affinity centres, under the network's own names), `exp_avg.…` and
//! `exp_avg_sq.…` (Adam), `best.…` (the weights of the best epoch) and `best_probabilities` [N, 6]. The rest is JSON
//! in the metadata. There is no random state, since every draw follows from counters. A checkpoint within an epoch also
//! holds the number of finished steps and their summed losses. Before the end of the first epoch there is no best epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::expression::CLASSES;
use shared::ids::JobId;
use shared::mtl::report::EpochReport;
use shared::mtl::{MtlSpec, REVISION};
use tch::{TchError, Tensor};

use crate::archive::{self, Archive, Tensors};

use super::error::CheckpointError;
use super::evaluate::Probabilities;
use super::terms::TERMS;

/// Raised with every change of the layout. Version 2 allows checkpoints within an epoch; version 1 is between epochs.
const VERSION: u32 = 2;
const OLDEST: u32 = 1;
const FORMAT: &str = "ferry-checkpoint";
const MODEL: &str = "model";
const BEST: &str = "best";
const BEST_PROBABILITIES: &str = "best_probabilities";

/// Which training a checkpoint belongs to. The checkpoint of another training is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub format: String,
    pub version: u32,
    pub job: JobId,
    pub dataset_digest: String,
    pub trainer_revision: u32,
}

impl Identity {
    pub fn new(spec: &MtlSpec, dataset_digest: &str) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            job: spec.id(dataset_digest),
            dataset_digest: dataset_digest.to_owned(),
            trainer_revision: REVISION,
        }
    }

    fn check(&self, found: &Self) -> Result<(), CheckpointError> {
        // Older versions that can still be read are accepted.
        let version = if (OLDEST..VERSION).contains(&found.version) { VERSION } else { found.version };
        let pairs = [
            ("format", found.format.clone(), self.format.clone()),
            ("format version", version.to_string(), self.version.to_string()),
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

/// The best epoch so far by validation macro F1; the earliest of those with equal scores.
#[derive(Debug)]
pub struct Best {
    pub epoch: u32,
    pub weights: Tensors,
    /// On the validation split.
    pub probabilities: Probabilities,
}

/// The progress of an unfinished epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Partial {
    /// Finished steps.
    pub step: u32,
    /// Samples in those steps.
    pub samples: u64,
    /// Each loss term summed over those samples.
    pub sums: [f64; TERMS],
    /// Wall time so far.
    pub seconds: f64,
    /// The largest number of micro-batches into which a batch was split; 1 if none was.
    pub micro_batches: u32,
}

/// A training between two steps.
#[derive(Debug)]
pub struct Checkpoint {
    pub weights: Tensors,
    pub moments: Tensors,
    pub optimizer_steps: u64,
    /// Of the epoch that comes next, or that is unfinished.
    pub learning_rate: f64,
    /// One report for each finished epoch.
    pub reports: Vec<EpochReport>,
    /// `None` before the first epoch is finished.
    pub best: Option<Best>,
    /// `None` between two epochs.
    pub partial: Option<Partial>,
}

/// Names and shapes of the tensors in the checkpoints of one job.
#[derive(Debug)]
pub struct Layout {
    pub weights: BTreeMap<String, Vec<i64>>,
    pub moments: BTreeMap<String, Vec<i64>>,
    /// Number of validation samples.
    pub samples: usize,
}

#[derive(Serialize, Deserialize)]
struct State {
    identity: Identity,
    epoch: u32,
    optimizer_steps: u64,
    /// The bits of the f64, since decimal text might lose the last one.
    learning_rate_bits: u64,
    best_epoch: Option<u32>,
    reports: Vec<EpochReport>,
    #[serde(default)]
    partial: Option<StoredPartial>,
}

#[derive(Serialize, Deserialize)]
struct StoredPartial {
    step: u32,
    samples: u64,
    sums_bits: [u64; TERMS],
    seconds: f64,
    micro_batches: u32,
}

impl From<&Partial> for StoredPartial {
    fn from(partial: &Partial) -> Self {
        let Partial { step, samples, sums, seconds, micro_batches } = *partial;
        Self { step, samples, sums_bits: sums.map(f64::to_bits), seconds, micro_batches }
    }
}

impl From<StoredPartial> for Partial {
    fn from(stored: StoredPartial) -> Self {
        let StoredPartial { step, samples, sums_bits, seconds, micro_batches } = stored;
        Self { step, samples, sums: sums_bits.map(f64::from_bits), seconds, micro_batches }
    }
}

impl Checkpoint {
    /// The checkpoint as bytes.
    ///
    /// # Errors
    ///
    /// There is not enough memory, or the device fails.
    pub fn write(&self, identity: &Identity) -> Result<Vec<u8>, CheckpointError> {
        let state = State {
            identity: identity.clone(),
            epoch: self.reports.len() as u32,
            optimizer_steps: self.optimizer_steps,
            learning_rate_bits: self.learning_rate.to_bits(),
            best_epoch: self.best.as_ref().map(|best| best.epoch),
            reports: self.reports.clone(),
            partial: self.partial.as_ref().map(StoredPartial::from),
        };
        let mut tensors = Tensors::new();
        tensors.extend(under(MODEL, &self.weights));
        tensors.extend(self.moments.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())));
        if let Some(best) = &self.best {
            tensors.extend(under(BEST, &best.weights));
            tensors.insert(BEST_PROBABILITIES.to_owned(), matrix(&best.probabilities).map_err(torch)?);
        }
        let facts = serde_json::from_value(serde_json::to_value(&state)?)?;
        Ok(archive::write(&tensors, facts)?)
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    ///
    /// The bytes are damaged, are of another training than `identity`, or do not have the tensors of `layout`.
    pub fn read(bytes: &[u8], identity: &Identity, layout: &Layout) -> Result<Self, CheckpointError> {
        let archive = Archive::open(bytes)?;
        let facts = Value::Object(archive.facts().clone());
        // The identity first: the tensors of another job differ too, but that error would say less.
        let whose: Whose = serde_json::from_value(facts.clone())?;
        identity.check(&whose.identity)?;
        let state: State = serde_json::from_value(facts)?;
        state.check()?;

        let mut tensors = archive.read(&layout.shapes(state.best_epoch.is_some()))?;
        let best = state.best_epoch.map(|epoch| best(&mut tensors, epoch)).transpose().map_err(torch)?;
        Ok(Self {
            weights: take(&mut tensors, MODEL),
            moments: tensors,
            optimizer_steps: state.optimizer_steps,
            learning_rate: f64::from_bits(state.learning_rate_bits),
            reports: state.reports,
            best,
            partial: state.partial.map(Partial::from),
        })
    }
}

impl Layout {
    fn shapes(&self, with_best: bool) -> BTreeMap<String, Vec<i64>> {
        let parts = if with_best { &[MODEL, BEST][..] } else { &[MODEL] };
        let mut shapes = self.moments.clone();
        for part in parts {
            let named = self.weights.iter().map(|(name, shape)| (format!("{part}.{name}"), shape.clone()));
            shapes.extend(named);
        }
        if with_best {
            shapes.insert(BEST_PROBABILITIES.to_owned(), vec![self.samples as i64, CLASSES as i64]);
        }
        shapes
    }
}

fn best(tensors: &mut Tensors, epoch: u32) -> Result<Best, TchError> {
    let probabilities = tensors.remove(BEST_PROBABILITIES).map_or(Ok(Vec::new()), |m| rows(&m))?;
    Ok(Best { epoch, weights: take(tensors, BEST), probabilities })
}

#[derive(Deserialize)]
struct Whose {
    identity: Identity,
}

impl State {
    fn check(&self) -> Result<(), CheckpointError> {
        let numbered = self.reports.iter().map(|report| report.epoch).eq(1..=self.epoch);
        let rate = f64::from_bits(self.learning_rate_bits);
        if !numbered || (self.epoch == 0 && self.partial.is_none()) {
            return Err(CheckpointError::Inconsistent(format!(
                "its reports are not of epochs 1 to {}",
                self.epoch
            )));
        }
        let best = self.best_epoch;
        if best.is_some() != (self.epoch > 0) || best.is_some_and(|best| !(1..=self.epoch).contains(&best)) {
            let best = best.map_or_else(|| "none".to_owned(), |epoch| format!("epoch {epoch}"));
            return Err(CheckpointError::Inconsistent(format!(
                "{best} cannot be the best of {} epochs",
                self.epoch
            )));
        }
        if let Some(partial) = &self.partial {
            let sums = partial.sums_bits.map(f64::from_bits);
            let counts =
                partial.step > 0 && partial.samples >= u64::from(partial.step) && partial.micro_batches > 0;
            if !counts || !partial.seconds.is_finite() || sums.iter().any(|sum| !sum.is_finite()) {
                return Err(CheckpointError::Inconsistent(
                    "the unfinished epoch has impossible sums".to_owned(),
                ));
            }
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
