//! A finished model: its file, its network, and the same evaluation as in its training.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use shared::ids::JobId;
use shared::mtl::{MtlSpec, REVISION};
use shared::pack::{Pack, Split};
use tch::Device;
use tch::nn::VarStore;

use super::error::{ModelProblem, PredictError};
use super::{Member, Used};
use crate::archive::Archive;
use crate::data::{Frames, Views};
use crate::models::Mtl;
use crate::train::adam::Flat;
use crate::train::evaluate::{self, Probabilities};
use crate::train::{ModelRecord, set_threads};
use crate::variables::Variables;

/// One model on a device, with frozen variables.
#[derive(Debug)]
pub struct Model {
    record: ModelRecord,
    spec: MtlSpec,
    network: Mtl,
    device: Device,
}

impl Model {
    /// Reads the member's file, checks its digests and loads the network on `device`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not an undamaged model of Ferry, or is not the model that the run recorded.
    pub fn open(member: &Member, device: Device) -> Result<Self, PredictError> {
        let path = member.path.as_path();
        let bytes = fs::read(path).map_err(PredictError::io(path))?;
        let model = check_digest(member, &bytes)
            .and_then(|()| Self::read(&bytes, device))
            .and_then(|model| model.belonging_to(member))
            .map_err(|problem| PredictError::Model { path: path.to_owned(), problem })?;
        model.warn_of_age(path);
        Ok(model)
    }

    fn read(bytes: &[u8], device: Device) -> Result<Self, ModelProblem> {
        let archive = Archive::open(bytes)?;
        let format = archive.facts().get("format").and_then(|format| format.as_str()).unwrap_or("unknown");
        if format != ModelRecord::FORMAT {
            return Err(ModelProblem::Format(format.to_owned()));
        }
        let record: ModelRecord = serde_json::from_value(archive.facts().clone().into())?;
        let spec = record.spec()?;
        let mut store = VarStore::new(device);
        let network = Mtl::new(&store.root(), &spec.network)?;
        let variables = Variables::of(&store);
        let _laid_out_as_in_training = Flat::of(&variables)?;
        let shapes = variables.iter().map(|(name, tensor)| (name.clone(), tensor.size())).collect();
        variables.set(&archive.read(&shapes)?)?;
        store.freeze();
        Ok(Self { record, spec, network, device })
    }

    fn belonging_to(self, member: &Member) -> Result<Self, ModelProblem> {
        match &member.recorded {
            Some(recorded) if recorded.job != self.job() => {
                Err(ModelProblem::OtherJob { found: self.job(), expected: recorded.job })
            }
            Some(_) | None => Ok(self),
        }
    }

    fn warn_of_age(&self, path: &Path) {
        let theirs = self.record.trainer_revision;
        if theirs != REVISION {
            tracing::warn!(
                "{} was trained with trainer revision {theirs}, but this program has {REVISION}: the \
                 probabilities may differ from those stored with the job",
                path.display()
            );
        }
    }

    pub fn job(&self) -> JobId {
        self.record.job
    }

    /// The settings with which it was trained.
    pub fn spec(&self) -> &MtlSpec {
        &self.spec
    }

    pub fn network(&self) -> &Mtl {
        &self.network
    }

    /// Digest of the training pack.
    pub fn dataset(&self) -> &str {
        &self.record.dataset_digest
    }

    /// Height and width of the images in that pack; `None` if the file does not record it.
    pub fn pack_image_size(&self) -> Option<u32> {
        self.record.pack_image_size
    }

    pub(super) fn used(&self) -> Used {
        Used {
            job: self.job(),
            dataset_digest: self.dataset().to_owned(),
            best_epoch: self.record.best_epoch,
        }
    }

    /// Probabilities of every image of `split`, in the pack's order. `progress` is called with the number of finished
    /// images.
    ///
    /// # Errors
    ///
    /// An image cannot be resized, or libtorch fails.
    pub fn predict(
        &self,
        pack: &Pack,
        split: Split,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Probabilities, PredictError> {
        set_threads(&self.spec);
        let augment = &self.spec.augment;
        let frames = Frames::new(pack, split, (0..pack.len(split)).collect(), augment.image_size)?;
        let views = Views::new(augment, self.spec.training.seed);
        let batch_size = self.spec.training.evaluated_at_once() as usize;
        Ok(evaluate::probabilities(&self.network, &frames, &views, batch_size, self.device, progress)?)
    }
}

fn check_digest(member: &Member, bytes: &[u8]) -> Result<(), ModelProblem> {
    let Some(recorded) = &member.recorded else { return Ok(()) };
    let found = hex::encode(Sha256::digest(bytes));
    if found == recorded.sha256 {
        return Ok(());
    }
    Err(ModelProblem::Digest { found, expected: recorded.sha256.clone() })
}
