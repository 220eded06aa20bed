//! Settings of jobs by name, and what can be wrong with one. Which settings there are is known to each kind of trainer.

use serde_json::{Map, Value};

/// The names of a job's settings and their values, as a sweep file writes them.
pub type Settings = Map<String, Value>;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SettingError {
    #[error("`{name}` is not a setting")]
    Unknown { name: String },
    #[error("`{name}`: {problem}")]
    Value { name: String, problem: String },
}

/// One thing that is wrong with the settings of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub setting: &'static str,
    pub text: String,
}

impl Problem {
    /// Adds a problem unless `ok`.
    pub fn unless(ok: bool, problems: &mut Vec<Self>, setting: &'static str, text: &str) {
        if !ok {
            problems.push(Self { setting, text: text.to_owned() });
        }
    }
}
