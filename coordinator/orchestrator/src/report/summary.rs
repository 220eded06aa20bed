//! The report in a few lines, for the terminal.

use shared::plural::count;
use shared::terminal::plain;

use super::{EnsembleRow, JobRow, JobState, Results, WarningKind, Written};
use crate::ensemble::Certainty;

/// The table of ensembles and the path of the report: what `ferry run` and `ferry report` print last.
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

/// How many scores are not to be trusted, and why.
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
        1 => lines.push("Warning: 1 job is at chance level".to_owned()),
        jobs => lines.push(format!("Warning: {jobs} jobs are at chance level")),
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
    let chance = if ensemble.is_above_chance() { "" } else { "  at chance level" };
    format!(
        "{:name_width$}  {:>7}  {:>7}  {:>7}{chance}{state}",
        ensemble.name,
        ensemble.selection.members.len(),
        f1(ensemble.val_macro_f1),
        f1(ensemble.test_macro_f1),
    )
}
