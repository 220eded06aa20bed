//! `ferry report RUN`: rebuilds a run's report from what its folder stores.

use std::path::Path;

use anyhow::{Context, Result};

use crate::ensemble::Certainty;
use crate::report::{self, EnsembleRow, JobState, Written};
use crate::run_dir::RunDir;

/// Rebuilds all files of the report in `dir` and prints where it lies and the ensembles' scores; with `json`, prints
/// results.json instead.
pub fn run(dir: &Path, json: bool) -> Result<()> {
    let written = report::write(&RunDir::open(dir)?)?;
    let text = if json {
        std::fs::read_to_string(&written.json)
            .with_context(|| format!("cannot read {}", written.json.display()))?
    } else {
        summary(&written)
    };
    show(&text);
    Ok(())
}

/// The ensembles' table and the report's place, as `ferry run` also ends.
pub fn summary(written: &Written) -> String {
    let results = &written.results;
    let in_state = |state| results.jobs.iter().filter(|job| job.state == state).count();
    let name_width =
        results.ensembles.iter().map(|e| e.name.chars().count()).max().unwrap_or(0).max("Ensemble".len());
    let mut lines = vec![format!(
        "{}: {} of {} jobs finished, {} failed",
        results.sweep,
        in_state(JobState::Done),
        results.jobs.len(),
        in_state(JobState::Failed),
    )];
    if !results.ensembles.is_empty() {
        lines.push(format!("{:name_width$}  Members  Val. F1  Test F1", "Ensemble"));
    }
    lines.extend(results.ensembles.iter().map(|ensemble| line(ensemble, name_width)));
    lines.push(format!("Report: {}", written.html.display()));
    lines.join("\n") + "\n"
}

fn line(ensemble: &EnsembleRow, name_width: usize) -> String {
    let f1 = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
    let state = match ensemble.selection.certainty {
        Certainty::Final => "",
        Certainty::Provisional { .. } => "  provisional",
    };
    format!(
        "{:name_width$}  {:>7}  {:>7}  {:>7}{state}",
        ensemble.name,
        ensemble.selection.members.len(),
        f1(ensemble.val_macro_f1),
        f1(ensemble.test_macro_f1),
    )
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn show(text: &str) {
    print!("{text}");
}
