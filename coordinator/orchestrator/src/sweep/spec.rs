//! The contents of a sweep file. The JSON Schema is generated from these types; `decode` fills them from a checked
//! file.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use shared::metrics::Goal;
use shared::protocol::{CheckpointEvery, Priority};

use super::plan::{PaperScores, SyntheticOptions};
use super::problem::Span;
use super::setting_schemas;

/// How many jobs a file may ask for by default.
pub const DEFAULT_MAX_JOBS: u64 = 100_000;
/// The largest value of `max_jobs`, because all jobs are held in memory.
pub const MOST_JOBS: u64 = 1_000_000;

/// A sweep: many training jobs, and the ensembles and tables made from their results.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SweepFile {
    /// The name of the sweep and of its run folder: letters, digits, `-`, `_` and `.`.
    pub name: Located<String>,
    /// The trainer of all jobs; docs/trainers.md lists all trainers. Each has settings of its own:
    /// `ferry schema --trainer NAME` prints those of another one.
    #[schemars(default, with = "String")]
    pub trainer: Option<Located<String>>,
    // Required here; `schema` changes that for a trainer that reads none.
    #[schemars(with = "Dataset")]
    pub dataset: Option<Dataset>,
    /// The metric by which jobs are compared, if not the trainer's own choice.
    #[schemars(default, with = "RankBy")]
    pub rank_by: Option<RankBy>,
    /// Settings of every job; groups may name others. What the file does not name has the value of the preset.
    #[schemars(default, schema_with = "setting_schemas::one_value")]
    pub defaults: Settings,
    /// Groups of jobs by name. Each is the product of its axes.
    #[schemars(with = "BTreeMap<String, Group>", extend("minProperties" = 1))]
    pub groups: Vec<(Located<String>, Group)>,
    /// Ensembles by name. Each is the union of what its members select, joined by soft voting.
    #[schemars(default, with = "BTreeMap<String, Ensemble>")]
    pub ensembles: Vec<(Located<String>, Ensemble)>,
    /// Tables of the report.
    #[schemars(default)]
    pub tables: Vec<Table>,
    /// How often a job stores a checkpoint: `epoch` (after each), and besides that every `200 steps` or
    /// `5 minutes`. Changes no result, and may be changed between two runs.
    #[schemars(
        default = "default_checkpoint_every",
        with = "String",
        regex(pattern = "^(epoch|[1-9][0-9]* (steps?|minutes?))$")
    )]
    pub checkpoint_every: Option<Located<String>>,
    /// Whether the server keeps the last checkpoint of a finished job, so that the job can go on from there when its
    /// `epochs` are raised. It takes about four times as much room as the trained model.
    #[schemars(default = "default_keep_checkpoints")]
    pub keep_checkpoints: bool,
    /// How early the jobs are trained among those of all sweeps on a server: those of a higher priority first. Changes no
    /// result, and may be changed while the sweep runs.
    #[schemars(default, with = "i64", range(min = -100, max = 100))]
    pub priority: Priority,
    /// Refuses a file with more combinations than this, before excludes, in case of a typo.
    #[schemars(default = "default_max_jobs", range(max = MOST_JOBS))]
    pub max_jobs: u64,
}

fn default_checkpoint_every() -> String {
    CheckpointEvery::default().to_string()
}

fn default_keep_checkpoints() -> bool {
    true
}

fn default_max_jobs() -> u64 {
    DEFAULT_MAX_JOBS
}

/// A metric that ranks jobs.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RankBy {
    /// The metric's name in the trainer's reports.
    pub metric: Located<String>,
    /// Which values are better.
    #[schemars(default)]
    pub goal: Goal,
}

/// Where the images come from.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum Dataset {
    /// Folder of a pack made by `ferry data`; a relative path starts at the sweep file's folder.
    Pack(Located<String>),
    Synthetic(Synthetic),
}

/// Faces drawn on first use.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Synthetic {
    /// Options of the face generator.
    pub synthetic: Located<SyntheticOptions>,
}

/// Jobs: every combination of the values of the axes.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Group {
    /// Axes: a list of values for any setting. Later axes vary fastest.
    #[schemars(schema_with = "setting_schemas::axes")]
    pub matrix: Vec<(Located<String>, Vec<Located<Value>>)>,
    /// Settings of every job in the group.
    #[schemars(default, schema_with = "setting_schemas::one_value")]
    pub settings: Settings,
    /// Combinations to leave out: those that have all values of an entry.
    #[schemars(default, schema_with = "setting_schemas::combinations")]
    pub exclude: Vec<Located<Settings>>,
    /// Jobs to add, one for each entry: the group's settings with the entry's values.
    #[schemars(default, schema_with = "setting_schemas::combinations")]
    pub include: Vec<Located<Settings>>,
}

/// Models whose probabilities are averaged (soft voting).
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Ensemble {
    /// Selections of jobs; a job that several of them select is one member.
    #[schemars(extend("minItems" = 1))]
    pub members: Vec<Located<Member>>,
    /// The paper's scores for this ensemble, in percent, to print beside ours.
    #[schemars(default)]
    pub paper: Option<PaperScores>,
}

/// A selection of jobs: all that meet the conditions, or the best of them by the metric of `rank_by`.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Member {
    /// Conditions that a job must meet: settings or `group`, each with a value or a list of allowed ones.
    #[schemars(rename = "where", default, schema_with = "setting_schemas::conditions")]
    pub filter: Conditions,
    /// Only this many jobs, the best by the metric of `rank_by`.
    #[schemars(default, with = "u32", range(min = 1))]
    pub top: Option<Located<u64>>,
    /// Only the jobs with the best combination of these settings, by the mean of the metric of `rank_by`.
    #[schemars(default, schema_with = "setting_schemas::setting_names")]
    pub best_group: Vec<Located<String>>,
}

/// A table of the report: one row for each combination of `rows`.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Table {
    /// The heading; no two tables have the same.
    pub title: Located<String>,
    /// Conditions that a job must meet to be in the table.
    #[schemars(rename = "where", default, schema_with = "setting_schemas::conditions")]
    pub filter: Conditions,
    /// Settings that make the rows: one for each combination, the mean over its jobs.
    #[schemars(schema_with = "setting_schemas::setting_names")]
    pub rows: Vec<Located<String>>,
    /// The first of `rows`: a second column has the mean over all rows that agree in them.
    #[schemars(default, schema_with = "setting_schemas::setting_names")]
    pub mean_by: Vec<Located<String>>,
    /// The paper's numbers: the settings of a row and its F1.
    #[schemars(default, schema_with = "setting_schemas::paper_rows")]
    pub paper: Vec<Located<PaperRow>>,
}

/// One number of the paper.
#[derive(Debug, Clone, PartialEq)]
pub struct PaperRow {
    pub row: Settings,
    pub f1: f64,
}

/// Settings with one value each, in the order of the file.
pub type Settings = Vec<(Located<String>, Located<Value>)>;

/// Conditions: a setting (or `group`) and its allowed values.
pub type Conditions = Vec<(Located<String>, Vec<Located<Value>>)>;

/// A value and its place in the file. Its schema is the value's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    pub span: Span,
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
