//! Short names of jobs for people: the group, and the settings in which its jobs differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use shared::blob::shortened;
use shared::ids::JobId;
use shared::trainer::TrainerKind;

use crate::sweep::plan::{Plan, PlannedJob};

/// A label for each job of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    by_job: Arc<BTreeMap<JobId, String>>,
    /// The path of the sweep file as the user wrote it.
    file: String,
    /// What the jobs' scores are called.
    score: String,
    /// Whether `ferry-worker reproduce` can train the jobs.
    is_reproducible: bool,
}

impl Labels {
    /// Labels of all jobs of `plan`: group, then the values of the settings that differ within it.
    pub fn of(plan: &Plan) -> Self {
        let varying = varying(&plan.jobs);
        let by_job = Arc::new(plan.jobs.iter().map(|job| (job.id, label(job, &varying))).collect());
        let is_reproducible = plan.kind().is_some_and(TrainerKind::is_reproducible);
        Self { by_job, file: format!("{}.yaml", plan.name), score: plan.score_name(), is_reproducible }
    }

    /// The same labels for a sweep that was read from `file`.
    #[must_use]
    pub fn from_file(self, file: &std::path::Path) -> Self {
        Self { file: file.display().to_string(), ..self }
    }

    /// The path of the sweep file as the user wrote it.
    pub fn file(&self) -> &std::path::Path {
        std::path::Path::new(&self.file)
    }

    /// What the jobs' scores are called.
    pub fn score_name(&self) -> &str {
        if self.score.is_empty() { "score" } else { &self.score }
    }

    /// The command that trains one job on this machine, without a server, to show its error; `None` if its trainer has
    /// none.
    pub fn reproduce(&self, job: JobId) -> Option<String> {
        self.is_reproducible.then(|| reproduce(&self.file, job))
    }

    /// The label of `job`, or its short id if it belongs to another sweep.
    pub fn get(&self, job: JobId) -> String {
        self.find(job).map_or_else(|| job.short(), str::to_owned)
    }

    /// The label of `job`, if it belongs to this sweep.
    pub fn find(&self, job: JobId) -> Option<&str> {
        self.by_job.get(&job).map(String::as_str)
    }
}

/// The command that trains one job of a sweep file without a server.
fn reproduce(file: &str, job: JobId) -> String {
    let file = shlex::try_quote(file).unwrap_or(file.into());
    format!("ferry-worker reproduce {file} --job {}", job.short())
}

/// Each (group, setting) with more than one value. A setting that is constant in a group is implied by the group's
/// name.
fn varying(jobs: &[PlannedJob]) -> BTreeSet<(&str, &str)> {
    let mut values: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for job in jobs {
        for (name, value) in job.params.iter() {
            values.entry((&job.group, name)).or_default().insert(value.to_string());
        }
    }
    values.into_iter().filter(|(_, seen)| seen.len() > 1).map(|(key, _)| key).collect()
}

fn label(job: &PlannedJob, varying: &BTreeSet<(&str, &str)>) -> String {
    let varies = |name: &str| varying.contains(&(job.group.as_str(), name));
    let mut parts = vec![job.group.clone()];
    parts.extend(job.params.iter().filter(|(name, _)| varies(name)).map(|(name, value)| part(name, value)));
    parts.join(" ")
}

/// A word explains itself; a switch or a number needs the name of its setting.
fn part(name: &str, value: &Value) -> String {
    match value {
        Value::String(word) => shortened(word).to_owned(),
        Value::Bool(true) => format!("+{name}"),
        Value::Bool(false) => format!("-{name}"),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => format!("{name}={value}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::sweep::job_settings::JobSettings;
    use crate::sweep::plan::DatasetSource;

    fn job(n: u128, group: &str, params: Value) -> PlannedJob {
        let Value::Object(params) = params else { panic!("params are an object") };
        let params = JobSettings::from(params);
        let settings = params.clone();
        PlannedJob {
            id: JobId::new(Uuid::from_u128(n)),
            group: group.into(),
            also_in: vec![],
            params,
            settings,
        }
    }

    #[test]
    fn labels_name_what_differs() {
        let plan = Plan {
            name: "s".into(),
            trainer: shared::mtl::trainer(),
            ranking: shared::trainer::TrainerKind::ranking(&shared::mtl::Mtl),
            dataset: Some(DatasetSource::Pack("p".into())),
            dataset_digest: None,
            checkpoint_every: shared::protocol::CheckpointEvery::default(),
            keep_checkpoints: true,
            priority: shared::protocol::Priority::NORMAL,
            jobs: vec![
                job(1, "weak", json!({"augmentation": "mixup", "subset_seed": 1, "epochs": 3})),
                job(2, "weak", json!({"augmentation": "mixaug", "subset_seed": 2, "epochs": 3})),
                job(3, "strong", json!({"augmentation": "mixup", "subset_seed": 0, "epochs": 9})),
            ],
            ensembles: vec![],
            tables: vec![],
            weights: vec![],
            requested: crate::sweep::plan::Requested::default(),
            notes: vec![],
        };
        let labels = Labels::of(&plan);
        assert_eq!(labels.get(plan.jobs[0].id), "weak mixup subset_seed=1");
        assert_eq!(labels.get(plan.jobs[2].id), "strong");
        assert_eq!(labels.get(JobId::new(Uuid::nil())), "00000000");
        let file = std::path::Path::new("my sweeps/s.yaml");
        assert_eq!(
            labels.clone().from_file(file).reproduce(plan.jobs[0].id),
            Some("ferry-worker reproduce 'my sweeps/s.yaml' --job 00000000".to_owned())
        );
        assert_eq!(labels.find(JobId::new(Uuid::nil())), None);
    }
}
