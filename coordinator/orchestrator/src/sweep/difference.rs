//! How a plan differs from an earlier one of the same sweep: which jobs, ensembles and tables come, change and go. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use shared::ids::JobId;
use shared::metrics::{Goal, Ranking};
use shared::plural::count;

use super::plan::{Plan, PlannedJob};

/// What changes when one plan takes the place of another.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Difference {
    /// Jobs of both plans.
    pub kept: Vec<JobId>,
    /// New jobs that take the place of no other.
    pub added: Vec<JobId>,
    /// Jobs of which a setting that is no axis has changed, or the dataset or the trainer, which makes them other jobs.
    pub changed: Vec<ChangedJob>,
    /// Jobs that are no longer wanted, and that no other takes the place of.
    pub dropped: Vec<JobId>,
    pub ensembles: Names,
    pub tables: Names,
    /// What changes besides, for many jobs at once, each in a few words.
    pub remarks: Vec<String>,
}

/// A job that takes the place of another one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedJob {
    pub before: JobId,
    pub after: JobId,
    /// Empty if only the dataset has changed, or the trainer is another one, whose settings mean other things.
    pub settings: Vec<ChangedSetting>,
}

/// A setting, and its values in both jobs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedSetting {
    pub name: String,
    pub before: Value,
    pub after: Value,
}

/// Which ensembles or tables come, change and go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Names {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub dropped: Vec<String>,
}

impl Difference {
    /// What changes when `after` takes the place of `before`.
    pub fn between(before: &Plan, after: &Plan) -> Self {
        let ids = |plan: &Plan| -> BTreeSet<JobId> { plan.jobs.iter().map(|job| job.id).collect() };
        let (old, new) = (ids(before), ids(after));
        let mut difference = Self {
            kept: after.jobs.iter().map(|job| job.id).filter(|job| old.contains(job)).collect(),
            ensembles: Names::between(
                before.ensembles.iter().map(|rule| (&rule.name, (&rule.members, &rule.paper))),
                after.ensembles.iter().map(|rule| (&rule.name, (&rule.members, &rule.paper))),
            ),
            tables: Names::between(
                before.tables.iter().map(|rule| (&rule.title, rule)),
                after.tables.iter().map(|rule| (&rule.title, rule)),
            ),
            remarks: remarks(before, after),
            ..Self::default()
        };
        if old == new {
            return difference;
        }
        let gone: Vec<&PlannedJob> = before.jobs.iter().filter(|job| !new.contains(&job.id)).collect();
        let come = after.jobs.iter().filter(|job| !old.contains(&job.id));
        let axes = axes(before).into_iter().chain(axes(after)).collect();
        let mut places: BTreeMap<String, Vec<&PlannedJob>> = BTreeMap::new();
        for job in &gone {
            places.entry(place(job, &axes)).or_default().push(job);
        }
        let is_same_kind = before.trainer.kind == after.trainer.kind;
        let mut replaced = BTreeSet::new();
        for job in come {
            match places.get(&place(job, &axes)).map(Vec::as_slice) {
                Some([other]) if replaced.insert(other.id) => difference.changed.push(ChangedJob {
                    before: other.id,
                    after: job.id,
                    settings: if is_same_kind { changed_settings(other, job) } else { Vec::new() },
                }),
                Some(_) | None => difference.added.push(job.id),
            }
        }
        difference.dropped = gone.iter().map(|job| job.id).filter(|job| !replaced.contains(job)).collect();
        difference
    }

    /// True if nothing changes.
    pub fn is_empty(&self) -> bool {
        let Self { kept: _, added, changed, dropped, ensembles, tables, remarks } = self;
        added.is_empty()
            && changed.is_empty()
            && dropped.is_empty()
            && ensembles.is_empty()
            && tables.is_empty()
            && remarks.is_empty()
    }

    /// The jobs that only the new plan has.
    pub fn come(&self) -> impl Iterator<Item = JobId> {
        self.added.iter().copied().chain(self.changed.iter().map(|job| job.after))
    }

    /// The jobs that only the old plan has.
    pub fn gone(&self) -> impl Iterator<Item = JobId> {
        self.dropped.iter().copied().chain(self.changed.iter().map(|job| job.before))
    }

    /// How much changes, each kind in a few words.
    pub fn summary(&self) -> Vec<String> {
        let Self { kept: _, added, changed, dropped, ensembles, tables, remarks } = self;
        let counts = [
            (added.len(), "job", "added"),
            (changed.len(), "job", "replaced by others"),
            (dropped.len(), "job", "withdrawn"),
            (ensembles.added.len(), "ensemble", "added"),
            (ensembles.changed.len(), "ensemble", "changed"),
            (ensembles.dropped.len(), "ensemble", "removed"),
            (tables.added.len(), "table", "added"),
            (tables.changed.len(), "table", "changed"),
            (tables.dropped.len(), "table", "removed"),
        ];
        let counts = counts.into_iter().filter(|(number, ..)| *number > 0);
        let mut summary: Vec<String> =
            counts.map(|(number, what, how)| format!("{} {how}", count(number, what))).collect();
        summary.extend(remarks.iter().cloned());
        summary
    }
}

impl Names {
    fn between<'a, Rule: PartialEq>(
        before: impl Iterator<Item = (&'a String, Rule)>,
        after: impl Iterator<Item = (&'a String, Rule)>,
    ) -> Self {
        let mut old: BTreeMap<&String, Rule> = before.collect();
        let mut names = Self::default();
        for (name, rule) in after {
            match old.remove(name) {
                None => names.added.push(name.clone()),
                Some(known) if known != rule => names.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        names.dropped = old.into_keys().cloned().collect();
        names
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.dropped.is_empty()
    }
}

/// What changes for many jobs at once.
fn remarks(before: &Plan, after: &Plan) -> Vec<String> {
    let mut remarks = Vec::new();
    if before.trainer != after.trainer {
        remarks.push(format!("the trainer is {}, not {}", after.trainer, before.trainer));
    }
    if before.dataset_digest != after.dataset_digest && after.dataset_digest.is_some() {
        remarks.push("the dataset is another one".to_owned());
    }
    if before.ranking != after.ranking {
        let (now, earlier) = (in_words(&after.ranking), in_words(&before.ranking));
        remarks.push(format!("jobs are ranked by {now}, not by {earlier}"));
    }
    if before.checkpoint_every != after.checkpoint_every {
        remarks.push(format!(
            "checkpoints are stored every {}, not every {}",
            after.checkpoint_every, before.checkpoint_every
        ));
    }
    match (before.keep_checkpoints, after.keep_checkpoints) {
        (true, false) => remarks.push("jobs that finish from now on keep no checkpoint".to_owned()),
        (false, true) => remarks.push("jobs that finish from now on keep their last checkpoint".to_owned()),
        (true, true) | (false, false) => {}
    }
    if before.priority != after.priority {
        remarks.push(format!("the sweep has priority {}, not {}", after.priority, before.priority));
    }
    remarks.extend(regrouped(before, after));
    remarks
}

/// What changes for jobs of both plans without changing the jobs: ensembles and tables choose by groups, and of jobs with
/// equal scores the first.
fn regrouped(before: &Plan, after: &Plan) -> Vec<String> {
    let old: BTreeMap<JobId, (usize, &PlannedJob)> =
        before.jobs.iter().enumerate().map(|(place, job)| (job.id, (place, job))).collect();
    let kept = after.jobs.iter().filter_map(|job| Some((job, old.get(&job.id)?)));
    let (mut places, mut moved) = (Vec::new(), 0);
    for (job, (place, known)) in kept {
        places.push(place);
        moved += usize::from((&job.group, &job.also_in) != (&known.group, &known.also_in));
    }
    let groups = (moved > 0).then(|| format!("{} in other groups", count(moved, "job")));
    let order = (!places.is_sorted()).then(|| "jobs are in another order".to_owned());
    groups.into_iter().chain(order).collect()
}

fn in_words(ranking: &Ranking) -> String {
    let first = match ranking.goal {
        Goal::Max => "highest",
        Goal::Min => "lowest",
    };
    format!("{} ({first} first)", ranking.metric)
}

/// Each group with the settings that take several values in it.
fn axes(plan: &Plan) -> BTreeSet<(&str, &str)> {
    let mut first: BTreeMap<(&str, &str), &Value> = BTreeMap::new();
    let mut axes = BTreeSet::new();
    for job in &plan.jobs {
        for (name, value) in job.params.iter() {
            let key = (job.group.as_str(), name.as_str());
            if first.entry(key).or_insert(value) != &value {
                axes.insert(key);
            }
        }
    }
    axes
}

/// What makes a job the same to a reader although a setting was edited: its group, and its values on the axes.
fn place(job: &PlannedJob, axes: &BTreeSet<(&str, &str)>) -> String {
    let on_axis = |name: &str| axes.contains(&(job.group.as_str(), name));
    let values: Vec<String> = job
        .params
        .iter()
        .filter(|(name, _)| on_axis(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{} {}", job.group, values.join(" "))
}

/// The settings in which two jobs differ. A setting that only one trainer's revision has is `null` in the other.
fn changed_settings(before: &PlannedJob, after: &PlannedJob) -> Vec<ChangedSetting> {
    let names: BTreeSet<&String> = before.settings.keys().chain(after.settings.keys()).collect();
    let value = |job: &PlannedJob, name: &str| job.settings.get(name).cloned().unwrap_or(Value::Null);
    names
        .into_iter()
        .map(|name| ChangedSetting {
            name: name.clone(),
            before: value(before, name),
            after: value(after, name),
        })
        .filter(|setting| setting.before != setting.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::plan::{EnsembleRule, Filter, Query};
    use super::*;

    fn plan(groups: &str) -> Plan {
        let text = format!("name: edited\ntrainer: empty\ngroups: {groups}\n");
        super::super::plan(&text, Path::new(""), Path::new(""))
            .unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    fn numbers(difference: &Difference) -> [usize; 4] {
        let Difference { kept, added, changed, dropped, .. } = difference;
        [kept.len(), added.len(), changed.len(), dropped.len()]
    }

    #[test]
    fn a_value_on_an_axis_adds_or_drops_jobs() {
        let before = plan("{a: {matrix: {seed: [0, 1, 2], epochs: [4, 8]}}}");
        let more = plan("{a: {matrix: {seed: [0, 1, 2, 3], epochs: [4, 8]}}}");
        let other = plan("{a: {matrix: {seed: [0, 1, 5], epochs: [4, 8]}}}");
        assert_eq!(numbers(&Difference::between(&before, &more)), [6, 2, 0, 0]);
        assert_eq!(numbers(&Difference::between(&more, &before)), [6, 0, 0, 2]);
        assert_eq!(numbers(&Difference::between(&before, &other)), [4, 2, 0, 2]);
        let same = Difference::between(&before, &before);
        assert!(same.is_empty() && numbers(&same) == [6, 0, 0, 0], "{same:?}");
    }

    #[test]
    fn a_setting_that_is_no_axis_changes_jobs() {
        let before = plan("{a: {settings: {epochs: 4}, matrix: {seed: [0, 1, 2]}}}");
        let after = plan("{a: {settings: {epochs: 6}, matrix: {seed: [0, 1, 3]}}}");
        let difference = Difference::between(&before, &after);
        assert_eq!(numbers(&difference), [0, 1, 2, 1], "{difference:?}");
        let ChangedJob { settings, .. } = &difference.changed[0];
        let settings: Vec<_> =
            settings.iter().map(|one| format!("{} {} {}", one.name, one.before, one.after)).collect();
        assert_eq!(settings, ["epochs 4 6"]);
        assert_eq!(difference.come().count(), 3);
        assert_eq!(difference.gone().count(), 3);
    }

    #[test]
    fn a_group_of_one_job_is_compared_by_its_name() {
        let before = plan("{a: {matrix: {seed: [1]}}, b: {matrix: {seed: [2]}}}");
        let after = plan("{a: {matrix: {seed: [1]}}, b: {matrix: {seed: [7]}}, c: {matrix: {seed: [9]}}}");
        assert_eq!(numbers(&Difference::between(&before, &after)), [1, 1, 1, 0]);
    }

    #[test]
    fn another_dataset_or_trainer_is_told_once_and_not_for_each_setting() {
        let before = plan("{a: {settings: {epochs: 4}, matrix: {seed: [0, 1]}}}");
        let renumbered = |mut plan: Plan| {
            for (n, job) in (1..).zip(&mut plan.jobs) {
                job.id = JobId::new(uuid::Uuid::from_u128(n));
            }
            plan
        };
        let elsewhere = Plan { dataset_digest: Some("ab".repeat(32)), ..renumbered(before.clone()) };
        let difference = Difference::between(&before, &elsewhere);
        assert_eq!(difference.summary(), ["2 jobs replaced by others", "the dataset is another one"]);
        assert!(difference.changed.iter().all(|job| job.settings.is_empty()), "{difference:?}");

        let mut other = renumbered(plan("{a: {settings: {epochs: 6}, matrix: {seed: [0, 1]}}}"));
        other.trainer = shared::mtl::trainer();
        let difference = Difference::between(&before, &other);
        assert!(difference.remarks[0].starts_with("the trainer is mtl (revision "), "{difference:?}");
        assert_eq!(difference.changed.len(), 2);
        assert!(difference.changed.iter().all(|job| job.settings.is_empty()), "{difference:?}");
    }

    #[test]
    fn groups_and_the_order_of_jobs_are_compared_too() {
        let before = plan("{a: {matrix: {seed: [0, 1, 2]}}, b: {matrix: {seed: [7]}}}");
        let told = |groups: &str| Difference::between(&before, &plan(groups)).summary();
        assert_eq!(
            told("{a: {matrix: {seed: [0, 1, 2]}}, c: {matrix: {seed: [7]}}}"),
            ["1 job in other groups"]
        );
        let another_order = ["jobs are in another order"];
        assert_eq!(told("{a: {matrix: {seed: [0, 2, 1]}}, b: {matrix: {seed: [7]}}}"), another_order);
        assert_eq!(told("{b: {matrix: {seed: [7]}}, a: {matrix: {seed: [0, 1, 2]}}}"), another_order);
        // A job that two groups ask for.
        let shared = "{a: {matrix: {seed: [0, 1, 2]}}, b: {matrix: {seed: [7]}}, c: {matrix: {seed: [2]}}}";
        assert_eq!(told(shared), ["1 job in other groups"]);
        // Jobs that come and go between the others are no other order.
        assert_eq!(
            told("{a: {matrix: {seed: [0, 5, 2]}}, b: {matrix: {seed: [7]}}}"),
            ["1 job added", "1 job withdrawn"]
        );
    }

    #[test]
    fn ensembles_and_rankings_are_compared_too() {
        let before = plan("{a: {matrix: {seed: [0, 1]}}}");
        let mut after = before.clone();
        after.ranking.metric = "another".into();
        let changed = Difference::between(&before, &after);
        assert_eq!(
            changed.summary(),
            ["jobs are ranked by another (highest first), not by score (highest first)"]
        );
        let sooner = Plan { priority: "50".parse().unwrap(), ..before.clone() };
        assert_eq!(Difference::between(&before, &sooner).summary(), ["the sweep has priority 50, not 0"]);
        let rule = |name: &str, k| EnsembleRule {
            name: name.into(),
            members: vec![Query::Top { k, filter: Filter::new() }],
            size: 0,
            paper: None,
        };
        let before = Plan { ensembles: vec![rule("kept", 1), rule("edited", 1), rule("gone", 1)], ..before };
        let after =
            Plan { ensembles: vec![rule("new", 1), rule("edited", 2), rule("kept", 1)], ..before.clone() };
        let Names { added, changed, dropped } = Difference::between(&before, &after).ensembles;
        assert_eq!(
            (added, changed, dropped),
            (vec!["new".into()], vec!["edited".into()], vec!["gone".into()])
        );
    }
}
