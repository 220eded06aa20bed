//! Values of settings: checks their range and brings them to normal form (`1` becomes `1.0` for a fractional setting).
//!
//! A sweep file may also name a preset wherever it names settings. A preset is not a setting of a job: it supplies the
//! values of the settings that the file does not name.

use serde::Deserialize;
use serde_json::Value;
use shared::job::preset::Preset;
use shared::job::{JobSpec, SettingError};

use super::problem::Problem;
use super::spec::{Located, Settings};

/// The preset that a value under [`Preset::KEY`] names.
pub(super) fn preset(value: &Value) -> Option<Preset> {
    Preset::deserialize(value).ok()
}

/// The value that a job has when `name` is set to `value`, or the problem if it cannot have it.
pub(super) fn normal(name: &str, value: &Located<Value>) -> Result<Value, Problem> {
    if name == Preset::KEY {
        let wrong = || Problem::new(value.span, format!("there is no preset {}", value.value));
        return preset(&value.value).map(|preset| preset.name().into()).ok_or_else(wrong);
    }
    match JobSpec::default().with(name, value.value.clone()) {
        Ok(spec) => Ok(spec.settings().remove(name).unwrap_or_default()),
        Err(SettingError::Unknown { name }) => {
            Err(Problem::new(value.span, format!("`{name}` is not a setting")))
        }
        Err(SettingError::Value { name, problem }) => {
            Err(Problem::with_value(value.span, format!("`{name}`: {problem}")))
        }
    }
}

/// [`normal`] for each of `settings`. Wrong ones are added to `problems`.
pub(super) fn normal_settings(settings: &Settings, problems: &mut Vec<Problem>) -> Vec<(String, Value)> {
    let mut result = Vec::new();
    for (name, value) in settings {
        match normal(&name.value, value) {
            Ok(normal) => result.push((name.value.clone(), normal)),
            Err(problem) => problems.push(problem),
        }
    }
    result
}
