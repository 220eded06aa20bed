//! results.csv: one line per job, with its params as columns.

use std::collections::BTreeSet;

use serde_json::Value;

use super::results::{JobRow, JobState};
use super::view::View;

/// The whole file. Columns of params are named `params.<setting>`; unknown values are empty. Where jobs are compared by
/// another metric than F1, all their metrics are in it as `metrics.<name>`.
pub(super) fn render(view: &View<'_>) -> String {
    let jobs = &view.results.jobs;
    let params: BTreeSet<&str> = jobs.iter().flat_map(|job| job.params.keys().map(String::as_str)).collect();
    let shown = jobs.iter().filter_map(|job| job.metrics.as_ref().filter(|_| !view.measure.is_f1()));
    let metrics: BTreeSet<&str> = shown.flat_map(|metrics| metrics.iter().map(|(name, _)| name)).collect();
    let mut header: Vec<String> = ["id", "group", "state"].map(str::to_owned).to_vec();
    header.extend(params.iter().map(|name| format!("params.{name}")));
    header.extend(["epochs", "best_epoch"].map(str::to_owned));
    header.extend(metrics.iter().map(|name| format!("metrics.{name}")));
    header.extend(["val_macro_f1", "test_macro_f1"].map(str::to_owned));
    header.extend(view.classes.iter().map(|class| format!("val_f1_{}", class.to_lowercase())));
    header.extend(
        ["train_seconds", "worker", "attempts", "val_probabilities", "test_probabilities", "warnings"]
            .map(str::to_owned),
    );
    let mut csv = line(&header);
    for job in jobs {
        csv.push_str(&line(&cells(job, &params, &metrics, view.classes.len())));
    }
    csv
}

fn cells(job: &JobRow, params: &BTreeSet<&str>, metrics: &BTreeSet<&str>, classes: usize) -> Vec<String> {
    let state = match job.state {
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Unfinished => "unfinished",
    };
    let mut cells = vec![job.id.to_string(), job.group.clone(), state.to_owned()];
    cells.extend(params.iter().map(|name| match job.params.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }));
    cells.extend([text(job.epochs), text(job.best_epoch)]);
    cells.extend(metrics.iter().map(|name| text(job.metrics.as_ref().and_then(|known| known.get(name)))));
    cells.extend([text(job.val_macro_f1), text(job.test_macro_f1)]);
    let f1 = |class| job.val_per_class_f1.as_ref().and_then(|f1| f1.get(class));
    cells.extend((0..classes).map(|class| text(f1(class))));
    cells.extend([text(job.train_seconds), text(job.worker.as_ref()), text(job.attempts)]);
    let paths = job.probabilities.as_ref();
    cells.extend([text(paths.and_then(|p| p.val.as_ref())), text(paths.and_then(|p| p.test.as_ref()))]);
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
