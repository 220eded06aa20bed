//! `ferry report RUN`: rebuilds a run's report from what its folder stores.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use shared::plural::count;
use shared::stdio;
use shared::terminal::plain;

use crate::ensemble::Certainty;
use crate::report::{self, EnsembleRow, JobRow, JobState, Results, WarningKind, Written};
use crate::run_dir::RunDir;

/// What to report on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry report runs/demo")]
pub struct ReportArgs {
    /// A sweep's run folder, such as runs/demo.
    pub run: PathBuf,
    /// Print results.json instead of a summary.
    #[arg(long)]
    pub json: bool,
}

/// Rebuilds all files of the report and prints where it lies and the ensembles' scores.
pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    let written = report::write(&RunDir::open(&args.run)?)?;
    let text = if args.json {
        std::fs::read_to_string(&written.json)
            .with_context(|| format!("cannot read {}", written.json.display()))?
    } else {
        summary(&written)
    };
    stdio::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The ensembles' table and the report's place, as `ferry run` also ends.
pub fn summary(written: &Written) -> String {
    let results = &written.results;
    let in_state = |state| results.jobs.iter().filter(|job| job.state == state).count();
    let name_width =
        results.ensembles.iter().map(|e| e.name.chars().count()).max().unwrap_or(0).max("Ensemble".len());
    let mut lines = vec![format!(
        "{}: {} of {} finished, {} failed",
        results.sweep,
        in_state(JobState::Done),
        count(results.jobs.len(), "job"),
        in_state(JobState::Failed),
    )];
    let drained = results.drained_workers.iter();
    lines.extend(drained.map(|drained| format!("worker {} was drained: {}", drained.worker, drained.reason)));
    if !results.ensembles.is_empty() {
        lines.push(format!("{:name_width$}  Members  Val. F1  Test F1", "Ensemble"));
    }
    lines.extend(results.ensembles.iter().map(|ensemble| line(ensemble, name_width)));
    lines.extend(warnings(results));
    lines.push(format!("Report: {}", written.html.display()));
    plain(&lines.join("\n")) + "\n"
}

/// How many scores deserve no trust, and why.
fn warnings(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    let having = |kind| {
        let has = |job: &&JobRow| job.warnings.iter().any(|warning| warning.kind == kind);
        results.jobs.iter().filter(has).count()
    };
    match having(WarningKind::Diverged) {
        0 => {}
        jobs => lines.push(format!("Warning: {} diverged; lower `learning_rate`", count(jobs, "job"))),
    }
    match having(WarningKind::ChanceLevel) {
        0 => {}
        1 => lines.push("Warning: 1 job is no better than guessing".to_owned()),
        jobs => lines.push(format!("Warning: {jobs} jobs are no better than guessing")),
    }
    lines.extend(results.all_at_chance());
    lines
}

fn line(ensemble: &EnsembleRow, name_width: usize) -> String {
    let f1 = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
    let state = match ensemble.selection.certainty {
        Certainty::Final => "",
        Certainty::Provisional { .. } => "  provisional",
    };
    let chance = if ensemble.is_above_chance() { "" } else { "  no better than guessing" };
    format!(
        "{:name_width$}  {:>7}  {:>7}  {:>7}{chance}{state}",
        ensemble.name,
        ensemble.selection.members.len(),
        f1(ensemble.val_macro_f1),
        f1(ensemble.test_macro_f1),
    )
}
