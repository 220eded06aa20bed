//! Sweep files: what they may contain, and the plan that follows from one.

pub mod check;
mod conditions;
pub mod continuation;
pub mod dataset;
mod dataset_checks;
pub mod decode;
pub mod difference;
pub mod expand;
pub mod job_settings;
mod mtl;
pub mod parse;
pub mod plan;
pub mod problem;
pub mod queries;
pub mod reference;
pub mod schema;
mod setting_schemas;
pub mod spec;
mod tables;
mod values;
mod weights;
mod without_effect;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trainer_tests;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use conditions::Known;
use parse::Node;
use plan::{Plan, PlannedJob, WeightsFile};
use problem::{Problem, Span, SweepError};
use serde_json::json;
use shared::kinds::{self, KINDS};
use shared::metrics::{Metrics, Ranking};
use shared::protocol::CheckpointEvery;
use shared::trainer::TrainerKind;
use values::Vocabulary;

/// Reads the sweep file at `path` and resolves it. Writes nothing.
///
/// Synthetic datasets are looked for under `home`. Without the dataset the plan has no digest, and its ids are
/// provisional.
///
/// # Errors
/// When the file cannot be read or used; the error lists the problems with their places.
pub fn load(path: &Path, home: &Path) -> Result<Plan, SweepError> {
    let text = read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    plan(&text, folder, home).map_err(|problems| SweepError::new(path, &text, problems))
}

/// A problem with the setting `name` of a job of `group`, at the place where the sweep file says its value.
pub fn problem_with_setting(path: &Path, group: &str, name: &str, message: String) -> SweepError {
    let text = match read(path) {
        Ok(text) => text,
        Err(unreadable) => return unreadable,
    };
    let span = parse::parse(&text).ok().and_then(|root| setting_span(&root, group, name)).unwrap_or_default();
    SweepError::new(path, &text, vec![Problem::new(span, message)])
}

/// Where the value of a setting is: the group's own, or that of all groups.
fn setting_span(root: &Node, group: &str, name: &str) -> Option<Span> {
    let group = root.get("groups")?.get(group)?;
    let own = ["settings", "matrix"].into_iter().find_map(|part| group.get(part)?.get(name));
    own.or_else(|| root.get("defaults")?.get(name)).map(|value| value.span)
}

fn read(path: &Path) -> Result<String, SweepError> {
    let refuse = |message: String| SweepError::new(path, "", vec![Problem::new(Span::default(), message)]);
    if path.is_dir() {
        return Err(refuse("is a folder; name a sweep file".to_owned()));
    }
    let mut bytes = Vec::new();
    // Reading one byte more than allowed shows that the file is too long, even if it is endless.
    let read =
        File::open(path).and_then(|file| file.take(parse::MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if bytes.len() > parse::MAX_BYTES {
        return Err(refuse(format!("is too long; a sweep file may have at most {} bytes", parse::MAX_BYTES)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let problem = Problem::new(Span { offset, len: 1 }, "the file is not UTF-8 text from here on");
        SweepError::new(path, &String::from_utf8_lossy(error.as_bytes()), vec![problem])
    })
}

/// Resolves the text of a sweep file in `folder`.
///
/// # Errors
/// The problems, when the file cannot be used.
pub fn plan(text: &str, folder: &Path, home: &Path) -> Result<Plan, Vec<Problem>> {
    let refused = |problems: Vec<Problem>| problems.into_iter().map(|p| p.quoting(text)).collect();
    resolve(text, folder, home).map_err(refused)
}

fn resolve(text: &str, folder: &Path, home: &Path) -> Result<Plan, Vec<Problem>> {
    let root = parse::parse(text).map_err(|problem| vec![problem])?;
    let kind = kind(&root, text)?;
    let mut problems = check::check(&root, schema::root(kind), text);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut file = decode::decode(&root, kind);
    check_name(&file.name, &mut problems);
    let checkpoint_every = checkpoint_every(&file, &mut problems);
    let ranking = ranking(&file, kind, &mut problems);
    let files = weights::resolve(&mut file, kind, folder, &mut problems);
    // The schema says whether there must be one.
    let named = file.dataset.as_ref();
    let dataset = named.map(|dataset| dataset::resolve(dataset, folder, home, &mut problems));
    let digest = dataset.as_ref().and_then(|dataset| dataset.digest.as_deref());
    let vocabulary = Vocabulary::of(kind);
    let jobs = expand::expand(&file, &vocabulary, digest.unwrap_or_default(), &mut problems);
    if jobs.is_empty() {
        return Err(problems);
    }
    let mut notes = without_effect::notes(&file, &vocabulary, &jobs);
    let weights = mtl_checks(kind, &jobs, dataset.as_ref(), &files, &mut notes, &mut problems);
    let groups: Vec<&str> = file.groups.iter().map(|(name, _)| name.value.as_str()).collect();
    let known = Known { vocabulary: &vocabulary, jobs: &jobs, groups: &groups };
    let ensembles = queries::resolve(&file.ensembles, known, &mut problems);
    let tables = tables::resolve(&file.tables, known, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Plan {
        name: file.name.value,
        trainer: kind.id(),
        ranking,
        dataset_digest: digest.map(str::to_owned),
        dataset: dataset.map(|dataset| dataset.source),
        checkpoint_every,
        keep_checkpoints: file.keep_checkpoints,
        priority: file.priority,
        jobs,
        ensembles,
        tables,
        weights,
        requested: plan::Requested::default(),
        notes,
    })
}

/// The trainer that the file names, or else the first.
fn kind(root: &Node, text: &str) -> Result<&'static dyn TrainerKind, Vec<Problem>> {
    let Some(node) = root.get("trainer") else { return Ok(KINDS[0]) };
    let names = KINDS.map(|kind| kind.id().kind);
    let problems = check::part(node, &json!({ "enum": names }), text, "`trainer`");
    node.json().as_str().and_then(kinds::find).ok_or(problems)
}

/// The metric that ranks the jobs.
fn ranking(file: &spec::SweepFile, kind: &dyn TrainerKind, problems: &mut Vec<Problem>) -> Ranking {
    let Some(spec::RankBy { metric, goal }) = &file.rank_by else { return kind.ranking() };
    if let Err(error) = Metrics::of([(metric.value.as_str(), 0.0)]) {
        problems.push(Problem::new(metric.span, format!("`metric`: {error}")));
    }
    Ranking { metric: metric.value.clone(), goal: *goal }
}

/// Compares jobs of the paper's trainer with their images and weights; other trainers have no such checks. Returns the
/// files of weights that the jobs start from.
fn mtl_checks(
    kind: &dyn TrainerKind,
    jobs: &[PlannedJob],
    dataset: Option<&dataset::Resolved>,
    files: &weights::Files,
    notes: &mut Vec<String>,
    problems: &mut Vec<Problem>,
) -> Vec<WeightsFile> {
    if !mtl::is_mtl(kind) {
        return Vec::new();
    }
    let jobs = mtl::jobs(jobs);
    let images = dataset.and_then(|dataset| Some((dataset.content.as_ref()?, dataset.span)));
    if let Some((content, span)) = images {
        problems.extend(dataset_checks::problems(content, &jobs, span));
        notes.extend(dataset_checks::notes(content, &jobs));
    }
    files.used_by(&jobs, problems)
}

fn checkpoint_every(file: &spec::SweepFile, problems: &mut Vec<Problem>) -> CheckpointEvery {
    let Some(text) = &file.checkpoint_every else { return CheckpointEvery::default() };
    text.value.parse().unwrap_or_else(|error| {
        problems.push(Problem::new(text.span, format!("`checkpoint_every`: {error}")));
        CheckpointEvery::default()
    })
}

/// Checks the name, which is also that of the run folder.
fn check_name(name: &spec::Located<String>, problems: &mut Vec<Problem>) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = name.value.chars().all(allowed) && !name.value.starts_with('.') && name.value.len() <= 64;
    if !good || name.value.is_empty() {
        let message = format!("`name`: \"{}\" cannot be the name of a run folder", name.value);
        let help = "use up to 64 letters, digits, `-`, `_` and `.`, and do not start with `.`";
        problems.push(Problem::new(name.span, message).help(help));
    }
}
