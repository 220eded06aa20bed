//! `ferry ensemble search`: which of a sweep's finished jobs are best together.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use orchestrator::ensemble::combine::Candidates;
use orchestrator::ensemble::method::Method;
use orchestrator::ensemble::search::{Effort, Found, Search, search};
use orchestrator::run_dir::{RunDir, RunRecord};
use orchestrator::view::labels::Labels;
use serde_json::{Value, json};
use shared::ids::JobId;
use shared::plural::count;
use shared::predictions::Matrix;
use shared::result::{TEST, VALIDATION};
use shared::stdio;
use shared::terminal::plain;

use super::error::CommandError;
use super::exit::BadInput;

/// How many members of the first ensemble are listed.
const LISTED: usize = 20;

/// The commands of `ferry ensemble`.
#[derive(Debug, Subcommand)]
pub(crate) enum EnsembleCommand {
    /// Look for the finished jobs that are best together, and say how much of that is luck.
    Search(SearchArgs),
}

/// Options of `ferry ensemble search`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry ensemble search runs/demo\n\n\
    Ensembles are chosen on validation alone. `on others` is the mean score of what the same method chooses on one half \
    of the images, on the other half: the ranking goes by it, because a score on the images that an ensemble was chosen \
    by is too high. Nothing is changed; to keep an ensemble, add it to the sweep file.")]
pub(crate) struct SearchArgs {
    /// A sweep's run folder, such as runs/demo.
    run: PathBuf,
    /// The split to choose on.
    #[arg(long, default_value = VALIDATION)]
    split: String,
    /// Number of bootstrap replicates for the intervals.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    replicates: u64,
    /// Seed of all random draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Runs one of the commands.
pub(crate) fn run(command: &EnsembleCommand) -> Result<ExitCode, (CommandError, bool)> {
    match command {
        EnsembleCommand::Search(args) => find(args).map_err(|error| (error.into(), args.json)),
    }
}

/// The jobs that can vote, and the others.
struct Voters<'a> {
    jobs: Vec<JobId>,
    matrices: Vec<&'a Matrix>,
    /// Finished jobs that predict other samples or classes, or nothing.
    left_out: usize,
}

fn find(args: &SearchArgs) -> anyhow::Result<ExitCode> {
    if args.split == TEST {
        let why = "an ensemble that is chosen on the test split has no test score that means anything; choose on \
                   validation, which is the default";
        return Err(BadInput(why.to_owned()).into());
    }
    let record = RunDir::open(&args.run)?.load()?;
    let voters = Voters::of(&record, &args.split);
    let samples = record.samples.get(&args.split);
    let candidates = samples.and_then(|samples| Candidates::new(&voters.matrices, samples));
    let Some(candidates) = candidates else {
        let why = format!(
            "no finished job of {} has predictions for labelled `{}` images",
            record.plan.name, args.split
        );
        return Err(BadInput(why).into());
    };
    let searched = search(&candidates, Effort { replicates: args.replicates, seed: args.seed });
    let tests = voters.scores_on_test(&record, &searched);
    let labels = Labels::of(&record.plan);
    let text = if args.json {
        format!("{:#}\n", in_json(&record, &voters, &searched, &tests, &labels))
    } else {
        plain(&in_words(&record.plan.name, &args.split, &voters, &searched, &tests, &labels))
    };
    stdio::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

impl<'a> Voters<'a> {
    /// The jobs that predict the same samples and classes as the first of the plan.
    fn of(record: &'a RunRecord, split: &str) -> Self {
        let mut voters = Self { jobs: Vec::new(), matrices: Vec::new(), left_out: 0 };
        let mut first = None;
        for (job, result) in
            record.plan.jobs.iter().filter_map(|job| Some((job.id, record.results.get(&job.id)?)))
        {
            let predicted = result.predictions.get(split).map(|set| &set.samples_digest);
            let matrix = record.predictions.get(&job).and_then(|all| all.get(split));
            match predicted.zip(matrix).map(|(samples, matrix)| ((samples, matrix.classes()), matrix)) {
                Some((kind, matrix)) if *first.get_or_insert(kind) == kind => {
                    voters.jobs.push(job);
                    voters.matrices.push(matrix);
                }
                Some(_) | None => voters.left_out += 1,
            }
        }
        voters
    }

    /// Macro F1 of each found ensemble on the test split, if all its members have predictions for it and labels are
    /// known. Nothing is chosen by it.
    fn scores_on_test(&self, record: &RunRecord, searched: &Search) -> BTreeMap<Method, f64> {
        let matrices: Option<Vec<&Matrix>> =
            self.jobs.iter().map(|job| record.predictions.get(job)?.get(TEST)).collect();
        let candidates = matrices.zip(record.samples.get(TEST));
        let Some(candidates) = candidates.and_then(|(all, samples)| Candidates::new(&all, samples)) else {
            return BTreeMap::new();
        };
        let score = |found: &Found| {
            let shares = candidates.vote(&found.combination);
            (found.method, candidates.macro_f1(candidates.predicted(&shares)))
        };
        searched.found.iter().map(score).collect()
    }
}

fn in_words(
    name: &str,
    split: &str,
    voters: &Voters<'_>,
    searched: &Search,
    tests: &BTreeMap<Method, f64>,
    labels: &Labels,
) -> String {
    let mut text = format!(
        "{name}: {}, {} of {split}\n",
        count(voters.jobs.len(), "candidate"),
        count(searched.samples, "labelled image")
    );
    if voters.left_out > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "left out, because they predict other samples or classes, or nothing: {}",
            count(voters.left_out, "job")
        );
    }
    let _ = writeln!(
        text,
        "\n  {:17} {:>7}  {:>9}  macro F1 (95 %)        over the best job (95 %)     ECE{}",
        "",
        "members",
        "on others",
        if tests.is_empty() { "" } else { "    test" }
    );
    for found in &searched.found {
        let [low, high] = found.interval;
        let [least, most] = found.gain_interval;
        let gain = if found.method == Method::Single {
            "-".to_owned()
        } else {
            format!("{:+.2} ({least:+.2} to {most:+.2})", found.gain)
        };
        let on_test = tests.get(&found.method).map_or_else(String::new, |f1| format!("  {f1:6.2}"));
        let _ = writeln!(
            text,
            "  {:17} {:>7}  {:>9.2}  {:5.2} ({low:5.2} to {high:5.2})  {gain:27} {:.3}{on_test}",
            found.method.name(),
            found.combination.members().count(),
            found.on_others,
            found.score,
            found.calibration.ece
        );
    }
    let flattered = searched.found.iter().filter(|found| found.is_overfitted);
    let flattered: Vec<String> =
        flattered.map(|found| format!("{} falls to {:.2}", found.method.name(), found.on_others)).collect();
    if !flattered.is_empty() {
        let _ = writeln!(
            text,
            "\nOverfitted to these images: on images that it was not chosen by, {}.",
            flattered.join(", ")
        );
    }
    if let Some(first) = searched.found.first() {
        members(&mut text, first, voters, searched, labels);
    }
    text
}

/// The members of the first ensemble, and how often they disagree.
fn members(text: &mut String, first: &Found, voters: &Voters<'_>, searched: &Search, labels: &Labels) {
    let members: Vec<usize> = first.combination.members().collect();
    let total: f64 = first.combination.weights.iter().sum();
    let _ = writeln!(text, "\nMembers of `{}`", first.method.name());
    let shown = &members[..members.len().min(LISTED)];
    let label = |member: usize| labels.get(voters.jobs[member]);
    let width = shown.iter().map(|&member| label(member).chars().count()).max().unwrap_or(0);
    for &member in shown {
        let weight = 100.0 * first.combination.weights[member] / total;
        let temperature = first.combination.temperatures.as_ref().map(|all| all[member]);
        let calibrated = temperature.map_or_else(String::new, |one| format!("  temperature {one:.2}"));
        let (id, label) = (voters.jobs[member].short(), label(member));
        let _ = writeln!(text, "  {id}  {label:width$}  weight {weight:5.1} %{calibrated}");
    }
    if members.len() > LISTED {
        let _ = writeln!(text, "  … and {} more", members.len() - LISTED);
    }
    let pairs: Vec<(f64, usize, usize)> = members
        .iter()
        .flat_map(|&a| {
            members.iter().filter(move |&&b| a < b).map(move |&b| (searched.disagreement[a][b], a, b))
        })
        .collect();
    let by_share = |a: &&(f64, usize, usize), b: &&(f64, usize, usize)| a.0.total_cmp(&b.0);
    if let [(share, ..)] = pairs[..] {
        let _ = writeln!(text, "\nThe two members disagree on {:.1} % of the images.", 100.0 * share);
    } else if let (Some(least), Some(most)) = (pairs.iter().min_by(by_share), pairs.iter().max_by(by_share)) {
        let mean = pairs.iter().map(|(share, ..)| share).sum::<f64>() / pairs.len() as f64;
        let _ = writeln!(
            text,
            "\nTwo members disagree on {:.1} % of the images on average; least {} and {} ({:.1} %), most {} and {} ({:.1} %).",
            100.0 * mean,
            label(least.1),
            label(least.2),
            100.0 * least.0,
            label(most.1),
            label(most.2),
            100.0 * most.0
        );
    }
}

fn in_json(
    record: &RunRecord,
    voters: &Voters<'_>,
    searched: &Search,
    tests: &BTreeMap<Method, f64>,
    labels: &Labels,
) -> Value {
    let found: Vec<Value> = searched
        .found
        .iter()
        .map(|found| {
            let member = |member: usize| {
                json!({
                    "job": voters.jobs[member], "label": labels.get(voters.jobs[member]),
                    "weight": found.combination.weights[member],
                    "temperature": found.combination.temperatures.as_ref().map(|all| all[member]),
                })
            };
            let mut value = json!(found);
            value["rule"] = json!(found.combination.rule);
            value["members"] = found.combination.members().map(member).collect();
            value["test_macro_f1"] = json!(tests.get(&found.method));
            value
        })
        .collect();
    json!({
        "sweep": record.plan.name, "candidates": voters.jobs, "left_out": voters.left_out,
        "samples": searched.samples, "effort": searched.effort, "found": found,
        "disagreement": searched.disagreement,
    })
}
