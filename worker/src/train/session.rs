//! The state of one training: network, optimiser, schedule, reports, and the best epoch so far.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::confusion::Score;
use shared::expression::CLASSES;
use shared::mtl::report::{EpochReport, LossTerms, MemoryUse};
use shared::mtl::{MtlSpec, REVISION};
use shared::pack::{Pack, Split};
use shared::rng::{Purpose, Stream};
use shared::weights::Slot;
use tch::Device;
use tch::nn::VarStore;

use crate::data::{Batch, Frames, TrainingSet, Views};
use crate::models::Mtl;
use crate::weights::load;

use super::adam::Adam;
use super::checkpoint::{Best, Checkpoint, Identity, Layout, Partial};
use super::error::{CheckpointError, TrainError};
use super::evaluate::{self, Probabilities};
use super::memory;
use super::micro::{Gradients, MicroBatches};
use super::mixing::Mixing;
use super::model_record::ModelRecord;
use super::progress::Progress;
use super::schedule::ExponentialDecay;
use super::step::{DeviceBatch, Objective};
use super::{Control, FinishedTask, Resume, TrainEvent, TrainTask};
use crate::archive;
use crate::variables::Variables;

/// How the steps of an epoch ended.
pub(super) enum EpochEnd {
    /// With these mean loss terms.
    Trained(LossTerms),
    /// The listener stopped the training.
    Stopped,
    /// The listener wants the result of the epochs before.
    Finished,
}

pub(super) struct Session<'a> {
    spec: &'a MtlSpec,
    pack: &'a Pack,
    device: Device,
    identity: Identity,
    /// Shared with the loader thread.
    training: Arc<TrainingSet<'a>>,
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
    /// The part of the current epoch that was done before the resume.
    partial: Option<Partial>,
    /// The most micro-batches that a batch of the current epoch was split into before the resume; 1 if none was.
    micro_batches_before: u32,
}

impl<'a> Session<'a> {
    /// A new training, or the one in the task's checkpoint.
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
            partial: None,
            micro_batches_before: 1,
            spec,
            pack,
            device,
            training: Arc::new(training),
            network,
            variables,
        };
        session.objective.arithmetic().set_up()?;
        match resume {
            Some(resume) => session.resume(resume)?,
            None => session.transfer(weights)?,
        }
        Ok(session)
    }

    /// Loads the weights that the settings name into the new network.
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

    fn resume(&mut self, Resume { bytes, by }: Resume<'_>) -> Result<(), TrainError> {
        let layout = Layout {
            weights: self.variables.iter().map(|(name, tensor)| (name.clone(), tensor.size())).collect(),
            moments: self.adam.moment_shapes().collect(),
            samples: self.validation.len(),
        };
        let identity = Identity { job: by, ..self.identity.clone() };
        let checkpoint = Checkpoint::read(bytes, &identity, &layout).map_err(TrainError::Checkpoint)?;
        let steps = self.training.order(checkpoint.reports.len() as u32 + 1).len();
        if let Some(partial) = checkpoint.partial.as_ref().filter(|partial| partial.step as usize > steps) {
            let problem = format!("it is at step {} of an epoch with {steps} steps", partial.step);
            return Err(TrainError::Checkpoint(CheckpointError::Inconsistent(problem)));
        }
        self.variables.set(&checkpoint.weights)?;
        self.adam.resume(checkpoint.optimizer_steps, &checkpoint.moments)?;
        self.schedule = ExponentialDecay::new(checkpoint.learning_rate, self.spec.training.lr_decay);
        self.reports = checkpoint.reports;
        self.best = checkpoint.best;
        self.partial = checkpoint.partial;
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.reports.len() >= self.spec.training.epochs as usize
    }

    /// The current epoch, from 1.
    pub(super) fn epoch(&self) -> u32 {
        self.reports.len() as u32 + 1
    }

    pub(super) fn learning_rate(&self) -> f64 {
        self.schedule.rate()
    }

    /// Wall time spent on the current epoch before the resume.
    pub(super) fn seconds_before(&self) -> f64 {
        self.partial.as_ref().map_or(0.0, |partial| partial.seconds)
    }

    /// Trains the rest of the current epoch, which this attempt began at `started`.
    pub(super) fn train_epoch(
        &mut self,
        started: Instant,
        sink: &mut dyn FnMut(TrainEvent) -> Control,
    ) -> Result<EpochEnd, TrainError> {
        let epoch = self.epoch();
        let steps = self.training.order(epoch).len();
        let before = self.partial.take();
        let first = before.as_ref().map_or(0, |partial| partial.step as usize);
        let seconds = before.as_ref().map_or(0.0, |partial| partial.seconds);
        self.micro_batches_before = before.as_ref().map_or(1, |partial| partial.micro_batches);
        let mut progress = Progress::new(epoch, steps - first, before.as_ref(), self.device)?;
        memory::reset_peaks(self.device)?;
        let (seed, alpha) = (self.spec.training.seed, self.spec.loss.alpha);
        let training = self.training.clone();
        thread::scope(|scope| {
            for (number, batch) in (first..).zip(training.load(scope, epoch, first)) {
                let batch = batch?;
                let mixing = Mixing::draw(seed, epoch, number, batch.labels.len(), alpha);
                let step = number + 1;
                let gradients = self.gradients(&batch, &mixing, &mut |micro_batches| {
                    sink(TrainEvent::OutOfMemory { epoch, step, micro_batches });
                })?;
                self.adam.apply(&gradients.by_variable, self.schedule.rate())?;
                progress.record(&gradients.terms, batch.labels.len())?;
                let loss = progress.latest();
                let mut answer = sink(TrainEvent::Step { epoch, step, steps, loss });
                if answer == Control::Checkpoint {
                    let seconds = seconds + started.elapsed().as_secs_f64();
                    let partial = progress.partial(seconds, self.most_micro_batches())?;
                    let checkpoint = self.checkpoint(Some(partial))?;
                    answer = sink(TrainEvent::Checkpoint { epoch, step, checkpoint });
                }
                match answer {
                    Control::Continue | Control::Checkpoint => {}
                    Control::Stop => return Ok(EpochEnd::Stopped),
                    Control::Finish => return Ok(EpochEnd::Finished),
                }
            }
            progress.finish().map(EpochEnd::Trained)
        })
    }

    /// The gradients of a step. Calls `cut` with the number of micro-batches if it has grown.
    fn gradients(
        &mut self,
        batch: &Batch,
        mixing: &Mixing,
        cut: &mut dyn FnMut(u32),
    ) -> Result<Gradients, TrainError> {
        let on_device = DeviceBatch::new(batch, self.views.size(), self.device)?;
        let fitted = self.micro_batches.count();
        let Self { micro_batches, network, objective, adam, .. } = self;
        let gradients = micro_batches.gradients(network, objective, adam, &on_device, mixing)?;
        if gradients.micro_batches > fitted {
            cut(gradients.micro_batches);
        }
        Ok(gradients)
    }

    /// How much memory this epoch's steps used.
    pub(super) fn memory(&self) -> Result<MemoryUse, TrainError> {
        Ok(MemoryUse { micro_batches: self.most_micro_batches(), device: memory::used(self.device)? })
    }

    fn most_micro_batches(&self) -> u32 {
        self.micro_batches_before.max(self.micro_batches.count())
    }

    /// A checkpoint of this training.
    fn checkpoint(&mut self, partial: Option<Partial>) -> Result<Vec<u8>, TrainError> {
        let checkpoint = Checkpoint {
            weights: self.variables.copies()?,
            moments: self.adam.moments()?,
            optimizer_steps: self.adam.steps(),
            learning_rate: self.schedule.rate(),
            reports: self.reports.clone(),
            best: self.best.take(),
            partial,
        };
        let bytes = checkpoint.write(&self.identity);
        self.best = checkpoint.best;
        bytes.map_err(TrainError::Saving)
    }

    /// Probabilities of the validation split under the current weights.
    pub(super) fn validate(&self) -> Result<Probabilities, TrainError> {
        self.probabilities(&self.validation)
    }

    pub(super) fn score(&self, validation: &[[f32; CLASSES]]) -> Score {
        evaluate::confusion(validation, self.pack.labels(Split::Validation)).into()
    }

    /// Records an epoch and returns the checkpoint after it.
    pub(super) fn end_epoch(
        &mut self,
        report: EpochReport,
        probabilities: Probabilities,
    ) -> Result<Vec<u8>, TrainError> {
        let former = self.best.take().filter(|best| {
            let f1 = |report: &EpochReport| report.validation.macro_f1;
            self.reports.iter().any(|r| r.epoch == best.epoch && f1(r) >= f1(&report))
        });
        let best = match former {
            Some(former) => former,
            None => Best { epoch: report.epoch, weights: self.variables.copies()?, probabilities },
        };
        self.reports.push(report);
        self.schedule.end_epoch();
        self.best = Some(best);
        self.checkpoint(None)
    }

    /// Restores the best weights and evaluates the test split with them.
    pub(super) fn finish(self) -> Result<FinishedTask, TrainError> {
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
            trainer_revision: REVISION,
            best_epoch: best.epoch,
            settings: self.spec.canonical(),
        };
        let model = archive::write(&best.weights, record.facts())?;
        Ok(FinishedTask {
            best_epoch: best.epoch,
            stopped_after: (!self.is_done()).then_some(self.reports.len() as u32),
            validation: best.probabilities.clone(),
            test,
            model,
            train_seconds: self.reports.iter().map(|report| report.seconds).sum(),
            epochs: self.reports,
        })
    }

    fn probabilities(&self, frames: &Frames<'_>) -> Result<Probabilities, TrainError> {
        let batch_size = self.spec.training.evaluated_at_once() as usize;
        evaluate::probabilities(&self.network, frames, &self.views, batch_size, self.device, &mut |_| {})
    }
}

fn whole_split<'a>(pack: &'a Pack, split: Split, spec: &MtlSpec) -> Result<Frames<'a>, TrainError> {
    let positions = (0..pack.len(split)).collect();
    Ok(Frames::new(pack, split, positions, spec.augment.image_size)?)
}

/// A network whose weights depend on the settings alone.
fn initial_network(spec: &MtlSpec, device: Device) -> Result<(Mtl, Variables), TrainError> {
    // libtorch has one random generator for the whole process, so no other thread may draw from it meanwhile.
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _held = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = Stream::new(spec.training.seed, Purpose::Initialisation, &[]).next_u64();
    tch::manual_seed(seed as i64);
    let store = VarStore::new(device);
    let network = Mtl::new(&store.root(), &spec.network)?;
    Ok((network, Variables::of(&store)))
}

/// Sets libtorch's thread counts. They are part of the job, because they decide how sums are split.
pub(crate) fn set_threads(spec: &MtlSpec) {
    // libtorch allows setting this once only, before anything runs.
    static BETWEEN_OPERATORS: Once = Once::new();
    BETWEEN_OPERATORS.call_once(|| tch::set_num_interop_threads(1));
    tch::set_num_threads(spec.training.cpu_threads as i32);
}
