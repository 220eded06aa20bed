//! The state of one training: network, optimiser, schedule, reports, and the best epoch so far.

use std::collections::BTreeMap;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::expression::CLASSES;
use shared::job::{JobSpec, TRAINER_REVISION};
use shared::pack::{Pack, Split};
use shared::result::{EpochReport, LossTerms, MemoryUse, Score};
use shared::rng::{Purpose, Stream};
use shared::weights::Slot;
use tch::Device;
use tch::nn::VarStore;

use crate::data::{Frames, TrainingSet, Views};
use crate::models::Mtl;
use crate::weights::load;

use super::adam::Adam;
use super::archive;
use super::checkpoint::{Best, Checkpoint, Identity, Layout};
use super::error::TrainError;
use super::evaluate::{self, Probabilities};
use super::memory;
use super::micro::MicroBatches;
use super::mixing::Mixing;
use super::model_record::ModelRecord;
use super::progress::Progress;
use super::schedule::ExponentialDecay;
use super::step::{DeviceBatch, Objective};
use super::variables::Variables;
use super::{Control, Finished, TrainEvent, TrainTask};

pub(super) struct Session<'a> {
    spec: &'a JobSpec,
    pack: &'a Pack,
    device: Device,
    identity: Identity,
    training: TrainingSet<'a>,
    validation: Frames<'a>,
    views: Views,
    network: Mtl,
    variables: Variables,
    objective: Objective,
    adam: Adam,
    micro_batches: MicroBatches,
    schedule: ExponentialDecay,
    reports: Vec<EpochReport>,
    best: Option<Best>,
}

impl<'a> Session<'a> {
    /// Fresh, or where the task's checkpoint left off.
    pub(super) fn start(task: &TrainTask<'a>, weights: &BTreeMap<Slot, Bytes>) -> Result<Self, TrainError> {
        let TrainTask { spec, pack, device, resume } = *task;
        if let Some(problem) = spec.problems().into_iter().next() {
            return Err(TrainError::Setting { name: problem.setting, problem: problem.text });
        }
        let training = TrainingSet::new(pack, spec)?;
        if training.labels().len() < 2 {
            return Err(TrainError::TooFewSamples { found: training.labels().len() });
        }
        if pack.is_empty(Split::Validation) {
            return Err(TrainError::NoSamples(Split::Validation));
        }
        set_threads(spec);
        let (network, variables) = initial_network(spec, device)?;
        let mut session = Self {
            identity: Identity::new(spec, pack.digest()),
            validation: whole_split(pack, Split::Validation, spec)?,
            views: Views::new(&spec.augment, spec.training.seed),
            objective: Objective::new(spec, training.labels(), device)?,
            adam: Adam::new(&variables, &spec.training)?,
            micro_batches: MicroBatches::new(&variables, device)?,
            schedule: ExponentialDecay::new(spec.training.learning_rate, spec.training.lr_decay),
            reports: Vec::new(),
            best: None,
            spec,
            pack,
            device,
            training,
            network,
            variables,
        };
        session.objective.arithmetic().set_up()?;
        match resume {
            Some(bytes) => session.resume(bytes)?,
            None => session.transfer(weights)?,
        }
        Ok(session)
    }

    /// Puts the weights that the settings name into the fresh network.
    fn transfer(&self, weights: &BTreeMap<Slot, Bytes>) -> Result<(), TrainError> {
        for (slot, digest) in self.spec.transfer.digests() {
            let file = weights.get(&slot).ok_or(TrainError::NoWeights { slot: slot.setting() })?;
            let found = hex::encode(Sha256::digest(file));
            if found != digest {
                return Err(TrainError::WrongWeights {
                    slot: slot.setting(),
                    found,
                    digest: digest.to_owned(),
                });
            }
            load::fill(slot, file, &self.spec.network, &self.variables)?;
        }
        Ok(())
    }

    fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let layout = Layout {
            weights: self.variables.iter().map(|(name, tensor)| (name.clone(), tensor.size())).collect(),
            moments: self.adam.moment_shapes().collect(),
            samples: self.validation.len(),
        };
        let checkpoint = Checkpoint::read(bytes, &self.identity, &layout)?;
        self.variables.set(&checkpoint.weights)?;
        self.adam.resume(checkpoint.optimizer_steps, &checkpoint.moments)?;
        self.schedule = ExponentialDecay::new(checkpoint.learning_rate, self.spec.training.lr_decay);
        self.reports = checkpoint.reports;
        self.best = Some(checkpoint.best);
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.reports.len() >= self.spec.training.epochs as usize
    }

    /// The epoch in progress, from 1.
    pub(super) fn epoch(&self) -> u32 {
        self.reports.len() as u32 + 1
    }

    pub(super) fn learning_rate(&self) -> f64 {
        self.schedule.rate()
    }

    /// Mean loss terms of one pass over the training subset, or `None` where the listener stopped it.
    pub(super) fn train_epoch(
        &mut self,
        sink: &mut dyn FnMut(TrainEvent) -> Control,
    ) -> Result<Option<LossTerms>, TrainError> {
        let epoch = self.epoch();
        let steps = self.training.order(epoch).len();
        let mut progress = Progress::new(epoch, steps, self.device)?;
        memory::reset_peaks(self.device)?;
        let Self { training, adam, micro_batches, objective, network, views, schedule, spec, .. } = self;
        let (training, seed, alpha) = (&*training, spec.training.seed, spec.loss.alpha);
        thread::scope(|scope| {
            for (number, batch) in training.load(scope, epoch).into_iter().enumerate() {
                let batch = batch?;
                let mixing = Mixing::draw(seed, epoch, number, batch.labels.len(), alpha);
                let on_device = DeviceBatch::new(&batch, views.size(), self.device)?;
                let fitted = micro_batches.count();
                let gradients = micro_batches.gradients(network, objective, adam, &on_device, &mixing)?;
                adam.apply(&gradients.by_variable, schedule.rate())?;
                progress.record(&gradients.terms, batch.labels.len())?;
                if gradients.micro_batches > fitted {
                    let micro_batches = gradients.micro_batches;
                    sink(TrainEvent::OutOfMemory { epoch, step: number + 1, micro_batches });
                }
                let loss = progress.latest();
                if sink(TrainEvent::Step { epoch, step: number + 1, steps, loss }) == Control::Stop {
                    return Ok(None);
                }
            }
            progress.finish().map(Some)
        })
    }

    /// How this epoch's steps fitted into memory.
    pub(super) fn memory(&self) -> Result<MemoryUse, TrainError> {
        Ok(MemoryUse { micro_batches: self.micro_batches.count(), device: memory::used(self.device)? })
    }

    /// Probabilities of the validation split under the current weights.
    pub(super) fn validate(&self) -> Result<Probabilities, TrainError> {
        self.probabilities(&self.validation)
    }

    pub(super) fn score(&self, validation: &[[f32; CLASSES]]) -> Score {
        evaluate::confusion(validation, self.pack.labels(Split::Validation)).into()
    }

    /// Books an epoch and returns the checkpoint after it.
    pub(super) fn end_epoch(
        &mut self,
        report: EpochReport,
        probabilities: Probabilities,
    ) -> Result<Vec<u8>, TrainError> {
        let weights = self.variables.copies()?;
        let former = self.best.take().filter(|best| {
            let f1 = |report: &EpochReport| report.validation.macro_f1;
            self.reports.iter().any(|r| r.epoch == best.epoch && f1(r) >= f1(&report))
        });
        let best = former.unwrap_or_else(|| Best {
            epoch: report.epoch,
            weights: weights.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect(),
            probabilities,
        });
        self.reports.push(report);
        self.schedule.end_epoch();
        let checkpoint = Checkpoint {
            weights,
            moments: self.adam.moments()?,
            optimizer_steps: self.adam.steps(),
            learning_rate: self.schedule.rate(),
            reports: self.reports.clone(),
            best,
        };
        let bytes = checkpoint.write(&self.identity)?;
        self.best = Some(checkpoint.best);
        Ok(bytes)
    }

    /// Puts the best weights back and judges the test split with them.
    pub(super) fn finish(self) -> Result<Finished, TrainError> {
        let Some(best) = &self.best else {
            return Err(TrainError::Setting { name: "epochs", problem: "must be at least 1".to_owned() });
        };
        self.variables.set(&best.weights)?;
        let test = if self.pack.is_empty(Split::Test) {
            None
        } else {
            Some(self.probabilities(&whole_split(self.pack, Split::Test, self.spec)?)?)
        };
        let record = ModelRecord {
            format: ModelRecord::FORMAT.to_owned(),
            job: self.identity.job,
            dataset_digest: self.identity.dataset_digest.clone(),
            pack_image_size: Some(self.pack.image_size()),
            trainer_revision: TRAINER_REVISION,
            best_epoch: best.epoch,
            settings: self.spec.canonical(),
        };
        let model = archive::write(&best.weights, record.facts())?;
        Ok(Finished {
            best_epoch: best.epoch,
            validation: best.probabilities.clone(),
            test,
            model,
            train_seconds: self.reports.iter().map(|report| report.seconds).sum(),
            epochs: self.reports,
        })
    }

    fn probabilities(&self, frames: &Frames<'_>) -> Result<Probabilities, TrainError> {
        let batch_size = self.spec.training.batch_size as usize;
        evaluate::probabilities(&self.network, frames, &self.views, batch_size, self.device, &mut |_| {})
    }
}

fn whole_split<'a>(pack: &'a Pack, split: Split, spec: &JobSpec) -> Result<Frames<'a>, TrainError> {
    let positions = (0..pack.len(split)).collect();
    Ok(Frames::new(pack, split, positions, spec.augment.image_size)?)
}

/// A network whose weights depend on the settings alone.
fn initial_network(spec: &JobSpec, device: Device) -> Result<(Mtl, Variables), TrainError> {
    // libtorch has one generator for the whole process: nobody else may draw from it in between.
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _held = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = Stream::new(spec.training.seed, Purpose::Initialisation, &[]).next_u64();
    tch::manual_seed(seed as i64);
    let store = VarStore::new(device);
    let network = Mtl::new(&store.root(), &spec.network)?;
    Ok((network, Variables::of(&store)))
}

/// Sums are split by thread, so the number of threads is part of the job.
pub(crate) fn set_threads(spec: &JobSpec) {
    // libtorch lets this one be set once, before anything runs.
    static BETWEEN_OPERATORS: Once = Once::new();
    BETWEEN_OPERATORS.call_once(|| tch::set_num_interop_threads(1));
    tch::set_num_threads(spec.training.cpu_threads as i32);
}
