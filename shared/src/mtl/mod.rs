//! The paper's multi-task trainer, as the whole of Ferry knows it: every setting that changes a result, and none that does
//! not.
//!
//! The settings are one flat namespace in sweep files (any of them may be an axis) and seven structs here.

pub mod arithmetic;
pub mod augment;
pub mod earlier;
mod effort;
mod kind;
pub mod loss;
pub mod network;
pub mod preset;
pub mod report;
pub mod subset;
pub mod training;
pub mod transfer;
mod warning;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::JobId;
use crate::job::{Inputs, Job, Kind, TrainerId};
use crate::settings::{Problem, SettingError, Settings};
use arithmetic::ArithmeticSpec;
use augment::AugmentSpec;
use loss::LossSpec;
use network::NetworkSpec;
use subset::SubsetSpec;
use training::TrainingSpec;
use transfer::TransferSpec;

pub use kind::Mtl;

/// Raised whenever the trainer computes something else for the same settings, so that old results are not reused.
pub const REVISION: u32 = 1;

/// All settings of one training job. `Default` is the paper's Table 1 with the decisions of docs/model.md.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MtlSpec {
    #[serde(flatten)]
    pub network: NetworkSpec,
    #[serde(flatten)]
    pub loss: LossSpec,
    #[serde(flatten)]
    pub augment: AugmentSpec,
    #[serde(flatten)]
    pub training: TrainingSpec,
    #[serde(flatten)]
    pub subset: SubsetSpec,
    #[serde(flatten)]
    pub transfer: TransferSpec,
    #[serde(flatten)]
    pub arithmetic: ArithmeticSpec,
}

impl MtlSpec {
    /// All settings by name.
    pub fn settings(&self) -> Settings {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            other => unreachable!("a job spec is plain data and becomes a JSON object, not {other:?}"),
        }
    }

    /// The spec with these settings, whose values are not checked, and the default of every other one.
    ///
    /// # Errors
    /// When a value has the wrong type.
    pub fn read(settings: &Settings) -> Result<Self, serde_json::Error> {
        // The same as `deserialize`, but several times as fast: a flattened struct copies every entry before it looks at
        // any, and sweeps have many jobs.
        Ok(Self {
            network: NetworkSpec::deserialize(settings)?,
            loss: LossSpec::deserialize(settings)?,
            augment: AugmentSpec::deserialize(settings)?,
            training: TrainingSpec::deserialize(settings)?,
            subset: SubsetSpec::deserialize(settings)?,
            transfer: TransferSpec::deserialize(settings)?,
            arithmetic: ArithmeticSpec::deserialize(settings)?,
        })
    }

    /// The spec with these settings and the default of every other one.
    ///
    /// # Errors
    /// When a name is not a setting, or a value has the wrong type or is out of range.
    pub fn of(settings: &Settings) -> Result<Self, SettingError> {
        settings.iter().try_fold(Self::default(), |spec, (name, value)| spec.with(name, value.clone()))
    }

    /// This spec with setting `name` replaced by `value`.
    ///
    /// # Errors
    /// When `name` is not a setting, or `value` has the wrong type or is out of range.
    pub fn with(&self, name: &str, value: Value) -> Result<Self, SettingError> {
        Self::changed(self.settings(), name, value)
    }

    /// The spec with these settings, `name` replaced by `value`.
    fn changed(mut settings: Settings, name: &str, value: Value) -> Result<Self, SettingError> {
        if !settings.contains_key(name) {
            return Err(SettingError::Unknown { name: name.to_owned() });
        }
        settings.insert(name.to_owned(), value);
        let spec = Self::read(&settings)
            .map_err(|error| SettingError::Value { name: name.to_owned(), problem: error.to_string() })?;
        match spec.problems().into_iter().find(|problem| problem.setting == name) {
            Some(problem) => Err(SettingError::Value { name: name.to_owned(), problem: problem.text }),
            None => Ok(spec),
        }
    }

    /// Values out of range and combinations that cannot be built, each with the setting to change.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.network.check(&mut problems);
        self.loss.check(&mut problems);
        self.augment.check(&mut problems);
        self.training.check(&mut problems);
        self.subset.check(&mut problems);
        self.transfer.check(&mut problems);
        problems
    }

    /// The settings that matter for this job's result. A setting that another one switches off is left out, so that
    /// two ways to write the same training are the same job.
    pub fn canonical(&self) -> Settings {
        let mut settings = self.settings();
        self.irrelevant(&mut |names, _| names.iter().for_each(|name| drop(settings.remove(*name))));
        settings
    }

    /// The settings that do nothing in this job, each with the setting that switches it off.
    pub fn switched_off(&self) -> BTreeMap<&'static str, &'static str> {
        let mut off = BTreeMap::new();
        self.irrelevant(&mut |names, why| match why {
            Irrelevant::Because(setting) => off.extend(names.iter().map(|name| (*name, setting))),
            Irrelevant::Default => {}
        });
        off
    }

    fn irrelevant(&self, drop: &mut Drop<'_>) {
        self.network.irrelevant(drop);
        self.loss.irrelevant(drop);
        self.augment.irrelevant(drop);
        self.training.irrelevant(drop);
        self.subset.irrelevant(drop);
        self.transfer.irrelevant(drop);
        self.arithmetic.irrelevant(drop);
    }

    /// The job with these settings on the dataset with this digest.
    pub fn job(&self, dataset_digest: &str) -> Job {
        let inputs = Inputs {
            dataset: Some(dataset_digest.to_owned()),
            weights: self.transfer.digests().map(|(_, digest)| digest.to_owned()).collect(),
            code: None,
        };
        Job { trainer: trainer(), settings: self.canonical(), inputs }
    }

    /// The id of that job.
    pub fn id(&self, dataset_digest: &str) -> JobId {
        self.job(dataset_digest).id()
    }
}

/// This kind of trainer at its current revision.
pub fn trainer() -> TrainerId {
    match Kind::new("mtl") {
        Ok(kind) => TrainerId { kind, revision: REVISION },
        Err(error) => unreachable!("{error}"),
    }
}

/// Why settings are left out of a job's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Irrelevant {
    /// The value of this setting switches them off.
    Because(&'static str),
    /// They have the values that all jobs had before these settings existed.
    Default,
}

/// Takes the names of irrelevant settings.
type Drop<'a> = dyn FnMut(&[&'static str], Irrelevant) + 'a;

#[cfg(test)]
mod tests {
    use super::*;
    use network::Backbone;
    use serde_json::json;

    #[test]
    fn defaults_are_table_one() {
        let spec = MtlSpec::default();
        let TrainingSpec { batch_size, learning_rate, epochs, weight_decay, .. } = spec.training;
        assert_eq!((batch_size, epochs), (128, 12));
        assert_eq!((learning_rate, weight_decay), (1e-4, 1e-4));
        assert_eq!((spec.network.heads, spec.loss.alpha), (4, 0.1));
        assert!(spec.problems().is_empty());
    }

    #[test]
    fn ids_see_what_matters_and_nothing_else() {
        let spec = MtlSpec::default();
        let id = spec.id("d");
        assert_eq!(id, MtlSpec::default().id("d"));
        assert_ne!(id, spec.id("e"));
        assert_ne!(id, spec.with("learning_rate", json!(2e-4)).unwrap().id("d"));
        // The full set does not depend on the subset's seed, and a ResNet has no MobileViTv2 width.
        assert_eq!(spec.network.backbone, Backbone::Vggface2Resnet50);
        assert_eq!(id, spec.with("subset_seed", json!(4)).unwrap().id("d"));
        assert_eq!(id, spec.with("mobilevitv2_width", json!(0.5)).unwrap().id("d"));
        let weak = spec.with("subset_fraction", json!(0.2)).unwrap();
        assert_ne!(weak.id("d"), weak.with("subset_seed", json!(4)).unwrap().id("d"));
    }

    #[test]
    fn weights_count_by_their_content_and_only_where_there_are_any() {
        let spec = MtlSpec::default();
        // So that jobs without weights keep the ids they had before these settings existed.
        let names = ["emotion_weights", "appearance_weights", "head_weights"];
        assert!(names.iter().all(|name| !spec.canonical().contains_key(*name)));
        let digests = ["a", "b"].map(|digit| json!(format!("sha256:{}", digit.repeat(64))));
        let [a, b] = digests.map(|digest| spec.with("head_weights", digest).unwrap().id("d"));
        assert_ne!(a, b);
        assert_ne!(a, spec.id("d"));
        for wrong in ["weights.safetensors", "sha256:12", "sha256:"] {
            assert!(spec.with("head_weights", json!(wrong)).is_err(), "{wrong}");
        }
        let before: MtlSpec = serde_json::from_value({
            let mut settings = spec.settings();
            settings.retain(|name, _| !names.contains(&name.as_str()));
            settings.into()
        })
        .unwrap();
        assert_eq!(before, spec);
    }

    #[test]
    fn the_default_arithmetic_leaves_ids_alone_and_any_other_changes_them() {
        let spec = MtlSpec::default();
        // This id from before these settings existed.
        assert_eq!(spec.id("d").to_string(), "336cf4d8-488a-5d90-96a1-8749a3054793");
        let others = [
            ("precision", json!("tf32")),
            ("precision", json!("bf16")),
            ("channels_last", json!(true)),
            ("cudnn", json!("benchmark")),
            ("cudnn", json!("deterministic")),
        ];
        let mut ids: Vec<_> =
            others.into_iter().map(|(name, value)| spec.with(name, value).unwrap().id("d")).collect();
        ids.push(spec.id("d"));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 6);
        let before: MtlSpec = serde_json::from_value({
            let mut settings = spec.settings();
            settings.retain(|name, _| !["precision", "channels_last", "cudnn"].contains(&name.as_str()));
            settings.into()
        })
        .unwrap();
        assert_eq!(before, spec);
    }

    #[test]
    fn an_evaluation_batch_counts_where_it_differs_from_the_batch() {
        let spec = MtlSpec::default();
        let id = |size| spec.with("evaluation_batch_size", size).map(|spec| spec.id("d"));
        assert_eq!(id(json!(null)), Ok(spec.id("d")));
        assert_eq!(id(json!(128)), Ok(spec.id("d")));
        assert_ne!(id(json!(256)), Ok(spec.id("d")));
        assert!(id(json!(0)).is_err());
        assert_eq!(spec.training.evaluated_at_once(), 128);
    }

    /// Case 32: settings that do nothing.
    #[test]
    fn what_another_setting_switches_off_is_named_with_it() {
        let off = |changes: &[(&str, Value)]| {
            let with = |spec: MtlSpec, (name, value): &(&str, Value)| spec.with(name, value.clone()).unwrap();
            changes.iter().fold(MtlSpec::default(), with).switched_off()
        };
        let defaults = off(&[]);
        assert_eq!(defaults["mobilevitv2_width"], "backbone");
        assert_eq!(defaults["subset_seed"], "subset_fraction");
        // Left out of ids since they are defaults, not because they do nothing.
        assert!(
            ["precision", "head_weights", "evaluation_batch_size"].iter().all(|n| !defaults.contains_key(n))
        );
        assert!(!off(&[("backbone", json!("mobilevitv2"))]).contains_key("mobilevitv2_width"));
        assert_eq!(off(&[("affine", json!(0.0))])["affine_degrees"], "affine");
        assert_eq!(off(&[("augmentation", json!("none"))])["alpha"], "augmentation");
        // Nothing that is switched off counts in an id.
        let spec = MtlSpec::default().with("basic_augmentation", json!(false)).unwrap();
        assert!(spec.switched_off().keys().all(|name| !spec.canonical().contains_key(*name)));
    }

    #[test]
    fn numbers_may_be_written_either_way() {
        let spec = MtlSpec::default();
        assert_eq!(
            spec.with("alpha", json!(1)).unwrap().id(""),
            spec.with("alpha", json!(1.0)).unwrap().id("")
        );
    }

    #[test]
    fn every_setting_survives_its_own_overlay() {
        let spec = MtlSpec::default();
        for (name, value) in spec.settings() {
            assert_eq!(spec.with(&name, value).unwrap(), spec, "{name}");
        }
    }

    #[test]
    fn settings_are_read_as_they_are_deserialized() {
        for settings in preset::Preset::ALL.map(|preset| preset.spec().settings()) {
            let spec: MtlSpec = serde_json::from_value(settings.clone().into()).unwrap();
            assert_eq!(MtlSpec::read(&settings).unwrap(), spec);
            assert_eq!(spec.settings(), settings);
        }
    }

    #[test]
    fn wrong_names_types_and_ranges_are_refused() {
        let spec = MtlSpec::default();
        assert!(matches!(spec.with("alhpa", json!(1)), Err(SettingError::Unknown { .. })));
        for (name, value) in [
            ("epochs", json!("many")),
            ("epochs", json!(0)),
            ("epochs", json!(-1)),
            ("backbone", json!("resnet51")),
            ("learning_rate", json!(-1.0)),
            ("basic_augmentation", json!("yes")),
            ("subset_fraction", json!(1.5)),
        ] {
            assert!(matches!(spec.with(name, value), Err(SettingError::Value { .. })), "{name}");
        }
    }
}
