//! A model that a sweep trained, as a network in evaluation.

use serde_json::Value;
use shared::job::JobSpec;
use shared::weights::{ProvenanceError, model_settings};
use tch::Device;
use tch::nn::VarStore;

use super::load::{FileError, fill_whole};
use crate::models::{ModelError, Mtl};
use crate::train::archive::{Archive, ArchiveError};
use crate::train::variables::Variables;

/// A trained network on the CPU, whose variables want no gradients.
#[derive(Debug)]
pub struct Model {
    /// The settings that it was trained with.
    pub spec: JobSpec,
    pub network: Mtl,
}

/// Why a file is no model.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("it is a `{0}`, not a model that a sweep trained")]
    Kind(String),
    #[error(transparent)]
    Settings(#[from] ProvenanceError),
    #[error(transparent)]
    Network(#[from] ModelError),
    #[error(transparent)]
    File(#[from] FileError),
}

impl Model {
    /// Reads a model's bytes: every variable of its network, and nothing else.
    pub fn open(file: &[u8]) -> Result<Self, OpenError> {
        let facts = Value::Object(Archive::open(file)?.facts().clone());
        match facts["format"].as_str().unwrap_or_default() {
            "ferry-model" => {}
            other => return Err(OpenError::Kind(other.to_owned())),
        }
        let spec = model_settings(&facts)?;
        let mut store = VarStore::new(Device::Cpu);
        let network = Mtl::new(&store.root(), &spec.network)?;
        fill_whole(file, &Variables::of(&store))?;
        store.freeze();
        Ok(Self { spec, network })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::train::archive::{self, Facts};

    /// A model of `spec` with fresh weights, as a training would hand it in.
    pub(crate) fn example(spec: &JobSpec) -> Vec<u8> {
        let store = VarStore::new(Device::Cpu);
        let network = Mtl::new(&store.root(), &spec.network).unwrap();
        // Statistics that fit the weights, as after training.
        let images = tch::Tensor::rand([8, 3, 32, 32], (tch::Kind::Float, Device::Cpu));
        network.emotion(&images, crate::models::Mode::Train { momentum: 1.0 });
        let facts = [
            ("format".to_owned(), json!("ferry-model")),
            ("job".to_owned(), json!(spec.id("d"))),
            ("settings".to_owned(), spec.canonical().into()),
        ];
        archive::write(&Variables::of(&store).copies().unwrap(), Facts::from_iter(facts)).unwrap()
    }

    #[test]
    fn a_model_is_its_whole_network_or_an_error() {
        let small = [("width", json!(4)), ("blocks", json!([1, 1, 1, 1])), ("heads", json!(2))];
        let spec =
            small.into_iter().fold(JobSpec::default(), |spec, (name, value)| spec.with(name, value).unwrap());
        let file = example(&spec);
        assert_eq!(Model::open(&file).unwrap().spec, spec);
        let other = spec.with("heads", json!(3)).unwrap();
        let tensors = Archive::open(&file).unwrap();
        let shapes = {
            let store = VarStore::new(Device::Cpu);
            Mtl::new(&store.root(), &spec.network).unwrap();
            Variables::of(&store).iter().map(|(name, tensor)| (name.clone(), tensor.size())).collect()
        };
        let facts =
            [("format".to_owned(), json!("ferry-model")), ("settings".to_owned(), other.canonical().into())];
        let wrong = archive::write(&tensors.read(&shapes).unwrap(), Facts::from_iter(facts)).unwrap();
        let error = Model::open(&wrong).unwrap_err().to_string();
        assert!(error.contains("missing: emotion.cat_head2."), "{error}");
        let facts = [("format".to_owned(), json!("ferry-checkpoint"))];
        let checkpoint = archive::write(&archive::Tensors::new(), Facts::from_iter(facts)).unwrap();
        let error = Model::open(&checkpoint).unwrap_err().to_string();
        assert_eq!(error, "it is a `ferry-checkpoint`, not a model that a sweep trained");
    }
}
