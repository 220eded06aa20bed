//! What the orchestrating half needs to know about a kind of trainer: its settings, its inputs, its metrics.
//!
//! Training itself happens in the worker, behind another interface. A kind is described in one place, here in `shared`;
//! [`crate::kinds`] lists them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use crate::job::{Inputs, Job, TrainerId};
use crate::metrics::Ranking;
use crate::result::JobResult;
use crate::settings::{Problem, SettingError, Settings};
use crate::warning::Warning;

/// A kind of trainer, as sweep files, schedules and reports need it. Settings are complete: every setting has a value.
pub trait TrainerKind: fmt::Debug + Sync {
    fn id(&self) -> TrainerId;

    /// The schema of a job's settings: an object with a property for each setting.
    fn schema(&self, generator: &mut SchemaGenerator) -> Schema;

    /// The value of every setting that nobody names.
    fn defaults(&self) -> &Settings;

    /// Named sets of settings that a sweep file may start from; the first is used if it names none.
    fn presets(&self) -> Vec<(&'static str, Settings)>;

    /// What a sweep file's schema says about the presets.
    fn preset_schema(&self, generator: &mut SchemaGenerator) -> Option<Schema>;

    /// `value` in the form in which it is stored and compared, if setting `name` can have it.
    ///
    /// # Errors
    /// When there is no such setting, or the value has the wrong type or is out of range.
    fn normal(&self, name: &str, value: &Value) -> Result<Value, SettingError>;

    /// Combinations of settings that cannot be trained.
    fn problems(&self, settings: &Settings) -> Vec<Problem>;

    /// The settings that do nothing in this job, each with the setting that switches it off.
    fn switched_off(&self, settings: &Settings) -> BTreeMap<&'static str, &'static str>;

    /// The job with these settings. A trainer that needs no dataset ignores the digest.
    fn job(&self, settings: &Settings, dataset_digest: &str) -> Job;

    /// Whether its jobs read a dataset.
    fn needs_dataset(&self) -> bool;

    /// The metric by which its jobs are compared, unless the sweep file names another.
    fn ranking(&self) -> Ranking;

    /// What that metric is called on displays.
    fn ranking_label(&self) -> &'static str;

    /// The names of the classes that its predictions tell apart, by index; empty if there are none.
    fn classes(&self) -> Vec<&'static str>;

    /// The settings of the training that is the same, epoch by epoch, and that has `epochs` epochs. `None` if what happens
    /// in an epoch depends on how many there will be, or if there are none. Then a longer training cannot go on where a
    /// shorter one has ended.
    fn lasting(&self, settings: &Settings, epochs: u32) -> Option<Settings>;

    /// How much work a job is, on a dataset of this size.
    fn effort(&self, settings: &Settings, dataset_size: DatasetSize) -> Effort;

    /// The CPU threads that a job uses.
    fn threads(&self, settings: &Settings) -> usize;

    /// Reasons not to trust a finished job's score.
    fn warnings(&self, result: &JobResult, settings: &Settings) -> Vec<Warning>;

    /// What is known to help if a worker died while it trained such a job.
    fn remedies(&self, settings: &Settings) -> Remedies;

    /// Whether `ferry-worker reproduce` can train its jobs, without a server.
    fn is_reproducible(&self) -> bool {
        false
    }

    /// Whether this metric tells how a training went on its machine, such as the memory that it took, and not what was
    /// computed. It may differ between two trainings of one job.
    fn is_about_machine(&self, _metric: &str) -> bool {
        false
    }

    /// The inputs of a job with these settings.
    fn inputs(&self, settings: &Settings, dataset_digest: &str) -> Inputs {
        self.job(settings, dataset_digest).inputs
    }
}

/// How many samples a dataset has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DatasetSize {
    pub train: usize,
    pub validation: usize,
}

impl DatasetSize {
    /// For comparisons of jobs on a dataset whose size is not known.
    pub const TYPICAL: Self = Self { train: 10_000, validation: 1_000 };
}

/// How much work a job is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    pub epochs: u32,
    /// Estimated work of one epoch. Only ratios are meaningful.
    pub units: f64,
    /// Jobs of one class take the same time per unit.
    pub class: u32,
}

/// What may help after a crash, as the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remedies {
    /// After a signal that the program caused itself.
    pub signal: Option<String>,
    /// After the kernel ran out of memory.
    pub memory: Option<String>,
}
