//! report.html: one self-contained page without scripts or outside requests; `maud` escapes all text.

mod inventory;
mod plots;
mod scores;
mod section;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use shared::plural::count;

use super::labels;
use super::results::JobState;
use super::view::View;

const STYLE: &str = include_str!("style.css");

/// The whole file.
pub(super) fn render(view: &View<'_>) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (view.results.sweep) " – Ferry report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(view))
                main {
                    (plots::overview(view))
                    (scores::ensembles(view))
                    (scores::tables(view))
                    (plots::transfer_and_confusion(view))
                    (scores::per_class(view))
                    (plots::learning(view))
                    (inventory::members(view))
                    (inventory::jobs(view))
                    (inventory::warnings(view))
                    (inventory::failures(view))
                    (inventory::drained(view))
                    (inventory::times(view))
                }
                (footer(view))
            }
        }
    }
    .into_string()
}

fn header(view: &View<'_>) -> Markup {
    let total = view.results.jobs.len();
    let failed = view.in_state(JobState::Failed).count();
    html! {
        header {
            p.eyebrow { "Ferry sweep report" }
            h1 { (view.results.sweep) }
            (lead(view))
            div.facts {
                @if let Some(best) = view.best_ensemble() {
                    (fact("Best ensemble", &labels::f1_or_dash(best.val_macro_f1), &format!("validation F1 · {}", best.name)))
                    (fact("On the test split", &labels::f1_or_dash(best.test_macro_f1), "test F1 of the same ensemble"))
                }
                @if let Some(best) = view.best_job() {
                    @let name = if view.measure.is_f1() { "Best single model" } else { "Best job" };
                    (fact(name, &view.measure.or_dash(best.score), &format!("{} · {}: {}", view.measure.in_words(), best.group, view.name(best.id))))
                }
                (fact("Jobs finished", &format!("{} / {total}", view.finished()), &format!("{failed} failed · {} of training", labels::duration(view.train_seconds()))))
            }
        }
    }
}

/// The finding in one sentence.
fn lead(view: &View<'_>) -> Markup {
    let best = view.best_ensemble().and_then(|e| Some((e, e.val_macro_f1?)));
    let single = view.best_job().and_then(|job| job.score);
    html! {
        p.lead {
            @if !view.measure.is_f1() {
                (lead_by_metric(view))
            } @else if let (Some((ensemble, f1)), Some(single)) = (best, single) {
                "Chosen on validation, " strong { (ensemble.name) } " reaches " (labels::f1(f1)) " macro F1 with "
                (count(ensemble.selection.members.len(), "member")) ", " (labels::f1((f1 - single).abs())) " points "
                @if f1 < single { "below" } @else { "above" } " the best single model"
                @if let Some(test) = ensemble.test_macro_f1 { ", and " (labels::f1(test)) " on the test split" }
                "."
            } @else if let Some(text) = view.results.all_at_chance() {
                strong { (text) }
            } @else {
                "No ensemble has a score yet."
            }
            @if view.finished() < view.results.jobs.len() {
                " This report is provisional: not every job has finished."
            }
        }
    }
}

/// The same where jobs are compared by something else than F1, which ensembles do not have.
fn lead_by_metric(view: &View<'_>) -> Markup {
    html! {
        @match view.best_job().and_then(|job| Some((job, job.score?))) {
            Some((job, score)) => {
                "The best job by " (view.measure.column()) ", " strong { (view.name(job.id)) } " of " (job.group)
                ", reaches " (view.measure.text(score)) "."
            }
            None => { "No job has a score yet." }
        }
        @if let Some((ensemble, f1)) = view.best_ensemble().and_then(|e| Some((e, e.val_macro_f1?))) {
            " The best ensemble, " strong { (ensemble.name) } ", reaches " (labels::f1(f1)) " macro F1 on validation with "
            (count(ensemble.selection.members.len(), "member"))
            @if let Some(test) = ensemble.test_macro_f1 { ", and " (labels::f1(test)) " on the test split" }
            "."
        }
    }
}

fn fact(name: &str, value: &str, note: &str) -> Markup {
    html! { div.fact { p.name { (name) } p.number { (value) } p.note { (note) } } }
}

fn footer(view: &View<'_>) -> Markup {
    html! {
        footer {
            h2 { "How to read this" }
            p {
                (scores_explained(view))
                " Ensembles average their members' class probabilities; members are chosen "
                @if view.measure.is_f1() { "on validation scores only" } @else { "by " (view.measure.column()) " only" }
                ", scores that agree to nine decimals count as equal, and equals go by the order of the sweep file. ± is the sample "
                "standard deviation over a row's jobs."
                @if view.has_paper() {
                    " The paper's numbers were measured on the LSD challenge's own data; its means are taken over its printed rows."
                }
            }
            dl {
                @if let Some(digest) = &view.results.dataset_digest { dt { "Dataset" } dd { code { (digest) } } }
                @for device in view.devices() { dt { "Device" } dd { (device) } }
                dt { "Files" } dd {
                    "results.json, results.csv and report.md hold the same numbers"
                    @if view.has_f1 { "; the probabilities are beside them in probabilities/" }
                    "."
                }
            }
        }
    }
}

/// What the scores of jobs are.
fn scores_explained(view: &View<'_>) -> Markup {
    let over = if view.class_word() == "expression" { "six expressions'" } else { "classes'" };
    html! {
        @if !view.measure.is_f1() {
            "Jobs are compared by " code { (view.measure.column()) } ": " (view.measure.better()) " is better."
            @if view.has_f1 { " " }
        }
        @if view.has_f1 { "F1 is the unweighted mean of the " (over) " F1 scores, in percent." }
        @if view.measure.is_f1() { " A job's score is that of its best epoch by validation F1." }
    }
}
