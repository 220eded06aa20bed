//! A plan: a sweep file resolved to jobs, ensemble rules and tables. Plain data, stored with every run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::ids::JobId;
use shared::job::{Inputs, Job, TrainerId};
use shared::kinds;
use shared::metrics::Ranking;
use shared::mtl::preset::Preset;
use shared::protocol::{CheckpointEvery, Execution, JobOrder, Priority};
use shared::settings::Settings;
use shared::trainer::{DatasetSize, TrainerKind};

use super::job_settings::JobSettings;

/// Everything that a sweep file asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The sweep's name: also the name of its run folder.
    pub name: String,
    /// The trainer of all jobs. Plans from before there was a choice do not name it.
    #[serde(default = "shared::mtl::trainer")]
    pub trainer: TrainerId,
    /// The metric by which jobs are compared.
    #[serde(default = "first_ranking")]
    pub ranking: Ranking,
    /// `None` if the jobs read no dataset.
    #[serde(default)]
    pub dataset: Option<DatasetSource>,
    /// The pack's content digest; `None` while there is no dataset yet, and then all ids are provisional. Also `None` if
    /// the jobs read none.
    pub dataset_digest: Option<String>,
    /// How often to store checkpoints. No result depends on it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub checkpoint_every: CheckpointEvery,
    /// Whether a finished job keeps its last checkpoint. No result depends on it.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub keep_checkpoints: bool,
    /// How early its jobs are trained among those of all sweeps on a server. No result depends on it.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// In the order of the file, each job once.
    #[serde(deserialize_with = "read_jobs")]
    pub jobs: Vec<PlannedJob>,
    pub ensembles: Vec<EnsembleRule>,
    pub tables: Vec<TableRule>,
    /// Files of weights that the jobs start from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<WeightsFile>,
    /// What was requested while the sweep ran.
    #[serde(default, skip_serializing_if = "Requested::is_empty")]
    pub requested: Requested,
    /// What a user should know before starting the sweep, each in one sentence; not stored.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// How a plan differs from its sweep file on request. A later run of the same file keeps it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Requested {
    /// Jobs that were added.
    pub jobs: BTreeSet<JobId>,
    /// Names of ensembles and titles of tables that were added.
    pub ensembles: BTreeSet<String>,
    pub tables: BTreeSet<String>,
    /// Jobs that were withdrawn.
    pub withdrawn: BTreeSet<JobId>,
}

impl Requested {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_default(every: &CheckpointEvery) -> bool {
    *every == CheckpointEvery::default()
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_yes(value: &bool) -> bool {
    *value
}

fn first_ranking() -> Ranking {
    shared::mtl::Mtl.ranking()
}

impl Plan {
    /// What is known about the trainer of the jobs; `None` if this program does not know it.
    pub fn kind(&self) -> Option<&'static dyn TrainerKind> {
        kinds::find(self.trainer.kind.as_str())
    }

    /// True if the jobs have their final ids: they read no dataset, or it is there.
    pub fn has_inputs(&self) -> bool {
        self.dataset.is_none() || self.dataset_digest.is_some()
    }

    /// What the ranking metric is called on displays.
    pub fn score_name(&self) -> String {
        match self.kind() {
            Some(kind) if kind.ranking() == self.ranking => kind.ranking_label().to_owned(),
            Some(_) | None => self.ranking.metric.clone(),
        }
    }

    /// What a worker is asked to train. Settings of a trainer that this program does not know are passed on as they are.
    pub fn order(&self, job: &PlannedJob) -> JobOrder {
        let digest = self.dataset_digest.as_deref().unwrap_or_default();
        let content = match self.kind() {
            Some(kind) => kind.job(&job.settings.to_map(), digest),
            None => Job {
                trainer: self.trainer.clone(),
                settings: job.settings.to_map(),
                inputs: Inputs::default(),
            },
        };
        let (v, execution) = (JobOrder::VERSION, self.execution());
        JobOrder { v, job: job.id, content, execution, admitted_nanos: None }
    }

    /// How many epochs a job has; 1 if this program does not know its trainer.
    pub fn epochs_of(&self, job: &PlannedJob) -> u32 {
        self.kind().map_or(1, |kind| kind.effort(&job.settings.to_map(), DatasetSize::default()).epochs)
    }

    /// The jobs among which an ensemble chooses its members, by their places in the plan.
    pub fn candidates(&self, rule: &EnsembleRule) -> BTreeSet<usize> {
        let matching =
            |filter| self.jobs.iter().enumerate().filter(move |(_, job)| job.matches(filter)).map(|(n, _)| n);
        rule.members.iter().map(Query::filter).flat_map(matching).collect()
    }

    /// The orders of all jobs.
    pub fn orders(&self) -> Vec<JobOrder> {
        self.jobs.iter().map(|job| self.order(job)).collect()
    }

    /// How the jobs are carried out.
    pub fn execution(&self) -> Execution {
        let drops_last_checkpoint = !self.keep_checkpoints;
        let execution = Execution::new(self.checkpoint_every, self.ranking.clone());
        Execution { sweep: self.name.clone(), drops_last_checkpoint, ..execution }
    }
}

/// A file of weights that jobs start from, named in them by its digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightsFile {
    /// SHA-256 of the file.
    pub digest: String,
    /// The file's name, for people.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The parts of a network that are in it, in words.
    pub holds: String,
    /// Remarks about its use in this sweep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Its path on this machine; not stored, because a run folder may be moved.
    #[serde(skip)]
    pub path: PathBuf,
}

/// Where the pack comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetSource {
    /// An imported pack; relative paths start at the sweep file's folder.
    Pack(PathBuf),
    /// Faces drawn by `ferry data synth` with these options, made on first use.
    Synthetic(SyntheticOptions),
}

/// The options of the face generator that a sweep file may set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticOptions {
    /// Seed of the drawing.
    pub seed: u64,
    /// Number of training images.
    pub train: u32,
    /// Number of validation images.
    pub validation: u32,
    /// Number of test images.
    pub test: u32,
    /// Height and width in pixels.
    pub image_size: u32,
    /// Gives the training classes the shares of the paper's Fig. 3 instead of equal ones.
    pub imbalanced: bool,
}

impl Default for SyntheticOptions {
    fn default() -> Self {
        Self { seed: 0, train: 3000, validation: 600, test: 600, image_size: 64, imbalanced: false }
    }
}

/// One job of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedJob {
    pub id: JobId,
    /// The first group that asks for it.
    pub group: String,
    /// Other groups that ask for the same job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_in: Vec<String>,
    /// The settings that any group of the sweep names, with this job's values; and the preset, if the sweep names one.
    pub params: JobSettings,
    /// Every setting of the trainer, in normal form.
    #[serde(rename = "spec")]
    pub settings: JobSettings,
}

impl PlannedJob {
    /// Adds the job to `jobs`, and lets it share with the last of them what they have in common.
    pub fn append_to(self, jobs: &mut Vec<Self>) {
        let job = match jobs.last() {
            Some(last) => Self {
                params: self.params.sharing_with(&last.params),
                settings: self.settings.sharing_with(&last.settings),
                ..self
            },
            None => self,
        };
        jobs.push(job);
    }

    /// The value that a filter or a table sees under `name`: `group`, `preset`, or any setting.
    pub fn value(&self, name: &str) -> Option<Value> {
        match name {
            "group" => Some(Value::String(self.group.clone())),
            Preset::KEY => {
                Some(self.params.get(Preset::KEY).cloned().unwrap_or(Preset::default().name().into()))
            }
            setting => self.settings.get(setting).cloned(),
        }
    }

    /// True when every condition holds; `group` also matches the other groups of a shared job.
    pub fn matches(&self, filter: &Filter) -> bool {
        filter.iter().all(|(name, allowed)| {
            let shared_group = name == "group"
                && self.also_in.iter().any(|group| allowed.contains(&Value::String(group.clone())));
            shared_group || self.value(name).is_some_and(|value| allowed.contains(&value))
        })
    }
}

/// Reads jobs one by one, so that never more than one of them has a map of its own.
fn read_jobs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PlannedJob>, D::Error> {
    struct Jobs;

    impl<'de> Visitor<'de> for Jobs {
        type Value = Vec<PlannedJob>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of jobs")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<PlannedJob>, A::Error> {
            let mut jobs = Vec::new();
            while let Some(job) = list.next_element::<PlannedJob>()? {
                job.append_to(&mut jobs);
            }
            Ok(jobs)
        }
    }

    deserializer.deserialize_seq(Jobs)
}

/// Conditions on jobs: each named setting (or `group`) has one of the listed values.
pub type Filter = BTreeMap<String, Vec<Value>>;

/// A named ensemble: the union of what its queries select.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnsembleRule {
    pub name: String,
    pub members: Vec<Query>,
    /// Number of members when all jobs are done.
    pub size: usize,
    /// What the paper reports for it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paper: Option<PaperScores>,
}

/// One selection of jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// Every job that matches.
    All { filter: Filter },
    /// The `k` best of those by the metric that ranks; ties go to the job that comes first in the plan.
    Top { k: usize, filter: Filter },
    /// Of the matching jobs, grouped by the values of `by`: the group with the best mean of that metric;
    /// ties go to the group that comes first in the plan.
    BestGroup { by: Vec<String>, filter: Filter },
}

impl Query {
    /// What its candidates match.
    pub fn filter(&self) -> &Filter {
        match self {
            Self::All { filter } | Self::Top { filter, .. } | Self::BestGroup { filter, .. } => filter,
        }
    }
}

/// Macro F1 in percent as the paper prints it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaperScores {
    pub validation: f64,
    pub test: f64,
}

/// A table of the report: one row for each combination of `rows` among the matching jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableRule {
    pub title: String,
    pub filter: Filter,
    /// Settings that make the rows; each row is the mean over all its jobs.
    pub rows: Vec<String>,
    /// Leading settings of `rows` over which a second column averages (the paper's "Mean F1").
    #[serde(default)]
    pub mean_by: Vec<String>,
    /// The paper's F1 for rows, each named by its settings.
    #[serde(default)]
    pub paper: Vec<PaperRow>,
}

/// One number of the paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaperRow {
    pub row: Settings,
    pub f1: f64,
}
