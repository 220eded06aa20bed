//! Configurations: the jobs of a group that differ only in their seeds, with a name that tells them from other jobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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

/// The settings that differ within a group, by group and name.
#[derive(Debug)]
pub(super) struct Varying<'a>(BTreeSet<(&'a str, &'a str)>);

impl<'a> Varying<'a> {
    /// A setting that only some jobs of a group name differs, too.
    pub(super) fn of(plan: &'a Plan) -> Self {
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut settings: BTreeMap<(&str, &str), (&Value, usize, bool)> = BTreeMap::new();
        for job in &plan.jobs {
            *sizes.entry(&job.group).or_default() += 1;
            for (name, value) in job.params.iter() {
                let (first, jobs, differs) = settings.entry((&job.group, name)).or_insert((value, 0, false));
                *jobs += 1;
                *differs |= *first != value;
            }
        }
        let varying = settings.into_iter().filter(|((group, _), (_, jobs, differs))| {
            *differs || *jobs < sizes.get(group).copied().unwrap_or_default()
        });
        Self(varying.map(|(key, _)| key).collect())
    }

    fn within(&self, group: &str, name: &str) -> bool {
        self.0.contains(&(group, name))
    }
}

/// The plan's configurations in the order of their first job.
pub(super) fn configurations(plan: &Plan, varying: &Varying<'_>) -> Vec<Configuration> {
    let mut found: Vec<Configuration> = Vec::new();
    let mut places: HashMap<(&str, BTreeMap<&str, &Value>), usize> = HashMap::new();
    for job in &plan.jobs {
        let params = job.params.iter().map(|(name, value)| (name.as_str(), value));
        let key = (job.group.as_str(), params.filter(|(name, _)| !SEEDS.contains(name)).collect());
        let place = *places.entry(key).or_insert(found.len());
        if let Some(configuration) = found.get_mut(place) {
            configuration.jobs.push(job.id);
        } else {
            let (group, label) = (job.group.clone(), label(job, varying));
            found.push(Configuration { group, label, jobs: vec![job.id] });
        }
    }
    found
}

/// What tells a job from others of its configuration: its seeds, if they differ within the group.
pub(super) fn repetition(job: &PlannedJob, varying: &Varying<'_>) -> Option<String> {
    let seeds: Vec<String> = SEEDS
        .into_iter()
        .filter(|name| varying.within(&job.group, name))
        .filter_map(|name| Some(labels::standing_alone(name, job.params.get(name)?)))
        .collect();
    (!seeds.is_empty()).then(|| seeds.join(", "))
}

fn label(job: &PlannedJob, varying: &Varying<'_>) -> String {
    let told = job.params.iter().filter(|(name, _)| !SEEDS.contains(&name.as_str()));
    let told = told.filter(|(name, _)| varying.within(&job.group, name));
    // Method and appearance branch come first, as in the paper's tables.
    let rank = |name: &str| ["augmentation", "backbone"].iter().position(|first| *first == name).unwrap_or(2);
    let mut told: Vec<(&String, &Value)> = told.collect();
    told.sort_by_key(|(name, _)| rank(name));
    if told.is_empty() {
        return job.group.clone();
    }
    told.iter().map(|(name, value)| labels::standing_alone(name, value)).collect::<Vec<_>>().join(" · ")
}
