//! report.md: the report as text.

use shared::ids::JobId;

use super::foretold;
use super::labels::{self, f1_or_dash, f1_with_warnings, gap};
use super::measure::Measure;
use super::reasons;
use super::results::{EnsembleRow, JobState};
use super::tables::{Group, Row, Table};
use super::view::View;
use crate::ensemble::Certainty;

/// The whole file.
pub(super) fn render(view: &View<'_>) -> String {
    let sections = [
        head(view),
        ensembles(view),
        view.tables.iter().map(|filled| table(&view.measure, filled)).collect(),
        per_class(view),
        confusion(view),
        members(view),
        jobs(view),
        warnings(view),
        failures(view),
        drained(view),
        times(view),
    ];
    let sections =
        sections.iter().map(|section| section.trim_matches('\n')).filter(|section| !section.is_empty());
    sections.collect::<Vec<_>>().join("\n\n") + "\n"
}

fn head(view: &View<'_>) -> String {
    let results = view.results;
    let failed = view.in_state(JobState::Failed).count();
    let mut lines = vec![
        format!("- Jobs: {} of {} finished, {failed} failed", view.finished(), results.jobs.len()),
        format!("- Training time: {}", labels::duration(view.train_seconds())),
    ];
    lines.extend(results.dataset_digest.iter().map(|digest| format!("- Dataset: `{}`", escape(digest))));
    lines.extend(view.devices().iter().map(|device| format!("- Device: {}", escape(device))));
    let chance = results.all_at_chance().map_or_else(String::new, |text| format!("**{text}**\n\n"));
    format!("# {}\n\n{chance}{}\n\n{}\n", escape(&results.sweep), lines.join("\n"), measures(view).join(" "))
}

/// What the scores are.
fn measures(view: &View<'_>) -> Vec<String> {
    let measure = &view.measure;
    let own = || format!("Jobs are compared by `{}`: {} is better.", measure.column(), measure.better());
    let over = if view.class_word() == "expression" { "six expressions" } else { "all classes" };
    let f1 = view.has_f1.then(|| format!("F1 is the macro F1 over {over}, in percent."));
    (!measure.is_f1()).then(own).into_iter().chain(f1).collect()
}

fn ensembles(view: &View<'_>) -> String {
    if view.results.ensembles.is_empty() {
        return String::new();
    }
    let compared = view.results.ensembles.iter().any(|e| e.paper.is_some());
    let mut header = vec!["Ensemble", "Members", "Val. F1", "Test F1"];
    if compared {
        header.extend(["Paper val.", "Δ", "Paper test", "Δ"]);
    }
    let header: Vec<String> = header.into_iter().map(str::to_owned).collect();
    let rows = view.results.ensembles.iter().map(|e| ensemble(e, compared));
    format!("## Ensembles (soft voting)\n\n{}", grid(&header, rows))
}

/// `compared` adds the paper's scores.
fn ensemble(row: &EnsembleRow, compared: bool) -> Vec<String> {
    let mut cells = vec![
        ensemble_name(row),
        format!("{} of {}", row.selection.members.len(), row.size),
        f1_with_warnings(row.val_macro_f1, &row.warnings),
        f1_or_dash(row.test_macro_f1),
    ];
    if compared {
        let (val, test) = (row.paper.map(|p| p.validation), row.paper.map(|p| p.test));
        cells.extend([f1_or_dash(val), gap(row.val_macro_f1, val)]);
        cells.extend([f1_or_dash(test), gap(row.test_macro_f1, test)]);
    }
    cells
}

fn ensemble_name(ensemble: &EnsembleRow) -> String {
    match ensemble.selection.certainty {
        Certainty::Final => escape(&ensemble.name),
        Certainty::Provisional { .. } => format!("{} (provisional)", escape(&ensemble.name)),
    }
}

fn table(measure: &Measure, table: &Table) -> String {
    let mut header: Vec<String> = table.columns.iter().map(|column| escape(column)).collect();
    header.push(escape(measure.column()));
    let optional =
        [(table.spread, "± std"), (table.spread, "Jobs"), (table.paper, "Paper"), (table.paper, "Δ")];
    header.extend(optional.iter().filter(|(shown, _)| *shown).map(|(_, name)| (*name).to_owned()));
    if table.grouped {
        header.push(format!("Mean {}", escape(measure.column())));
    }
    if table.grouped && table.paper {
        header.push("Paper mean".to_owned());
    }
    let rows = table.rows.iter().map(|row| table_row(measure, table, row));
    format!("\n## {}\n\n{}", escape(&table.title), grid(&header, rows))
}

fn table_row(measure: &Measure, table: &Table, row: &Row) -> Vec<String> {
    let mean = row.mean.map(|mean| mean.mean);
    let mut cells: Vec<String> = row.values.iter().map(|value| escape(value)).collect();
    cells.push(measure.or_dash(mean));
    if table.spread {
        cells.push(measure.or_dash(row.mean.and_then(|mean| mean.deviation)));
        cells.push(format!("{} of {}", row.mean.map_or(0, |mean| mean.finished), row.jobs));
    }
    if table.paper {
        cells.extend([f1_or_dash(row.paper), gap(mean, row.paper)]);
    }
    let group = |value: fn(&Group) -> Option<f64>| {
        row.group.as_ref().map_or(String::new(), |g| measure.or_dash(value(g)))
    };
    if table.grouped {
        cells.push(group(|g| g.mean));
    }
    if table.grouped && table.paper {
        cells.push(group(|g| g.paper));
    }
    cells
}

fn per_class(view: &View<'_>) -> String {
    if view.classes.is_empty() {
        return String::new();
    }
    let mut header = vec!["Model".to_owned()];
    header.extend(view.classes.iter().map(|class| escape(class)));
    let cells = |name: String, f1: Option<&Vec<f64>>| {
        let mut cells = vec![name];
        let of = |class| f1_or_dash(f1.and_then(|f1| f1.get(class).copied()));
        cells.extend((0..view.classes.len()).map(of));
        cells
    };
    let models = view.listed_configurations().iter().map(|c| {
        let group = c.group_before_label().map_or(String::new(), |group| format!("{group}: "));
        cells(escape(&(group + &c.label)), view.per_class_of(c).as_ref())
    });
    let ensembles =
        view.results.ensembles.iter().map(|e| cells(ensemble_name(e), e.val_per_class_f1.as_ref()));
    format!("\n## F1 by {} (validation)\n\n{}", view.class_word(), grid(&header, models.chain(ensembles)))
}

fn confusion(view: &View<'_>) -> String {
    let top = view.top_ensemble().filter(|_| !view.classes.is_empty());
    let Some((ensemble, confusion)) = top.and_then(|e| Some((e, e.val_confusion.as_ref()?))) else {
        return String::new();
    };
    let classes = || view.classes.iter().map(|class| escape(class)).take(confusion.counts.len());
    let header: Vec<String> = std::iter::once("True \\ predicted".to_owned()).chain(classes()).collect();
    let rows = classes().zip(&confusion.counts).map(|(truth, counts)| {
        let mut cells = vec![truth];
        cells.extend(counts.iter().map(u64::to_string));
        cells
    });
    format!("\n## Confusion of {} (validation)\n\n{}", escape(&ensemble.name), grid(&header, rows))
}

fn members(view: &View<'_>) -> String {
    let cards: Vec<String> = view.results.ensembles.iter().map(|ensemble| card(view, ensemble)).collect();
    if cards.is_empty() { String::new() } else { format!("\n## Members and why\n\n{}", cards.join("\n")) }
}

fn card(view: &View<'_>, ensemble: &EnsembleRow) -> String {
    let selection = &ensemble.selection;
    let steps = selection.steps.iter().map(|step| reasons::step(view, step));
    let reasons =
        steps.chain(reasons::open(&selection.certainty)).map(|line| format!("- {}\n", escape(&line)));
    let member = |&id| format!("`{}` {}", JobId::short(id), escape(view.name(id)));
    let members: Vec<String> = selection.members.iter().map(member).collect();
    format!(
        "### {}\n\n{}- Members: {}\n",
        ensemble_name(ensemble),
        reasons.collect::<String>(),
        if members.is_empty() { "none yet".to_owned() } else { members.join("; ") },
    )
}

fn jobs(view: &View<'_>) -> String {
    let mut header: Vec<String> =
        ["Job", "Group", "Configuration", "Epochs", "Best"].map(str::to_owned).to_vec();
    header.extend(view.score_columns().into_iter().map(escape));
    header.extend(["Time", "Worker", "Attempts"].map(str::to_owned));
    let rows = view.listed().iter().map(|job| {
        let mut cells = vec![
            format!("`{}`", job.id.short()),
            escape(&job.group),
            escape(view.name(job.id)),
            job.epochs.map_or_else(|| "–".to_owned(), |n| n.to_string()),
            job.best_epoch.map_or_else(|| "–".to_owned(), |n| n.to_string()),
        ];
        // The warnings are about the first score, by which jobs are compared.
        let mut scores = view.scores(job).into_iter();
        cells.extend(scores.next().map(|score| labels::with_warnings(score, &job.warnings)));
        cells.extend(scores);
        cells.extend([
            job.train_seconds.map_or_else(|| "–".to_owned(), labels::duration),
            job.worker.as_ref().map_or_else(|| "–".to_owned(), |worker| escape(worker.as_str())),
            job.attempts.map_or_else(|| "–".to_owned(), |n| n.to_string()),
        ]);
        cells
    });
    let note = view.unlisted().map_or_else(String::new, |text| format!("{text}\n\n"));
    format!("\n## Jobs\n\n{note}{}", grid(&header, rows))
}

fn warnings(view: &View<'_>) -> String {
    let line = |(name, text): (String, &str)| format!("- {}: {}\n", escape(&name), escape(text));
    let lines: String = view.warnings().into_iter().map(line).collect();
    if lines.is_empty() { lines } else { format!("\n## Scores not to trust\n\n{lines}") }
}

fn failures(view: &View<'_>) -> String {
    let failed = view.listed().iter().filter(|job| job.state == JobState::Failed);
    let lines = failed.map(|job| {
        let error = job.error.as_deref().unwrap_or_default();
        let mut text = format!("- `{}` {}: {}\n", job.id.short(), escape(view.name(job.id)), escape(error));
        text.extend(job.reproduce.iter().map(|command| format!("  - to see it fail: `{command}`\n")));
        text.extend(job.log.iter().flatten().map(|line| format!("  - log: {}\n", escape(line))));
        text
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\n## Failed for good\n\n{lines}") }
}

fn drained(view: &View<'_>) -> String {
    let workers = view.results.drained_workers.iter();
    let lines: Vec<String> =
        workers.map(|drained| format!("- `{}`: {}\n", drained.worker, escape(&drained.reason))).collect();
    if lines.is_empty() { String::new() } else { format!("\n## Drained workers\n\n{}", lines.concat()) }
}

fn times(view: &View<'_>) -> String {
    let rows = foretold::rows(view);
    if rows.is_empty() {
        return String::new();
    }
    let table = grid(&foretold::COLUMNS.map(str::to_owned), rows);
    format!("\n## {}\n\n{} {}\n\n{table}", foretold::TITLE, foretold::NOTE, foretold::summary(view))
}

fn grid(header: &[String], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> = header.iter().map(|_| "---".to_owned()).collect();
    let rows: String = rows.into_iter().map(|row| line(&row)).collect();
    line(header) + &line(&rule) + &rows
}

/// Text from files as Markdown shows it literally, on one line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\r' => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => escaped.extend(['\\', c]),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // An ampersand on its own is literal anyway, and is easier to read unescaped.
            '&' if rest.peek().is_some_and(|next| next.is_alphanumeric() || *next == '#') => {
                escaped.push_str("&amp;");
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_files_cannot_make_markup() {
        assert_eq!(escape("a|b\n<i>*x*"), "a\\|b &lt;i&gt;\\*x\\*");
        assert_eq!(escape("a & b &lt;"), "a & b &amp;lt;");
    }
}
