//! results.csv: one line per job, with its params as columns.

use std::collections::BTreeSet;

use serde_json::Value;
use shared::expression::Expression;

use super::results::{JobRow, JobState, Results};

/// The whole file. Columns of params are named `params.<setting>`; unknown values are empty.
pub(super) fn render(results: &Results) -> String {
    let params: BTreeSet<&str> =
        results.jobs.iter().flat_map(|job| job.params.keys().map(String::as_str)).collect();
    let mut header: Vec<String> = ["id", "group", "state"].map(str::to_owned).to_vec();
    header.extend(params.iter().map(|name| format!("params.{name}")));
    header.extend(["epochs", "best_epoch", "val_macro_f1", "test_macro_f1"].map(str::to_owned));
    header.extend(Expression::ALL.map(|e| format!("val_f1_{}", e.name().to_lowercase())));
    header.extend(
        ["train_seconds", "worker", "attempts", "val_probabilities", "test_probabilities", "warnings"]
            .map(str::to_owned),
    );
    let mut csv = line(&header);
    for job in &results.jobs {
        csv.push_str(&line(&cells(job, &params)));
    }
    csv
}

fn cells(job: &JobRow, params: &BTreeSet<&str>) -> Vec<String> {
    let state = match job.state {
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Unfinished => "unfinished",
    };
    let mut cells = vec![job.id.to_string(), job.group.clone(), state.to_owned()];
    cells.extend(params.iter().map(|name| match job.params.get(*name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }));
    cells.extend([text(job.epochs), text(job.best_epoch), text(job.val_macro_f1), text(job.test_macro_f1)]);
    cells.extend((0..Expression::ALL.len()).map(|class| text(job.val_per_class_f1.map(|f1| f1[class]))));
    cells.extend([text(job.train_seconds), text(job.worker.as_ref()), text(job.attempts)]);
    let paths = job.probabilities.as_ref();
    cells.extend([text(paths.map(|p| &p.val)), text(paths.and_then(|p| p.test.as_ref()))]);
    cells.push(job.warnings.iter().map(|warning| warning.text.as_str()).collect::<Vec<_>>().join("; "));
    cells
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// One line as in RFC 4180, ending in `\n`.
fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    cells.join(",") + "\n"
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_need_it_are_quoted() {
        assert_eq!(
            line(&["a,b".into(), "say \"x\"".into(), "plain".into()]),
            "\"a,b\",\"say \"\"x\"\"\",plain\n"
        );
    }
}
