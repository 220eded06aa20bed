//! The paper's trainer as one kind among others.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use super::preset::Preset;
use super::report::{MEMORY, VAL_MACRO_F1};
use super::{MtlSpec, effort, trainer, warning};
use crate::expression::Expression;
use crate::job::{Job, TrainerId};
use crate::metrics::{Goal, Ranking};
use crate::result::JobResult;
use crate::settings::{Problem, SettingError, Settings};
use crate::trainer::{DatasetSize, Effort, Remedies, TrainerKind};
use crate::warning::Warning;

/// Networks up to this width are known to crash in libtorch with `channels_last`, on CPUs with AVX-512.
const NARROW: u32 = 8;

/// Trains the paper's multi-task networks.
#[derive(Debug, Clone, Copy)]
pub struct Mtl;

/// The spec with these settings, which are complete and were checked one by one.
fn spec(settings: &Settings) -> MtlSpec {
    MtlSpec::read(settings).unwrap_or_default()
}

static DEFAULTS: LazyLock<Settings> = LazyLock::new(|| MtlSpec::default().settings());

impl TrainerKind for Mtl {
    fn id(&self) -> TrainerId {
        trainer()
    }

    fn is_reproducible(&self) -> bool {
        true
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<MtlSpec>()
    }

    fn defaults(&self) -> &Settings {
        &DEFAULTS
    }

    fn presets(&self) -> Vec<(&'static str, Settings)> {
        Preset::ALL.into_iter().map(|preset| (preset.name(), preset.spec().settings())).collect()
    }

    fn preset_schema(&self, generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<Preset>())
    }

    fn normal(&self, name: &str, value: &Value) -> Result<Value, SettingError> {
        MtlSpec::changed(DEFAULTS.clone(), name, value.clone())
            .map(|spec| spec.settings().remove(name).unwrap_or_default())
    }

    fn problems(&self, settings: &Settings) -> Vec<Problem> {
        spec(settings).problems()
    }

    fn switched_off(&self, settings: &Settings) -> BTreeMap<&'static str, &'static str> {
        spec(settings).switched_off()
    }

    fn job(&self, settings: &Settings, dataset_digest: &str) -> Job {
        spec(settings).job(dataset_digest)
    }

    fn needs_dataset(&self) -> bool {
        true
    }

    fn ranking(&self) -> Ranking {
        Ranking { metric: VAL_MACRO_F1.to_owned(), goal: Goal::Max }
    }

    fn ranking_label(&self) -> &'static str {
        "F1"
    }

    fn classes(&self) -> Vec<&'static str> {
        Expression::ALL.map(Expression::name).to_vec()
    }

    fn lasting(&self, settings: &Settings, epochs: u32) -> Option<Settings> {
        // The learning rate decays by the same factor after each epoch, and draws are functions of the epoch.
        let mut settings = settings.clone();
        settings.insert("epochs".to_owned(), epochs.into());
        Some(settings)
    }

    fn effort(&self, settings: &Settings, dataset_size: DatasetSize) -> Effort {
        effort::effort(&spec(settings), dataset_size)
    }

    fn threads(&self, settings: &Settings) -> usize {
        spec(settings).training.cpu_threads as usize
    }

    fn warnings(&self, result: &JobResult, settings: &Settings) -> Vec<Warning> {
        warning::warnings(result, &spec(settings).loss)
    }

    fn is_about_machine(&self, metric: &str) -> bool {
        metric.starts_with(MEMORY)
    }

    fn remedies(&self, settings: &Settings) -> Remedies {
        let spec = spec(settings);
        let narrow = spec.arithmetic.channels_last && spec.network.width <= NARROW;
        let signal = format!(
            "`channels_last: true` with a network as narrow as `width: {}` is known to cause this on some CPUs: set \
             `channels_last: false`",
            spec.network.width
        );
        Remedies {
            signal: narrow.then_some(signal),
            memory: Some("try a smaller `batch_size` or `image_size`".to_owned()),
        }
    }
}
