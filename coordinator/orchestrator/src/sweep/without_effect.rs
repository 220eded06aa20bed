//! Finds settings in a sweep file that do nothing in any job that they are set for.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::plan::PlannedJob;
use super::spec::{Group, Located, SweepFile};
use super::values::Vocabulary;

/// One sentence for each of these settings.
pub(super) fn notes(file: &SweepFile, vocabulary: &Vocabulary, jobs: &[PlannedJob]) -> Vec<String> {
    let jobs: Vec<Job<'_>> = jobs.iter().map(|job| Job { job, switched_off: OnceCell::new() }).collect();
    let note =
        |name: &str, values: &[_], jobs: &[_], place: &str| note(vocabulary, name, values, jobs, place);
    let mut notes = Vec::new();
    for (name, value) in &file.defaults {
        // In a group that sets its own value, the default does not matter.
        let inherits = |job: &&Job<'_>| {
            let own = |(group, content): &(Located<String>, Group)| {
                job.is_in(&group.value) && names(content).any(|named| named == name.value)
            };
            !file.groups.iter().any(own)
        };
        let jobs: Vec<&Job<'_>> = jobs.iter().filter(inherits).collect();
        notes.extend(note(&name.value, std::slice::from_ref(value), &jobs, "`defaults`"));
    }
    for (group, content) in &file.groups {
        let jobs: Vec<&Job<'_>> = jobs.iter().filter(|job| job.is_in(&group.value)).collect();
        let place = format!("group `{}`", group.value);
        for (name, value) in &content.settings {
            notes.extend(note(&name.value, std::slice::from_ref(value), &jobs, &place));
        }
        for (name, values) in &content.matrix {
            notes.extend(note(&name.value, values, &jobs, &place));
        }
    }
    notes
}

struct Job<'a> {
    job: &'a PlannedJob,
    /// Worked out when it is first asked for: most jobs are never asked.
    switched_off: OnceCell<BTreeMap<&'static str, &'static str>>,
}

impl Job<'_> {
    fn is_in(&self, group: &str) -> bool {
        self.job.group == group || self.job.also_in.iter().any(|other| other == group)
    }

    /// The setting that makes `name` meaningless in this job.
    fn cause(&self, vocabulary: &Vocabulary, name: &str) -> Option<&'static str> {
        let switched_off = || vocabulary.kind.switched_off(&self.job.settings.to_map());
        self.switched_off.get_or_init(switched_off).get(name).copied()
    }
}

/// The settings that a group names in any way.
fn names(group: &Group) -> impl Iterator<Item = &str> {
    let included = group.include.iter().flat_map(|entry| &entry.value);
    let fixed = group.settings.iter().chain(included).map(|(name, _)| name.value.as_str());
    group.matrix.iter().map(|(name, _)| name.value.as_str()).chain(fixed)
}

/// To write out a default is not a mistake; another value that no job of `jobs` uses may be one.
fn note(
    vocabulary: &Vocabulary,
    name: &str,
    values: &[Located<Value>],
    jobs: &[&Job<'_>],
    place: &str,
) -> Option<String> {
    let default = vocabulary.kind.defaults().get(name)?;
    let is_default = |value| vocabulary.normal(name, value).is_ok_and(|value| value == *default);
    if jobs.is_empty() || values.iter().all(is_default) {
        return None;
    }
    let causes: Option<BTreeSet<&str>> = jobs.iter().map(|job| job.cause(vocabulary, name)).collect();
    let causes: Vec<String> = causes?.into_iter().map(|cause| format!("`{cause}`")).collect();
    let has = if causes.len() == 1 { "has" } else { "have" };
    Some(format!(
        "`{name}` in {place} does nothing: {} {has} a value that makes it meaningless",
        causes.join(" and ")
    ))
}
