//! The score tables: ensembles (the paper's Table 4), the sweep's tables (2 and 3), F1 by class.

use maud::{Markup, html};

use super::section::section;
use crate::ensemble::Certainty;
use crate::report::labels::{f1, f1_or_dash, gap};
use crate::report::measure::Measure;
use crate::report::results::{EnsembleRow, ScoreWarning};
use crate::report::tables::{Row, Table};
use crate::report::view::View;

pub(super) fn ensembles(view: &View<'_>) -> Markup {
    let ensembles = &view.results.ensembles;
    if ensembles.is_empty() {
        return html! {};
    }
    let paper = ensembles.iter().any(|e| e.paper.is_some());
    let best = view.best_ensemble().map(|e| &e.name);
    let body = html! {
        div.scroll { table {
            thead {
                @if paper { tr { th.none colspan="2" {} th.span colspan="3" { "Validation F1" } th.span colspan="3" { "Test F1" } } }
                tr {
                    th { "Ensemble" } th.n { "Members" }
                    @for split in ["Validation", "Test"] {
                        th.n { @if paper { "ours" } @else { (split) " F1" } }
                        @if paper { th.n { "paper" } th.n { "Δ" } }
                    }
                }
            }
            tbody { @for e in ensembles {
                tr.best[Some(&e.name) == best] {
                    td { (name(e)) (doubts(&e.warnings)) }
                    td.n { (e.selection.members.len()) @if e.selection.members.len() != e.size { span.soft { " of " (e.size) } } }
                    (against(e.val_macro_f1, e.paper.map(|p| p.validation), paper))
                    (against(e.test_macro_f1, e.paper.map(|p| p.test), paper))
                }
            } }
        } }
    };
    let about = "Soft voting over stored probabilities. The best by validation F1 is marked.";
    section("Ensembles", &said(about, paper), &body)
}

/// What a table is about and, if it shows the paper's numbers, what they were measured on.
fn said(about: &str, paper: bool) -> String {
    if paper {
        format!("{about} The paper's numbers are for the LSD challenge's images.")
    } else {
        about.to_owned()
    }
}

/// Our number and, with `paper`, the paper's number and the difference.
fn against(ours: Option<f64>, theirs: Option<f64>, paper: bool) -> Markup {
    html! {
        td.n.main { (f1_or_dash(ours)) }
        @if paper { td.n.soft { (f1_or_dash(theirs)) } td.n.soft { (gap(ours, theirs)) } }
    }
}

pub(super) fn name(ensemble: &EnsembleRow) -> Markup {
    html! {
        (ensemble.name)
        @match ensemble.selection.certainty {
            Certainty::Final => {}
            Certainty::Provisional { .. } => { " " span.badge { "provisional" } }
        }
    }
}

/// Warnings about a score, as badges.
pub(super) fn doubts(warnings: &[ScoreWarning]) -> Markup {
    html! { @for warning in warnings { " " span.badge.bad title=(warning.text) { (warning.kind.brief()) } } }
}

pub(super) fn tables(view: &View<'_>) -> Markup {
    let about = format!("{}; each row is the mean over its finished jobs.", view.measure.at_start());
    html! {
        @for filled in &view.tables {
            (section(&filled.title, &said(&about, filled.paper), &table(&view.measure, filled)))
        }
    }
}

fn table(measure: &Measure, table: &Table) -> Markup {
    let better = |a, b| if measure.merit(b) > measure.merit(a) { b } else { a };
    let best = table.rows.iter().filter_map(|row| row.mean).map(|mean| mean.mean).reduce(better);
    html! {
        div.scroll { table {
            thead { tr {
                @for column in &table.columns { th { (column) } }
                @if table.spread { th.n { "Jobs" } }
                th.n { (measure.column()) }
                @if table.spread { th.n { "± std" } }
                @if table.paper { th.n { "paper" } th.n { "Δ" } }
                @if table.grouped { th.n.edge { "Mean " (measure.column()) } @if table.paper { th.n { "paper" } th.n { "Δ" } } }
            } }
            tbody { @for row in &table.rows {
                tr.start[row.group.is_some()] { (cells(measure, table, row, best)) }
            } }
        } }
    }
}

fn cells(measure: &Measure, table: &Table, row: &Row, best: Option<f64>) -> Markup {
    let mean = row.mean.map(|mean| mean.mean);
    let finished = row.mean.map_or(0, |mean| mean.finished);
    html! {
        @for value in &row.values { td { (value) } }
        @if table.spread { td.n.soft { @if finished < row.jobs { (finished) " of " } (row.jobs) } }
        td.n.main { @if mean.is_some() && mean == best { mark { (measure.or_dash(mean)) } } @else { (measure.or_dash(mean)) } }
        @if table.spread { td.n.soft { (measure.or_dash(row.mean.and_then(|mean| mean.deviation))) } }
        @if table.paper { td.n.soft { (f1_or_dash(row.paper)) } td.n.soft { (gap(mean, row.paper)) } }
        @if let Some(group) = &row.group {
            td.n.edge.main rowspan=(group.rows) { (measure.or_dash(group.mean)) }
            @if table.paper {
                td.n.soft rowspan=(group.rows) { (f1_or_dash(group.paper)) }
                td.n.soft rowspan=(group.rows) { (gap(group.mean, group.paper)) }
            }
        }
    }
}

pub(super) fn per_class(view: &View<'_>) -> Markup {
    let configurations = view.listed_configurations().iter().map(|c| {
        (
            html! { @if let Some(group) = c.group_before_label() { span.soft { (group) } " " } (c.label) },
            view.per_class_of(c),
        )
    });
    let ensembles = view.results.ensembles.iter().map(|e| (name(e), e.val_per_class_f1.clone()));
    let rows: Vec<(Markup, Vec<f64>)> =
        configurations.chain(ensembles).filter_map(|(name, f1)| Some((name, f1?))).collect();
    if rows.is_empty() || view.classes.is_empty() {
        return html! {};
    }
    let values = || rows.iter().flat_map(|(_, f1)| f1);
    let low = values().copied().fold(f64::INFINITY, f64::min);
    let high = values().copied().fold(f64::NEG_INFINITY, f64::max);
    let shade = |value: f64| ((value - low) / (high - low).max(1e-9) * 100.0).round();
    let first_ensemble =
        rows.len() - view.results.ensembles.iter().filter(|e| e.val_per_class_f1.is_some()).count();
    let body = html! {
        div.scroll { table.heat {
            thead { tr { th { "Model" } @for class in &view.classes { th.n { (class) } } } }
            tbody { @for (index, (name, scores)) in rows.iter().enumerate() {
                tr.start[index == first_ensemble] {
                    td { (name) }
                    @for value in scores { td.n style={ "--s:" (shade(*value)) "%" } { (f1(*value)) } }
                    @for _ in scores.len()..view.classes.len() { td.n { "–" } }
                }
            } }
        } }
    };
    section(
        &format!("F1 by {}", view.class_word()),
        "Validation split; configurations as the mean over their jobs, then ensembles. Darker is higher.",
        &body,
    )
}
