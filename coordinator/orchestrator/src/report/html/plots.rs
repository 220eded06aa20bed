//! The sections around the charts.

use maud::{Markup, html};
use shared::confusion::Confusion;

use super::section::section;
use crate::report::charts;
use crate::report::results::EnsembleRow;
use crate::report::view::View;

pub(super) fn overview(view: &View<'_>) -> Markup {
    let Some(chart) = charts::dots(view) else { return html! {} };
    let body = html! { figure { (chart) } (legend(view, true)) };
    let title = if view.measure.is_f1() {
        "Single models and ensembles".to_owned()
    } else {
        format!("Jobs by {}", view.measure.in_words())
    };
    section(
        &title,
        &view.with_unlisted(
            "Every job is a dot on its configuration's line; the number is the mean ± standard deviation.",
        ),
        &body,
    )
}

pub(super) fn learning(view: &View<'_>) -> Markup {
    let Some(chart) = charts::curves(view) else { return html! {} };
    let others = if charts::show_others(view) { "; grey: the other configurations" } else { "" };
    let note = format!(
        "{} by epoch. Thin: single jobs; bold: their mean{others}. The dot marks the peak.",
        view.measure.at_start()
    );
    section("Learning curves", &view.with_unlisted(&note), &chart)
}

/// Test against validation, and the best ensemble's confusion matrix, side by side.
pub(super) fn transfer_and_confusion(view: &View<'_>) -> Markup {
    let top = view.top_ensemble().filter(|_| !view.classes.is_empty());
    html! {
        div.pair {
            @if let Some(chart) = charts::scatter(view) {
                (section(
                    "Test against validation",
                    &view.with_unlisted("Members are chosen on validation; the test split only reports. Dashed: equal scores, where in view."),
                    &html! { figure { (chart) } (legend(view, false)) },
                ))
            }
            @if let Some((ensemble, confusion)) = top.and_then(|e| Some((e, e.val_confusion.as_ref()?))) {
                (matrix_section(view, ensemble, confusion))
            }
        }
    }
}

fn matrix_section(view: &View<'_>, ensemble: &EnsembleRow, confusion: &Confusion) -> Markup {
    let body = html! {
        (matrix(&view.classes, confusion))
        @if let Some(test) = &ensemble.test_confusion {
            h3 { "On the test split" }
            (matrix(&view.classes, test))
        }
    };
    let note = format!(
        "{}. Rows are the true {}, columns the predicted one; shading is the share of the row.",
        ensemble.name,
        view.class_word()
    );
    section("Confusion of the ensemble with the highest F1, validation", &note, &body)
}

/// `names` are those of at least as many classes as are counted.
fn matrix(names: &[String], confusion: &Confusion) -> Markup {
    let names = &names[..names.len().min(confusion.counts.len())];
    html! {
        div.scroll { table.heat.matrix {
            thead { tr { th {} @for name in names { th.n { (name) } } th.n { "Recall" } } }
            tbody { @for (index, (truth, row)) in names.iter().zip(&confusion.counts).enumerate() {
                @let total = row.iter().sum::<u64>().max(1) as f64;
                @let share = |count: u64| 100.0 * count as f64 / total;
                tr {
                    th { (truth) }
                    @for (predicted, &count) in names.iter().zip(row) {
                        td.n style={ "--s:" (share(count).round()) "%" }
                            title={ (truth) " taken for " (predicted) ": " (count) " (" (format!("{:.1}", share(count))) " %)" } { (count) }
                    }
                    td.n.soft { (format!("{:.1}", share(row[index]))) }
                }
            } }
        } }
    }
}

fn legend(view: &View<'_>, means: bool) -> Markup {
    // The means are those of the jobs' scores, which ensembles have only if it is F1.
    let ensembles = !view.results.ensembles.is_empty() && (view.measure.is_f1() || !means);
    html! {
        p.legend {
            @for (index, group) in view.groups.iter().enumerate() {
                span { i.swatch.(charts::colour(index)) {} (group) }
            }
            @if means { span { i.tickmark {} "mean of a configuration" } }
            @if ensembles { span { i.swatch.diamond.e {} "ensemble" } }
        }
    }
}
