//! Values of settings: checks their range and brings them to normal form (`1` becomes `1.0` for a fractional setting).
//!
//! A sweep file may also name a preset wherever it names settings. A preset is not a setting of a job: it supplies the
//! values of the settings that the file does not name.

use serde_json::Value;
use shared::settings::{self, SettingError};
use shared::trainer::TrainerKind;

use super::problem::Problem;
use super::setting_schemas::PRESET;
use super::spec::{Located, Settings};

/// A preset: its name, and every setting.
pub(super) type Preset = (&'static str, settings::Settings);

/// What a sweep file may name for the jobs of one kind of trainer: its settings and its presets.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) kind: &'static dyn TrainerKind,
    presets: Vec<Preset>,
}

impl Vocabulary {
    pub(super) fn of(kind: &'static dyn TrainerKind) -> Self {
        Self { kind, presets: kind.presets() }
    }

    fn named(&self, name: &Value) -> Option<&Preset> {
        self.presets.iter().find(|(preset, _)| name == preset)
    }

    /// The preset that a file names, or else the first one; `None` if the trainer has none.
    pub(super) fn preset(&self, name: Option<&Value>) -> Option<&Preset> {
        name.and_then(|name| self.named(name)).or_else(|| self.presets.first())
    }

    /// The value that a job has when `name` is set to `value`, or the problem if it cannot have it.
    pub(super) fn normal(&self, name: &str, value: &Located<Value>) -> Result<Value, Problem> {
        if name == PRESET && !self.presets.is_empty() {
            let wrong = || Problem::new(value.span, format!("there is no preset {}", value.value));
            return self.named(&value.value).map(|(preset, _)| (*preset).into()).ok_or_else(wrong);
        }
        self.kind.normal(name, &value.value).map_err(|error| match error {
            SettingError::Unknown { name } => Problem::new(value.span, format!("`{name}` is not a setting")),
            SettingError::Value { name, problem } => {
                Problem::with_value(value.span, format!("`{name}`: {problem}"))
            }
        })
    }

    /// [`Self::normal`] for each of `settings`. Wrong ones are added to `problems`.
    pub(super) fn normal_settings(
        &self,
        settings: &Settings,
        problems: &mut Vec<Problem>,
    ) -> Vec<(String, Value)> {
        let mut result = Vec::new();
        for (name, value) in settings {
            match self.normal(&name.value, value) {
                Ok(normal) => result.push((name.value.clone(), normal)),
                Err(problem) => problems.push(problem),
            }
        }
        result
    }
}
