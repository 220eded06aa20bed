//! Finds settings in a sweep file that do nothing in any job that they are set for.

use std::collections::BTreeSet;

use serde_json::Value;
use shared::job::JobSpec;

use super::plan::PlannedJob;
use super::spec::{Group, Located, SweepFile};
use super::values::normal;

/// One sentence for each of these settings.
pub(super) fn notes(file: &SweepFile, jobs: &[PlannedJob]) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, value) in &file.defaults {
        // In a group that sets its own value, the default does not matter.
        let inherits = |job: &&PlannedJob| {
            let own = |(group, content): &(Located<String>, Group)| {
                is_in(job, &group.value) && names(content).any(|named| named == name.value)
            };
            !file.groups.iter().any(own)
        };
        let jobs: Vec<&PlannedJob> = jobs.iter().filter(inherits).collect();
        notes.extend(note(&name.value, std::slice::from_ref(value), &jobs, "`defaults`"));
    }
    for (group, content) in &file.groups {
        let jobs: Vec<&PlannedJob> = jobs.iter().filter(|job| is_in(job, &group.value)).collect();
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

fn is_in(job: &PlannedJob, group: &str) -> bool {
    job.group == group || job.also_in.iter().any(|other| other == group)
}

/// The settings that a group names in any way.
fn names(group: &Group) -> impl Iterator<Item = &str> {
    let included = group.include.iter().flat_map(|entry| &entry.value);
    let fixed = group.settings.iter().chain(included).map(|(name, _)| name.value.as_str());
    group.matrix.iter().map(|(name, _)| name.value.as_str()).chain(fixed)
}

/// To write out a default is not a mistake; another value that no job of `jobs` uses may be one.
fn note(name: &str, values: &[Located<Value>], jobs: &[&PlannedJob], place: &str) -> Option<String> {
    let default = JobSpec::default().settings().remove(name)?;
    if jobs.is_empty() || values.iter().all(|value| normal(name, value).is_ok_and(|value| value == default)) {
        return None;
    }
    let causes: Option<BTreeSet<&str>> =
        jobs.iter().map(|job| job.spec.switched_off().get(name).copied()).collect();
    let causes: Vec<String> = causes?.into_iter().map(|cause| format!("`{cause}`")).collect();
    let has = if causes.len() == 1 { "has" } else { "have" };
    Some(format!(
        "`{name}` in {place} does nothing: {} {has} a value that makes it meaningless",
        causes.join(" and ")
    ))
}
