//! The metadata of a finished model's file: enough to build its network and to prepare images as in training.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::ids::JobId;
use shared::mtl::MtlSpec;
use shared::settings::{SettingError, Settings};
use shared::weights::MODEL_FORMAT;

use crate::archive::Facts;

/// The metadata of a model's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// [`Self::FORMAT`], which tells a model from a checkpoint.
    pub format: String,
    pub job: JobId,
    /// Digest of the training pack.
    pub dataset_digest: String,
    /// Height and width of the images in that pack, before they were resized to the network's `image_size`. Models of
    /// early versions lack it.
    #[serde(default)]
    pub pack_image_size: Option<u32>,
    pub trainer_revision: u32,
    pub best_epoch: u32,
    /// The job's canonical settings.
    pub settings: Settings,
}

impl ModelRecord {
    pub const FORMAT: &str = MODEL_FORMAT;

    /// The record as archive facts.
    pub fn facts(&self) -> Facts {
        match serde_json::to_value(self) {
            Ok(Value::Object(facts)) => facts,
            other => unreachable!("plain data becomes a JSON object, not {other:?}"),
        }
    }

    /// The job's settings. A setting that the canonical form leaves out has no effect and gets its default.
    ///
    /// # Errors
    ///
    /// A setting is unknown or its value is not allowed.
    pub fn spec(&self) -> Result<MtlSpec, SettingError> {
        MtlSpec::of(&self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(spec: &MtlSpec) -> ModelRecord {
        ModelRecord {
            format: ModelRecord::FORMAT.to_owned(),
            job: spec.id("d"),
            dataset_digest: "d".to_owned(),
            pack_image_size: Some(48),
            trainer_revision: 1,
            best_epoch: 3,
            settings: spec.canonical(),
        }
    }

    #[test]
    fn settings_that_matter_are_restored() {
        let weak =
            [("subset_fraction", json!(0.2)), ("backbone", json!("mobilevitv2")), ("affine", json!(0.0))];
        let spec =
            weak.into_iter().fold(MtlSpec::default(), |spec, (name, value)| spec.with(name, value).unwrap());
        let back = record(&spec).spec().unwrap();
        assert_eq!(back.id("d"), spec.id("d"));
        let strange =
            ModelRecord { settings: Settings::from_iter([("depth".to_owned(), json!(3))]), ..record(&spec) };
        assert!(strange.spec().unwrap_err().to_string().contains("`depth`"));
    }

    #[test]
    fn early_models_lack_the_image_size_of_their_pack() {
        let mut facts = record(&MtlSpec::default()).facts();
        let read = |facts: &Facts| serde_json::from_value::<ModelRecord>(facts.clone().into()).unwrap();
        assert_eq!(read(&facts), record(&MtlSpec::default()));
        facts.remove("pack_image_size");
        assert_eq!(read(&facts).pack_image_size, None);
    }
}
