//! Expands groups to jobs: the product of each group's axes, minus its excludes, plus its includes, in the file's
//! order.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use shared::ids::JobId;
use shared::settings::Settings;
use shared::trainer::TrainerKind;

use super::job_settings::JobSettings;
use super::plan::PlannedJob;
use super::problem::{Problem, Span};
use super::setting_schemas::PRESET;
use super::spec::{Group, Located, SweepFile};
use super::values::{Preset, Vocabulary};

/// A group with its values checked and in normal form.
struct Resolved<'a> {
    vocabulary: &'a Vocabulary,
    name: Located<String>,
    /// What the file sets for every job of the group, possibly including a preset.
    fixed: Settings,
    axes: Vec<(String, Vec<Value>)>,
    exclude: Vec<(Span, Overlay)>,
    include: Vec<Overlay>,
}

impl Resolved<'_> {
    /// The value that the file sets for `name` in the job with `overlay`.
    fn named<'v>(&'v self, overlay: &'v Overlay, name: &str) -> Option<&'v Value> {
        let own = overlay.iter().find(|(setting, _)| setting == name).map(|(_, value)| value);
        own.or_else(|| self.fixed.get(name))
    }

    fn preset(&self, overlay: &Overlay) -> Option<&Preset> {
        self.vocabulary.preset(self.named(overlay, PRESET))
    }

    /// What the job with `overlay` has where the file sets nothing.
    fn base(&self, overlay: &Overlay) -> &Settings {
        self.preset(overlay).map_or(self.vocabulary.kind.defaults(), |(_, settings)| settings)
    }

    /// All settings of the job with `overlay`. What the file sets wins over the preset, wherever each is written.
    fn settings(&self, overlay: &Overlay) -> Settings {
        let mut settings = self.base(overlay).clone();
        settings.extend(self.fixed.clone());
        settings.extend(overlay.iter().cloned());
        if let Some((name, _)) = self.preset(overlay) {
            settings.insert(PRESET.to_owned(), (*name).into());
        }
        settings
    }

    /// The value of setting `name` in the job with `overlay`.
    fn value(&self, overlay: &Overlay, name: &str) -> Option<Value> {
        if let Some(value) = self.named(overlay, name) {
            return Some(value.clone());
        }
        match self.preset(overlay) {
            Some((preset, _)) if name == PRESET => Some((*preset).into()),
            Some(_) | None => self.base(overlay).get(name).cloned(),
        }
    }

    /// All values of setting `name` in the product of the axes.
    fn values(&self, name: &str) -> Vec<Value> {
        let axis = |name: &str| self.axes.iter().find(|(axis, _)| axis == name).map(|(_, values)| values);
        match (axis(name), axis(PRESET)) {
            (Some(values), _) => values.clone(),
            (None, None) => self.value(&Vec::new(), name).into_iter().collect(),
            (None, Some(presets)) => {
                let with = |preset: &Value| self.value(&vec![(PRESET.to_owned(), preset.clone())], name);
                presets.iter().filter_map(with).collect()
            }
        }
    }
}

/// The jobs of `file`, each once, with ids for the dataset with `digest`. Wrong values are added to `problems`.
///
/// The number of combinations is compared with `max_jobs` before any of them is built.
pub(super) fn expand(
    file: &SweepFile,
    vocabulary: &Vocabulary,
    digest: &str,
    problems: &mut Vec<Problem>,
) -> Vec<PlannedJob> {
    let already = problems.len();
    let base = vocabulary.normal_settings(&file.defaults, problems).into_iter().collect();
    let resolve = |(name, group): &(_, _)| resolve(name, group, &base, vocabulary, problems);
    let groups: Vec<Resolved<'_>> = file.groups.iter().map(resolve).collect();
    refuse_too_many(file, &groups, problems);
    if problems.len() > already {
        return Vec::new();
    }
    let params = named_settings(file);
    let mut jobs = Jobs { kind: vocabulary.kind, digest, params, list: Vec::new(), index: HashMap::new() };
    for group in &groups {
        let combinations = combinations(group, problems);
        if combinations.is_empty() {
            let message = format!("group `{}` excludes every combination", group.name.value);
            problems.push(Problem::new(group.name.span, message));
        }
        for overlay in combinations {
            if let Err(message) = jobs.add(&group.name.value, group.settings(&overlay)) {
                problems.push(Problem::new(group.name.span, message));
            }
        }
    }
    jobs.list
}

fn resolve<'a>(
    name: &Located<String>,
    group: &Group,
    base: &Settings,
    vocabulary: &'a Vocabulary,
    problems: &mut Vec<Problem>,
) -> Resolved<'a> {
    let mut fixed = base.clone();
    fixed.extend(vocabulary.normal_settings(&group.settings, problems));
    let mut axes = Vec::new();
    for (axis, values) in &group.matrix {
        if let Some((setting, _)) = group.settings.iter().find(|(setting, _)| setting.value == axis.value) {
            let message = format!("`{}` is an axis of this group and cannot also be fixed", axis.value);
            problems.push(Problem::new(setting.span, message));
        }
        let values: Vec<_> = values.iter().map(|value| vocabulary.normal(&axis.value, value)).collect();
        let mut good = Vec::new();
        for value in values {
            match value {
                Ok(value) => good.push(value),
                Err(problem) => problems.push(problem),
            }
        }
        axes.push((axis.value.clone(), good));
    }
    let mut normal = |settings| vocabulary.normal_settings(settings, problems);
    let exclude = group.exclude.iter().map(|entry| (entry.span, normal(&entry.value))).collect();
    let include = group.include.iter().map(|entry| normal(&entry.value)).collect();
    Resolved { vocabulary, name: name.clone(), fixed, axes, exclude, include }
}

fn refuse_too_many(file: &SweepFile, groups: &[Resolved<'_>], problems: &mut Vec<Problem>) {
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
            let help = "shorten an axis, or raise `max_jobs`";
            problems.push(Problem::new(group.name.span, message).help(help));
            return;
        }
    }
}

/// What a job of a group adds to the group's fixed settings.
type Overlay = Vec<(String, Value)>;

/// The overlays of all jobs of the group.
fn combinations(group: &Resolved<'_>, problems: &mut Vec<Problem>) -> Vec<Overlay> {
    let mut all: Vec<Overlay> = vec![Vec::new()];
    for (axis, values) in &group.axes {
        let with = |base: &Overlay, value: &Value| {
            let mut overlay = base.clone();
            overlay.push((axis.clone(), value.clone()));
            overlay
        };
        all = all.iter().flat_map(|base| values.iter().map(move |value| with(base, value))).collect();
    }
    for (span, tuple) in &group.exclude {
        // An entry that only repeats an earlier one is a mistake, like one that matches nothing.
        let before = all.len();
        let excluded =
            |job: &Overlay| tuple.iter().all(|(name, value)| group.value(job, name).as_ref() == Some(value));
        all.retain(|job| !excluded(job));
        if all.len() == before {
            problems.push(excludes_nothing(*span, tuple, group));
        }
    }
    all.extend(group.include.iter().cloned());
    all
}

fn excludes_nothing(span: Span, tuple: &[(String, Value)], group: &Resolved<'_>) -> Problem {
    let problem = Problem::new(span, "this exclude matches no combination that is left in the group");
    let absent = tuple.iter().find(|(name, value)| !group.values(name).contains(value));
    match absent {
        Some((name, value)) => {
            let values = listed(group.values(name).iter());
            problem.help(format!("no combination has `{name}` = {value}; the group has {values}"))
        }
        None => problem,
    }
}

/// How many different values a message lists.
const LISTED: usize = 8;

/// The first few different values, in order of appearance.
pub(crate) fn listed<'a>(values: impl Iterator<Item = &'a Value>) -> String {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
        // Only the first are shown, so there is no need to compare more of them.
        if seen.len() > LISTED {
            break;
        }
    }
    let first: Vec<String> = seen.iter().take(LISTED).map(ToString::to_string).collect();
    let rest = if seen.len() > LISTED { ", …" } else { "" };
    format!("{}{rest}", first.join(", "))
}

/// The settings that any group names, which distinguish the jobs of this sweep; and the preset, if the file names one.
fn named_settings(file: &SweepFile) -> BTreeSet<String> {
    let groups = file.groups.iter().map(|(_, group)| group);
    let names = groups.flat_map(|group| {
        let included = group.include.iter().flat_map(|entry| &entry.value);
        let fixed = group.settings.iter().chain(included).map(|(name, _)| name);
        group.matrix.iter().map(|(name, _)| name).chain(fixed)
    });
    let preset = file.defaults.iter().map(|(name, _)| name).filter(|name| name.value == PRESET);
    names.chain(preset).map(|name| name.value.clone()).collect()
}

struct Jobs<'a> {
    kind: &'a dyn TrainerKind,
    digest: &'a str,
    params: BTreeSet<String>,
    list: Vec<PlannedJob>,
    index: HashMap<JobId, usize>,
}

impl Jobs<'_> {
    /// Adds the job with `settings` and, among them, its preset. If that job already exists, adds only the group's name to it.
    fn add(&mut self, group: &str, mut settings: Settings) -> Result<(), String> {
        let params = self.params.iter().filter_map(|name| Some((name.clone(), settings.get(name)?.clone())));
        let params: Settings = params.collect();
        settings.remove(PRESET);
        if let Some(problem) = self.kind.problems(&settings).first() {
            return Err(format!(
                "a job of this group cannot be built: `{}` {}",
                problem.setting, problem.text
            ));
        }
        let id = self.kind.job(&settings, self.digest).id();
        if let Some(&known) = self.index.get(&id) {
            let job = &mut self.list[known];
            if job.group != group && !job.also_in.iter().any(|other| other == group) {
                job.also_in.push(group.to_owned());
            }
            return Ok(());
        }
        self.index.insert(id, self.list.len());
        let (params, settings) = (JobSettings::from(params), JobSettings::from(settings));
        let job = PlannedJob { id, group: group.to_owned(), also_in: Vec::new(), params, settings };
        job.append_to(&mut self.list);
        Ok(())
    }
}
