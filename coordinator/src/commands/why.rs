//! `ferry why RUN NAME`: why an ensemble has its members, or what became of a job.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use orchestrator::ensemble::{Certainty, GroupMean, Ranked, Step};
use orchestrator::report::why::{Explanation, explain, settings};
use orchestrator::run_dir::RunRecord;
use orchestrator::sweep::plan::Filter;
use orchestrator::view::labels::Labels;
use shared::ids::JobId;
use shared::plural::count;
use shared::stdio;
use shared::terminal::plain;

use super::access::BooksArgs;
use super::error::CommandError;
use super::exit::BadInput;
use super::story::{Meant, meant};

/// How many candidates of a query are listed beside those that were taken.
const LISTED: usize = 8;

/// Explains an ensemble, or tells the story of a job.
///
/// Of an ensemble: the candidates, how each of its queries chose, what each member adds, and how ties were broken. Of a
/// job: what became of it and why, with times. The server tells it, also while the job is trained; where none knows the job,
/// the run folder tells what it has.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferry why runs/demo 'All 38'\n  ferry why runs/demo 3f2a9c41\n  \
    ferry why demo 'weak mixup subset_seed=1' --nats tls://head:4222 --creds observer.creds\n\n\
    Ensembles are explained from validation alone. A member's share is the ensemble's macro F1 minus that of the other \
    members.")]
pub(crate) struct WhyArgs {
    /// A sweep's run folder, such as runs/demo; for a job, also the name of a sweep on a server.
    run: PathBuf,
    /// The name of an ensemble, the label of a job, or the beginning of its id.
    #[arg(value_name = "NAME|JOB")]
    name: String,
    #[command(flatten)]
    books: BooksArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &WhyArgs) -> Result<ExitCode, CommandError> {
    Ok(show(args)?)
}

fn show(args: &WhyArgs) -> anyhow::Result<ExitCode> {
    let text = match meant(&args.run, &args.name, &args.books)? {
        Meant::Ensemble(folder) => ensemble(args, &folder.load()?)?,
        Meant::Job(story) if args.json => format!("{:#}\n", serde_json::to_value(&story)?),
        Meant::Job(story) => plain(&orchestrator::story::in_words(&story)),
    };
    stdio::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn ensemble(args: &WhyArgs, record: &RunRecord) -> anyhow::Result<String> {
    let (sweep, name) = (&record.plan.name, &args.name);
    let gone = || BadInput(format!("the sweep {sweep} has no ensemble named `{name}` any more"));
    let explanation = explain(record, name)?.ok_or_else(gone)?;
    Ok(if args.json {
        format!("{:#}\n", serde_json::to_value(&explanation)?)
    } else {
        plain(&in_words(&explanation, &Labels::of(&record.plan), &record.plan.ranking.metric))
    })
}

fn in_words(
    Explanation { ensemble, contributions, ties }: &Explanation,
    labels: &Labels,
    metric: &str,
) -> String {
    let score =
        ensemble.val_macro_f1.map_or_else(String::new, |f1| format!(", macro F1 {f1:.2} on validation"));
    let members = ensemble.selection.members.len();
    let mut text = format!("{}: {}{score}\n", ensemble.name, count(members, "member"));
    if let Certainty::Provisional { waiting, failed } = &ensemble.selection.certainty {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "provisional: {}", provisional(waiting, failed, labels));
    }
    for (number, step) in ensemble.selection.steps.iter().enumerate() {
        let _ = writeln!(text, "\nQuery {}: {}", number + 1, query(step, metric));
        candidates(&mut text, step, labels);
    }
    for tie in ties {
        let _ = writeln!(text, "\nTie: {tie}");
    }
    if contributions.iter().any(|member| member.alone.is_some()) {
        let _ = writeln!(text, "\nWhat each member adds (macro F1 on validation)");
        let width = contributions.iter().map(|member| member.label.chars().count()).max().unwrap_or(0);
        for member in contributions {
            let (alone, without) = (number(member.alone), number(member.without));
            let adds = ensemble.val_macro_f1.zip(member.without);
            let adds = adds.map_or_else(|| "-".to_owned(), |(all, rest)| format!("{:+.2}", all - rest));
            let _ = writeln!(
                text,
                "  {}  {:width$}  alone {alone:>6}  the others {without:>6}  adds {adds:>6}",
                member.job.short(),
                member.label
            );
        }
    }
    text
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

fn provisional(waiting: &[JobId], failed: &[JobId], labels: &Labels) -> String {
    let named = |jobs: &[JobId]| {
        let shown: Vec<String> = jobs.iter().take(LISTED).map(|&job| labels.get(job)).collect();
        let more = jobs.len().saturating_sub(LISTED);
        if more == 0 { shown.join(", ") } else { format!("{}, and {more} more", shown.join(", ")) }
    };
    let mut parts = Vec::new();
    if !waiting.is_empty() {
        parts.push(format!("{} could still change it: {}", count(waiting.len(), "job"), named(waiting)));
    }
    if !failed.is_empty() {
        parts.push(format!("{} failed and would count: {}", count(failed.len(), "candidate"), named(failed)));
    }
    parts.join("; ")
}

fn query(step: &Step, metric: &str) -> String {
    match step {
        Step::All { filter, taken } => format!("all jobs{}: {}", filtered(filter), taken.len()),
        Step::Top { k, filter, ranking, taken } => format!(
            "the {k} best by {metric}{}: {} of {}",
            filtered(filter),
            taken.len(),
            count(ranking.len(), "candidate")
        ),
        Step::BestGroup { by, filter, groups, .. } => format!(
            "the best group by {}, by the mean {metric}{}: one of {}",
            by.join(", "),
            filtered(filter),
            count(groups.len(), "group")
        ),
    }
}

/// The conditions of a query, as a subordinate clause.
fn filtered(filter: &Filter) -> String {
    let condition = |(name, allowed): (&String, &Vec<serde_json::Value>)| {
        let values: Vec<String> = allowed
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        format!("{name}={}", values.join(","))
    };
    let conditions: Vec<String> = filter.iter().map(condition).collect();
    if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" ")) }
}

fn candidates(text: &mut String, step: &Step, labels: &Labels) {
    match step {
        Step::All { .. } => {}
        Step::Top { ranking, taken, .. } => {
            let shown = &ranking[..ranking.len().min(taken.len() + LISTED)];
            let width = shown.iter().map(|one| labels.get(one.job).chars().count()).max().unwrap_or(0);
            for (place, Ranked { job, score }) in shown.iter().enumerate() {
                let verdict = if place < taken.len() { "taken" } else { "" };
                let line = format!(
                    "{:>4}. {}  {:width$}  {score:.2}  {verdict}",
                    place + 1,
                    job.short(),
                    labels.get(*job)
                );
                let _ = writeln!(text, "{}", line.trim_end());
            }
            more(text, ranking.len() - shown.len(), "candidate");
        }
        Step::BestGroup { groups, .. } => {
            let shown = &groups[..groups.len().min(LISTED)];
            let width = shown.iter().map(|group| settings(group).chars().count()).max().unwrap_or(0);
            for (place, group) in shown.iter().enumerate() {
                let GroupMean { jobs, finished, mean, .. } = group;
                let verdict = if place == 0 && mean.is_some() { "taken" } else { "" };
                let line = format!(
                    "{:>4}. {:width$}  mean {}  {finished} of {} done  {verdict}",
                    place + 1,
                    settings(group),
                    number(*mean),
                    count(jobs.len(), "job")
                );
                let _ = writeln!(text, "{}", line.trim_end());
            }
            more(text, groups.len() - shown.len(), "group");
        }
    }
}

fn more(text: &mut String, number: usize, what: &str) {
    if number > 0 {
        let _ = writeln!(text, "      … and {} more", count(number, what));
    }
}
