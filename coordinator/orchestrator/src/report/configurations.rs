//! Configurations: the jobs of a group that differ only in their seeds, with a name that tells them from other jobs.

use std::collections::BTreeMap;

use serde_json::Value;
use shared::ids::JobId;

use super::labels::{self, SEEDS};
use crate::sweep::plan::{Plan, PlannedJob};

/// Repetitions of one training with different seeds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Configuration {
    pub(super) group: String,
    /// The values in which it differs from other configurations of its group.
    pub(super) label: String,
    /// In the order of the plan.
    pub(super) jobs: Vec<JobId>,
}

impl Configuration {
    /// The group, to print before the label. `None` if the group is itself the label, as in a group of one
    /// configuration.
    pub(super) fn group_before_label(&self) -> Option<&str> {
        (self.group != self.label).then_some(&*self.group)
    }
}

/// The plan's configurations in the order of their first job.
pub(super) fn configurations(plan: &Plan) -> Vec<Configuration> {
    let mut found: Vec<(BTreeMap<&str, &Value>, Configuration)> = Vec::new();
    for job in &plan.jobs {
        let key: BTreeMap<&str, &Value> = job
            .params
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .filter(|(name, _)| !SEEDS.contains(name))
            .collect();
        let same = |(other, configuration): &&mut (_, Configuration)| {
            *other == key && configuration.group == job.group
        };
        if let Some((_, configuration)) = found.iter_mut().find(same) {
            configuration.jobs.push(job.id);
        } else {
            let (group, label) = (job.group.clone(), label(plan, job));
            found.push((key, Configuration { group, label, jobs: vec![job.id] }));
        }
    }
    found.into_iter().map(|(_, configuration)| configuration).collect()
}

/// What tells a job from others of its configuration: its seeds, if they differ within the group.
pub(super) fn repetition(plan: &Plan, job: &PlannedJob) -> Option<String> {
    let seeds: Vec<String> = SEEDS
        .into_iter()
        .filter(|name| varies(plan, &job.group, name))
        .filter_map(|name| Some(labels::standing_alone(name, job.params.get(name)?)))
        .collect();
    (!seeds.is_empty()).then(|| seeds.join(", "))
}

fn label(plan: &Plan, job: &PlannedJob) -> String {
    let told = job.params.iter().filter(|(name, _)| !SEEDS.contains(&name.as_str()));
    let told = told.filter(|(name, _)| varies(plan, &job.group, name));
    // Method and appearance branch come first, as in the paper's tables.
    let rank = |name: &str| ["augmentation", "backbone"].iter().position(|first| *first == name).unwrap_or(2);
    let mut told: Vec<(&String, &Value)> = told.collect();
    told.sort_by_key(|(name, _)| rank(name));
    if told.is_empty() {
        return job.group.clone();
    }
    told.iter().map(|(name, value)| labels::standing_alone(name, value)).collect::<Vec<_>>().join(" · ")
}

fn varies(plan: &Plan, group: &str, name: &str) -> bool {
    let mut values = plan.jobs.iter().filter(|job| job.group == group).map(|job| job.params.get(name));
    let first = values.next().flatten();
    values.any(|value| value != first)
}
