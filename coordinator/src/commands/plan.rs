//! `ferry plan`: what a sweep file asks for, and how that differs from the books, without changing anything.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use shared::blob::shortened;
use shared::bus::Bus;
use shared::kinds::KINDS;
use shared::metrics::Goal;
use shared::plural::count;
use shared::stdio;
use shared::terminal;
use shared::trainer::DatasetSize;

use super::access::{Access, BooksArgs};
use super::comparison;
use super::error::CommandError;
use orchestrator::service::{self, Comparison, Work};
use orchestrator::sweep;
use orchestrator::sweep::dataset::pack_dir;
use orchestrator::sweep::plan::{DatasetSource, Plan, PlannedJob};
use orchestrator::sweep::queries;

/// How many jobs are shown without `--all`.
const SHOWN: usize = 8;

/// Options of `ferry plan`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry plan experiments/abaw4-lsd.yaml --json")]
pub(crate) struct PlanArgs {
    /// The sweep file.
    file: PathBuf,
    #[command(flatten)]
    books: BooksArgs,
    /// Parent directory of the run folders: earlier ones tell how long jobs take.
    #[arg(long, default_value = "runs")]
    out: PathBuf,
    /// Show every job.
    #[arg(long)]
    all: bool,
    /// Print the plan as JSON, and problems as one JSON object on standard error.
    #[arg(long)]
    pub json: bool,
    /// Print the settings of one job and the folder of its pack as JSON, for `ferry-worker preview` and `reproduce`.
    #[arg(long, value_name = "JOB", hide = true)]
    spec: Option<String>,
}

/// Prints the plan of the file.
pub(crate) fn run(args: &PlanArgs) -> Result<ExitCode, CommandError> {
    let home = &args.books.home;
    let plan = sweep::load(&args.file, home)?;
    let text = if let Some(job) = &args.spec {
        format!("{:#}\n", one_job(&plan, job, home).map_err(CommandError::Input)?)
    } else {
        let known = known(&plan, args)?;
        if let Known::Books(compared) = &known
            && let Some(error) = comparison::too_short(&args.file, &plan, &compared.shortened)
        {
            return Err(error.into());
        }
        if args.json {
            let mut value = in_json(&plan);
            let (books, work) = match &known {
                Known::Books(compared) => (comparison::in_json(compared), Value::Null),
                Known::Elsewhere(work) => (Value::Null, json!(work)),
            };
            (value["books"], value["work"]) = (books, work);
            format!("{value:#}\n")
        } else {
            let (time, books) = match known {
                Known::Books(compared) => {
                    let books = terminal::plain(&comparison::in_words(&plan.name, &compared));
                    (String::new(), format!("\nIn the books\n{books}"))
                }
                Known::Elsewhere(work) => (duration(work), String::new()),
            };
            in_words(&plan, args.all, &time) + &books
        }
    };
    stdio::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What is known of a plan besides its file.
enum Known {
    /// The books know its sweep.
    Books(Box<Comparison>),
    /// They do not; so much work it is, by what other sweeps took.
    Elsewhere(Work),
}

/// The plan compared with the books, or with what other sweeps took.
fn known(plan: &Plan, args: &PlanArgs) -> anyhow::Result<Known> {
    let dataset = plan.dataset.as_ref().filter(|_| plan.has_inputs());
    let dataset = dataset.map(|source| pack_dir(source, &args.books.home));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let access = Access::open(&args.books, "ferry-plan").await?;
        let bus = access.as_ref().map(|access| &access.bus);
        let known = look(bus, plan, dataset.as_deref(), &args.out).await;
        if let Some(access) = access {
            access.close().await;
        }
        known
    })
}

async fn look(bus: Option<&Bus>, plan: &Plan, dataset: Option<&Path>, out: &Path) -> anyhow::Result<Known> {
    if let (Some(bus), true) = (bus, plan.has_inputs())
        && let Some(compared) = service::compare(bus, plan, dataset).await?
    {
        return Ok(Known::Books(Box::new(compared)));
    }
    Ok(Known::Elsewhere(service::foretell(bus, plan, dataset, out).await?))
}

/// How long a sweep takes that nobody has begun.
fn duration(Work { time, .. }: Work) -> String {
    match time {
        Some(time) => format!("Time: {time} of one worker, by what was measured in other sweeps\n"),
        None => "Time: not known yet, because no sweep like this was measured here\n".to_owned(),
    }
}

/// The job whose id starts with `prefix`, and the folder of its pack, which must exist.
fn one_job(plan: &Plan, prefix: &str, home: &Path) -> anyhow::Result<Value> {
    let found: Vec<&PlannedJob> = plan.jobs.iter().filter(|job| job.id.begins_with(prefix)).collect();
    let job = match found[..] {
        [job] => job,
        [] => bail!("no job id of {} starts with `{prefix}`; `ferry plan --all` lists all jobs", plan.name),
        [first, second, ..] => bail!(
            "{} job ids start with `{prefix}`, such as {} and {}: give more of the id",
            found.len(),
            first.id,
            second.id
        ),
    };
    let pack = plan.dataset.as_ref().map(|source| pack_dir(source, home));
    if let (Some(source), Some(pack)) = (&plan.dataset, &pack) {
        ensure!(
            plan.has_inputs(),
            "there is no dataset in {} yet: {}",
            pack.display(),
            match source {
                DatasetSource::Pack(_) => "make it with `ferry data import`",
                DatasetSource::Synthetic(_) => "`ferry run` draws it first",
            }
        );
    }
    let weights: Vec<Value> =
        plan.weights.iter().map(|file| json!({ "digest": file.digest, "path": file.path })).collect();
    Ok(
        json!({ "id": job.id, "trainer": plan.trainer, "spec": job.settings, "pack": pack, "weights": weights }),
    )
}

fn in_json(plan: &Plan) -> Value {
    let jobs: Vec<Value> = plan
        .jobs
        .iter()
        .map(|job| json!({ "id": job.id, "group": job.group, "params": job.params }))
        .collect();
    let ensembles: Vec<Value> = plan
        .ensembles
        .iter()
        .map(|rule| json!({ "name": rule.name, "rule": rule.members, "size": rule.size }))
        .collect();
    json!({
        "name": plan.name,
        "dataset_digest": plan.dataset_digest,
        "provisional": !plan.has_inputs(),
        "jobs": jobs,
        "ensembles": ensembles,
        "weights": plan.weights,
        "notes": plan.notes,
    })
}

/// `time` is a line about how long it takes.
fn in_words(plan: &Plan, all: bool, time: &str) -> String {
    let mut text = format!("{}: {}{}\n", plan.name, count(plan.jobs.len(), "job"), particulars(plan));
    text.push_str("\nGroups\n");
    text.push_str(&aligned(&groups(plan)));
    if !plan.ensembles.is_empty() {
        text.push_str("\nEnsembles\n");
        text.push_str(&aligned(&ensembles(plan)));
    }
    if !plan.weights.is_empty() {
        text.push_str("\nWeights\n");
        text.push_str(&aligned(&weights(plan)));
    }
    text.push_str("\nJobs\n");
    let shown = if all { plan.jobs.len() } else { plan.jobs.len().min(SHOWN) };
    let varying = varying(&plan.jobs);
    let rows: Vec<_> = plan.jobs[..shown].iter().map(|job| job_row(job, &varying)).collect();
    text.push_str(&aligned(&rows));
    if shown < plan.jobs.len() {
        let _ = writeln!(text, "  … and {} more (--all shows them)", plan.jobs.len() - shown);
    }
    let epochs = epochs(plan);
    let sum: u64 = epochs.iter().copied().map(u64::from).sum();
    let _ = writeln!(text, "\nWork: {}{}", count(sum as usize, "epoch"), images(plan, &epochs));
    text.push_str(time);
    if !plan.notes.is_empty() {
        text.push_str("\nNotes\n");
        for note in &plan.notes {
            let _ = writeln!(text, "  {note}");
        }
    }
    text
}

/// What else is said of the jobs: another trainer or ranking than usual, and the dataset.
fn particulars(plan: &Plan) -> String {
    let mut text = String::new();
    if plan.trainer != KINDS[0].id() {
        let _ = write!(text, ", trainer {}", plan.trainer.kind);
    }
    if plan.kind().is_none_or(|kind| kind.ranking() != plan.ranking) {
        let best = match plan.ranking.goal {
            Goal::Max => "highest",
            Goal::Min => "lowest",
        };
        let _ = write!(text, ", ranked by {} ({best} first)", plan.ranking.metric);
    }
    if let Some(source) = &plan.dataset {
        let _ = write!(text, ", {}", dataset(plan, source));
    }
    text
}

fn dataset(plan: &Plan, source: &DatasetSource) -> String {
    let shown = match source {
        DatasetSource::Pack(path) => format!("dataset {}", path.display()),
        DatasetSource::Synthetic(options) => format!(
            "{} + {} + {} synthetic faces of {} pixels",
            options.train, options.validation, options.test, options.image_size
        ),
    };
    if let Some(digest) = &plan.dataset_digest {
        return format!("{shown} ({})", digest.get(..12).unwrap_or(digest));
    }
    let missing = match source {
        DatasetSource::Pack(path) => format!(
            "There is no dataset in {}: `ferry run` will refuse this sweep until `ferry data import` has made it.",
            path.display()
        ),
        DatasetSource::Synthetic(_) => "`ferry run` will draw the faces first.".to_owned(),
    };
    format!("{shown}\n{missing} Job ids are provisional until then.")
}

/// The epochs of each job.
fn epochs(plan: &Plan) -> Vec<u32> {
    let Some(kind) = plan.kind() else { return Vec::new() };
    plan.jobs.iter().map(|job| kind.effort(&job.settings.to_map(), DatasetSize::default()).epochs).collect()
}

/// The number of images that all jobs together see, if the plan alone says how large the training split is.
fn images(plan: &Plan, epochs: &[u32]) -> String {
    let Some(DatasetSource::Synthetic(options)) = &plan.dataset else { return String::new() };
    let seen = |(job, epochs): (&PlannedJob, &u32)| {
        let fraction = job.settings.get("subset_fraction").and_then(Value::as_f64).unwrap_or(1.0);
        f64::from(options.train) * fraction * f64::from(*epochs)
    };
    let all = plan.jobs.iter().zip(epochs).map(seen).sum::<f64>();
    format!(", about {} images", rounded(all.round() as u64))
}

/// A number for people: three significant digits, with thousands separators.
fn rounded(number: u64) -> String {
    let step = 10_u64.pow(number.max(1).ilog10().saturating_sub(2));
    let digits = (number.saturating_add(step / 2) / step * step).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One row per group: its name, its jobs, and its varying settings with the number of their values.
fn groups(plan: &Plan) -> Vec<Vec<String>> {
    let mut names: Vec<&str> = Vec::new();
    for job in &plan.jobs {
        for name in std::iter::once(&job.group).chain(&job.also_in) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let member = |job: &&PlannedJob, name: &str| job.group == name || job.also_in.iter().any(|g| g == name);
    names
        .into_iter()
        .map(|name| {
            let jobs: Vec<&PlannedJob> = plan.jobs.iter().filter(|job| member(job, name)).collect();
            vec![name.to_owned(), count(jobs.len(), "job"), axes(&jobs)]
        })
        .collect()
}

fn axes(jobs: &[&PlannedJob]) -> String {
    let names = jobs.first().map(|job| job.params.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut axes = Vec::new();
    for name in names {
        let mut seen = HashSet::new();
        let all = jobs.iter().filter_map(|job| job.params.get(&name)).map(plain);
        let values: Vec<String> = all.filter(|value| seen.insert(value.clone())).collect();
        match values.len() {
            0 | 1 => {}
            2..=4 => axes.push(format!("{name} {{{}}}", values.join(", "))),
            more => axes.push(format!("{name} ({more} values)")),
        }
    }
    axes.join(" × ")
}

/// One row per file of weights, and one for each remark on it.
fn weights(plan: &Plan) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for file in &plan.weights {
        let digest = file.digest.get(..12).unwrap_or(&file.digest).to_owned();
        rows.push(vec![digest, file.name.clone(), file.holds.clone()]);
        rows.extend(file.remarks.iter().map(|remark| vec![String::new(), String::new(), remark.clone()]));
    }
    rows
}

/// The rows of each ensemble: its name and size, and one row for each of its queries.
fn ensembles(plan: &Plan) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for rule in &plan.ensembles {
        let size = queries::size(&rule.members, &plan.jobs);
        let size = if size.exact { size.most.to_string() } else { format!("≤ {}", size.most) };
        for (index, query) in rule.members.iter().enumerate() {
            let (name, size) =
                if index == 0 { (rule.name.clone(), size.clone()) } else { Default::default() };
            rows.push(vec![name, size, queries::words(query)]);
        }
    }
    rows
}

/// The settings in which the jobs differ.
fn varying(jobs: &[PlannedJob]) -> Vec<&String> {
    let Some(first) = jobs.first() else { return Vec::new() };
    let varies = |name: &&String| jobs.iter().any(|job| job.params.get(name) != first.params.get(name));
    first.params.keys().filter(varies).collect()
}

fn job_row(job: &PlannedJob, varying: &[&String]) -> Vec<String> {
    let shown = job.params.iter().filter(|(name, _)| varying.contains(name));
    let params: Vec<String> = shown.map(|(name, value)| format!("{name}={}", plain(value))).collect();
    vec![job.id.short(), job.group.clone(), params.join(" ")]
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| shortened(text).to_owned())
}

/// Rows with their columns padded to the widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_rounded_and_grouped() {
        let shown = [0, 96, 999, 1000, 1499, 12_345, 999_950, 12_345_678].map(rounded);
        assert_eq!(shown, ["0", "96", "999", "1,000", "1,500", "12,300", "1,000,000", "12,300,000"]);
    }
}
