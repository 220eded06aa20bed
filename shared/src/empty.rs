//! The empty trainer: it waits, fails and reports as its settings say, for tests and benchmarks.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::{Inputs, Job, Kind, TrainerId};
use crate::metrics::{Goal, Ranking};
use crate::result::JobResult;
use crate::settings::{Problem, SettingError, Settings};
use crate::trainer::{DatasetSize, Effort, Remedies, TrainerKind};
use crate::warning::Warning;

/// Raised whenever the trainer does something else for the same settings.
pub const REVISION: u32 = 1;

/// The metric of its reports: epochs times `gain`.
pub const SCORE: &str = "score";

/// All settings of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmptySpec {
    /// Tells jobs with otherwise equal settings apart.
    pub seed: u64,
    /// Epochs; each ends with a report and a checkpoint. 0 ends at once, without either.
    pub epochs: u32,
    /// How long an epoch takes, in milliseconds.
    pub epoch_ms: u32,
    /// What each epoch adds to the metric `score`.
    pub gain: f64,
    /// The epoch in which the training fails; null if it does not.
    pub fail_in_epoch: Option<u32>,
    /// Classes of the predictions that the result has; 0 for a result without predictions.
    pub classes: u32,
    /// Samples of these predictions.
    pub samples: u32,
}

impl Default for EmptySpec {
    fn default() -> Self {
        Self { seed: 0, epochs: 0, epoch_ms: 0, gain: 1.0, fail_in_epoch: None, classes: 0, samples: 8 }
    }
}

impl EmptySpec {
    /// The spec with these settings, and the default of every other one.
    ///
    /// # Errors
    /// When a setting is unknown, or a value has the wrong type or is out of range.
    pub fn of(settings: &Settings) -> Result<Self, SettingError> {
        let mut all = DEFAULTS.clone();
        for (name, value) in settings {
            all.insert(name.clone(), normal(name, value)?);
        }
        let wrong = |error: serde_json::Error| SettingError::Value {
            name: "settings".to_owned(),
            problem: error.to_string(),
        };
        serde_json::from_value(Value::Object(all)).map_err(wrong)
    }

    fn settings(&self) -> Settings {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            other => unreachable!("plain data becomes a JSON object, not {other:?}"),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut require = |ok, setting, text: &str| Problem::unless(ok, &mut problems, setting, text);
        require(self.epochs <= 100_000, "epochs", "must be at most 100000");
        require(self.gain.is_finite(), "gain", "must be a number");
        require(self.classes <= 1000, "classes", "must be at most 1000");
        require(self.samples <= 100_000, "samples", "must be at most 100000");
        problems
    }
}

static DEFAULTS: LazyLock<Settings> = LazyLock::new(|| EmptySpec::default().settings());

fn normal(name: &str, value: &Value) -> Result<Value, SettingError> {
    if !DEFAULTS.contains_key(name) {
        return Err(SettingError::Unknown { name: name.to_owned() });
    }
    let wrong = |problem: String| SettingError::Value { name: name.to_owned(), problem };
    let mut settings = DEFAULTS.clone();
    settings.insert(name.to_owned(), value.clone());
    let spec: EmptySpec =
        serde_json::from_value(Value::Object(settings)).map_err(|error| wrong(error.to_string()))?;
    match spec.problems().into_iter().find(|problem| problem.setting == name) {
        Some(problem) => Err(wrong(problem.text)),
        None => Ok(spec.settings().remove(name).unwrap_or_default()),
    }
}

/// The spec with these settings, which are complete and were checked one by one.
fn complete(settings: &Settings) -> EmptySpec {
    EmptySpec::deserialize(settings).unwrap_or_default()
}

/// This kind of trainer at its current revision.
pub fn trainer() -> TrainerId {
    match Kind::new("empty") {
        Ok(kind) => TrainerId { kind, revision: REVISION },
        Err(error) => unreachable!("{error}"),
    }
}

/// Does nothing, or waits.
#[derive(Debug, Clone, Copy)]
pub struct Empty;

impl TrainerKind for Empty {
    fn id(&self) -> TrainerId {
        trainer()
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<EmptySpec>()
    }

    fn defaults(&self) -> &Settings {
        &DEFAULTS
    }

    fn presets(&self) -> Vec<(&'static str, Settings)> {
        Vec::new()
    }

    fn preset_schema(&self, _generator: &mut SchemaGenerator) -> Option<Schema> {
        None
    }

    fn normal(&self, name: &str, value: &Value) -> Result<Value, SettingError> {
        normal(name, value)
    }

    fn problems(&self, settings: &Settings) -> Vec<Problem> {
        complete(settings).problems()
    }

    fn switched_off(&self, _settings: &Settings) -> BTreeMap<&'static str, &'static str> {
        BTreeMap::new()
    }

    fn job(&self, settings: &Settings, _dataset_digest: &str) -> Job {
        Job { trainer: trainer(), settings: settings.clone(), inputs: Inputs::default() }
    }

    fn needs_dataset(&self) -> bool {
        false
    }

    fn ranking(&self) -> Ranking {
        Ranking { metric: SCORE.to_owned(), goal: Goal::Max }
    }

    fn ranking_label(&self) -> &'static str {
        SCORE
    }

    fn classes(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn lasting(&self, settings: &Settings, epochs: u32) -> Option<Settings> {
        let mut settings = settings.clone();
        settings.insert("epochs".to_owned(), epochs.into());
        Some(settings)
    }

    fn effort(&self, settings: &Settings, _dataset: DatasetSize) -> Effort {
        let spec = complete(settings);
        Effort { epochs: spec.epochs, units: f64::from(spec.epoch_ms), class: 0 }
    }

    fn threads(&self, _settings: &Settings) -> usize {
        1
    }

    fn warnings(&self, _result: &JobResult, _settings: &Settings) -> Vec<Warning> {
        Vec::new()
    }

    fn remedies(&self, _settings: &Settings) -> Remedies {
        Remedies::default()
    }
}
