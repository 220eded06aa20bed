//! The sections around the charts.

use maud::{Markup, html};
use shared::expression::Expression;
use shared::metrics::Confusion;

use super::section::section;
use crate::report::charts;
use crate::report::results::EnsembleRow;
use crate::report::view::View;

pub(super) fn overview(view: &View<'_>) -> Markup {
    let Some(chart) = charts::dots(view) else { return html! {} };
    let body = html! { figure { (chart) } (legend(view, true)) };
    section(
        "Single models and ensembles",
        "Every job is a dot on its configuration's line; the number is the mean ± standard deviation.",
        &body,
    )
}

pub(super) fn learning(view: &View<'_>) -> Markup {
    let Some(chart) = charts::curves(view) else { return html! {} };
    section(
        "Learning curves",
        "Validation F1 by epoch. Thin: single jobs; bold: their mean; grey: the other configurations. The dot marks the peak.",
        &chart,
    )
}

/// Test against validation, and the best ensemble's confusion matrix, side by side.
pub(super) fn transfer_and_confusion(view: &View<'_>) -> Markup {
    let top = view.top_ensemble();
    html! {
        div.pair {
            @if let Some(chart) = charts::scatter(view) {
                (section(
                    "Test against validation",
                    "Members are chosen on validation; the test split only reports. Dashed: equal scores, where in view.",
                    &html! { figure { (chart) } (legend(view, false)) },
                ))
            }
            @if let Some((ensemble, confusion)) = top.and_then(|e| Some((e, e.val_confusion?))) {
                (matrix_section(ensemble, &confusion))
            }
        }
    }
}

fn matrix_section(ensemble: &EnsembleRow, confusion: &Confusion) -> Markup {
    let body = html! {
        (matrix(confusion))
        @if let Some(test) = &ensemble.test_confusion {
            h3 { "On the test split" }
            (matrix(test))
        }
    };
    let note = format!(
        "{}. Rows are the true expression, columns the predicted one; shading is the share of the row.",
        ensemble.name
    );
    section("Confusion of the ensemble with the highest F1, validation", &note, &body)
}

fn matrix(confusion: &Confusion) -> Markup {
    html! {
        div.scroll { table.heat.matrix {
            thead { tr { th {} @for e in Expression::ALL { th.n { (e.name()) } } th.n { "Recall" } } }
            tbody { @for truth in Expression::ALL {
                @let row = &confusion.counts[truth.index()];
                @let total = row.iter().sum::<u64>().max(1) as f64;
                @let share = |count: u64| 100.0 * count as f64 / total;
                tr {
                    th { (truth.name()) }
                    @for (predicted, &count) in Expression::ALL.iter().zip(row) {
                        td.n style={ "--s:" (share(count).round()) "%" }
                            title={ (truth.name()) " taken for " (predicted.name()) ": " (count) " (" (format!("{:.1}", share(count))) " %)" } { (count) }
                    }
                    td.n.soft { (format!("{:.1}", share(row[truth.index()]))) }
                }
            } }
        } }
    }
}

fn legend(view: &View<'_>, means: bool) -> Markup {
    html! {
        p.legend {
            @for (index, group) in view.groups().into_iter().enumerate() {
                span { i.swatch.(charts::colour(index)) {} (group) }
            }
            @if means { span { i.tickmark {} "mean of a configuration" } }
            @if !view.results.ensembles.is_empty() { span { i.swatch.diamond.e {} "ensemble" } }
        }
    }
}
