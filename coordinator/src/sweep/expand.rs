//! Groups to jobs: the product of each group's axes, less its excludes, plus its includes, in the file's order.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use shared::ids::JobId;
use shared::job::{JobSpec, Settings};

use super::plan::PlannedJob;
use super::problem::{Problem, Span};
use super::spec::{Group, Located, SweepFile};
use super::values::{normal, normal_settings};

/// A group with every value checked and written one way.
struct Resolved {
    name: Located<String>,
    /// All settings of a job of the group, the axes' excepted.
    fixed: Settings,
    axes: Vec<(String, Vec<Value>)>,
    exclude: Vec<(Span, Vec<(String, Value)>)>,
    include: Vec<Vec<(String, Value)>>,
}

/// The jobs of `file`, each once, with ids for the dataset of `digest`; wrong values go to `problems`.
///
/// The number of combinations is compared with `max_jobs` before any of them is made.
pub fn expand(file: &SweepFile, digest: &str, problems: &mut Vec<Problem>) -> Vec<PlannedJob> {
    let already = problems.len();
    let mut base = JobSpec::default().settings();
    base.extend(normal_settings(&file.defaults, problems));
    let groups: Vec<Resolved> =
        file.groups.iter().map(|(name, group)| resolve(name, group, &base, problems)).collect();
    refuse_too_many(file, &groups, problems);
    if problems.len() > already {
        return Vec::new();
    }
    let params = named_settings(file);
    let mut jobs = Jobs { digest, params, list: Vec::new(), index: HashMap::new() };
    for group in &groups {
        let combinations = combinations(group, problems);
        if combinations.is_empty() {
            let message = format!("group `{}` excludes every combination", group.name.value);
            problems.push(Problem::new(group.name.span, message));
        }
        for settings in combinations {
            if let Err(message) = jobs.add(&group.name.value, settings) {
                problems.push(Problem::new(group.name.span, message));
            }
        }
    }
    jobs.list
}

fn resolve(name: &Located<String>, group: &Group, base: &Settings, problems: &mut Vec<Problem>) -> Resolved {
    let mut fixed = base.clone();
    fixed.extend(normal_settings(&group.settings, problems));
    let mut axes = Vec::new();
    for (axis, values) in &group.matrix {
        if let Some((setting, _)) = group.settings.iter().find(|(setting, _)| setting.value == axis.value) {
            let message = format!("`{}` is an axis of this group and cannot also be fixed", axis.value);
            problems.push(Problem::new(setting.span, message));
        }
        let values: Vec<_> = values.iter().map(|value| normal(&axis.value, value)).collect();
        let mut good = Vec::new();
        for value in values {
            match value {
                Ok(value) => good.push(value),
                Err(problem) => problems.push(problem),
            }
        }
        axes.push((axis.value.clone(), good));
    }
    let exclude = group.exclude.iter().map(|entry| (entry.span, normal_settings(&entry.value, problems)));
    let exclude = exclude.collect();
    let include = group.include.iter().map(|entry| normal_settings(&entry.value, problems)).collect();
    Resolved { name: name.clone(), fixed, axes, exclude, include }
}

fn refuse_too_many(file: &SweepFile, groups: &[Resolved], problems: &mut Vec<Problem>) {
    let mut total = 0_u128;
    for group in groups {
        let product = group.axes.iter().map(|(_, values)| values.len() as u128);
        total = total.saturating_add(product.fold(1, u128::saturating_mul));
        total = total.saturating_add(group.include.len() as u128);
        if total > u128::from(file.max_jobs) {
            let message = format!(
                "with group `{}` the sweep has {total} jobs; at most {} are allowed",
                group.name.value, file.max_jobs
            );
            let help = "shorten an axis, or set `max_jobs` to the number that is meant";
            problems.push(Problem::new(group.name.span, message).help(help));
            return;
        }
    }
}

/// All settings of each job of the group.
fn combinations(group: &Resolved, problems: &mut Vec<Problem>) -> Vec<Settings> {
    let mut all = vec![group.fixed.clone()];
    for (axis, values) in &group.axes {
        let with = |settings: &Settings, value: &Value| {
            let mut settings = settings.clone();
            settings.insert(axis.clone(), value.clone());
            settings
        };
        all = all.iter().flat_map(|base| values.iter().map(move |value| with(base, value))).collect();
    }
    let product = all.clone();
    for (span, tuple) in &group.exclude {
        if !product.iter().any(|settings| agrees(settings, tuple)) {
            problems.push(excludes_nothing(*span, tuple, &product));
        }
        all.retain(|settings| !agrees(settings, tuple));
    }
    for tuple in &group.include {
        let mut settings = group.fixed.clone();
        settings.extend(tuple.iter().cloned());
        all.push(settings);
    }
    all
}

fn agrees(settings: &Settings, tuple: &[(String, Value)]) -> bool {
    tuple.iter().all(|(name, value)| settings.get(name) == Some(value))
}

fn excludes_nothing(span: Span, tuple: &[(String, Value)], product: &[Settings]) -> Problem {
    let problem = Problem::new(span, "this exclude matches no combination of the group");
    let absent = tuple.iter().find(|(name, value)| product.iter().all(|job| job.get(name) != Some(value)));
    match absent {
        Some((name, value)) => {
            let values = listed(product.iter().filter_map(|job| job.get(name)));
            problem.help(format!("no combination has `{name}` = {value}; the group has {values}"))
        }
        None => problem,
    }
}

/// Different values in the order of their appearance, the first few of them.
pub(super) fn listed<'a>(values: impl Iterator<Item = &'a Value>) -> String {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    let first: Vec<String> = seen.iter().take(8).map(ToString::to_string).collect();
    let rest = if seen.len() > 8 { ", …" } else { "" };
    format!("{}{rest}", first.join(", "))
}

/// The settings that any group names: what tells the jobs of this sweep apart.
fn named_settings(file: &SweepFile) -> BTreeSet<String> {
    let groups = file.groups.iter().map(|(_, group)| group);
    let names = groups.flat_map(|group| {
        let included = group.include.iter().flat_map(|entry| &entry.value);
        let fixed = group.settings.iter().chain(included).map(|(name, _)| name);
        group.matrix.iter().map(|(name, _)| name).chain(fixed)
    });
    names.map(|name| name.value.clone()).collect()
}

struct Jobs<'a> {
    digest: &'a str,
    params: BTreeSet<String>,
    list: Vec<PlannedJob>,
    index: HashMap<JobId, usize>,
}

impl Jobs<'_> {
    /// Adds the job with `settings`, or the group's name to the job that it already is.
    fn add(&mut self, group: &str, settings: Settings) -> Result<(), String> {
        let params = self.params.iter().filter_map(|name| Some((name.clone(), settings.get(name)?.clone())));
        let params = params.collect();
        let spec: JobSpec = serde_json::from_value(Value::Object(settings)).map_err(|e| e.to_string())?;
        if let Some(problem) = spec.problems().first() {
            return Err(format!(
                "a job of this group cannot be built: `{}` {}",
                problem.setting, problem.text
            ));
        }
        let id = spec.id(self.digest);
        if let Some(&known) = self.index.get(&id) {
            let job = &mut self.list[known];
            if job.group != group && !job.also_in.iter().any(|other| other == group) {
                job.also_in.push(group.to_owned());
            }
            return Ok(());
        }
        self.index.insert(id, self.list.len());
        self.list.push(PlannedJob { id, group: group.to_owned(), also_in: Vec::new(), params, spec });
        Ok(())
    }
}
