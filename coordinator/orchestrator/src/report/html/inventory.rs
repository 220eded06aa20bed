//! The details behind the scores: members with reasons, every job, failures.

use std::collections::BTreeSet;

use maud::{Markup, html};
use shared::ids::JobId;

use super::scores;
use super::section::section;
use crate::report::charts::colour;
use crate::report::foretold;
use crate::report::labels::duration;
use crate::report::reasons;
use crate::report::results::{EnsembleRow, JobRow, JobState};
use crate::report::view::View;

pub(super) fn members(view: &View<'_>) -> Markup {
    if view.results.ensembles.is_empty() {
        return html! {};
    }
    let body = html! { @for ensemble in &view.results.ensembles { (card(view, ensemble)) } };
    let about = "What each query of an ensemble took, and from which candidates.";
    let note = format!("{about} Numbers are {}.", view.measure.in_words());
    section("Which members, and why", &note, &body)
}

fn card(view: &View<'_>, ensemble: &EnsembleRow) -> Markup {
    html! {
        article {
            h3 { (scores::name(ensemble)) }
            ul {
                @for step in &ensemble.selection.steps { li { (reasons::step(view, step)) } }
                @if let Some(open) = reasons::open(&ensemble.selection.certainty) { li { strong { (open) } } }
            }
            (members_table(view, ensemble))
        }
    }
}

/// The members by configuration, each with its score.
fn members_table(view: &View<'_>, ensemble: &EnsembleRow) -> Markup {
    let members: BTreeSet<JobId> = ensemble.selection.members.iter().copied().collect();
    let rows = view.configurations.iter().filter_map(|configuration| {
        let jobs: Vec<JobId> = configuration.jobs.iter().copied().filter(|id| members.contains(id)).collect();
        (!jobs.is_empty()).then_some((configuration, jobs))
    });
    html! {
        div.scroll { table.members { tbody { @for (configuration, jobs) in rows {
            @let group = view.group_place(&configuration.group);
            tr {
                td.soft.(colour(group)) { (configuration.group) }
                td { (configuration.label) }
                @for id in jobs {
                    td.n title={ (view.name(id)) ", " (id) } { (view.measure.or_dash(view.job(id).and_then(|job| job.score))) }
                }
            }
        } } } }
    }
}

pub(super) fn jobs(view: &View<'_>) -> Markup {
    let body = html! {
        div.scroll { table.small {
            thead { tr {
                th { "Job" } th { "Group" } th { "Configuration" } th.n { "Epochs" } th.n { "Best" }
                @for column in view.score_columns() { th.n { (column) } }
                th.n { "Time" } th { "Worker" } th.n { "Attempts" }
            } }
            tbody { @for job in view.listed() { tr { (job_cells(view, job)) } } }
        } }
    };
    section("Jobs", &view.with_unlisted("In the order of the sweep file."), &body)
}

fn job_cells(view: &View<'_>, job: &JobRow) -> Markup {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    // The scores, and epochs, best epoch, time, worker, attempts.
    let columns = view.score_columns().len() + 5;
    html! {
        td { code title=(job.id) { (job.id.short()) } }
        td { (job.group) }
        td { (view.name(job.id)) }
        @match job.state {
            JobState::Done => {
                td.n {
                    (or_dash(job.epochs.map(|n| n.to_string())))
                    @if job.stopped_after.is_some() { " " span.badge { "ended early" } }
                }
                td.n { (or_dash(job.best_epoch.map(|n| n.to_string()))) }
                @for (place, score) in view.scores(job).iter().enumerate() {
                    td.n.main { (score) @if place == 0 { (scores::doubts(&job.warnings)) } }
                }
                td.n { (or_dash(job.train_seconds.map(duration))) }
                td { (or_dash(job.worker.as_ref().map(ToString::to_string))) }
                td.n { (or_dash(job.attempts.map(|n| n.to_string()))) }
            }
            JobState::Failed => { td colspan=(columns) { span.badge.bad { "failed" } } }
            JobState::Unfinished => { td colspan=(columns) { span.badge { "not finished" } } }
        }
    }
}

pub(super) fn warnings(view: &View<'_>) -> Markup {
    let warnings = view.warnings();
    if warnings.is_empty() {
        return html! {};
    }
    let body = html! { ul { @for (name, text) in warnings { li { strong { (name) } ": " (text) } } } };
    section(
        "Scores not to trust",
        "Why some scores are not to be trusted. Fix the cause and train these jobs again.",
        &body,
    )
}

pub(super) fn failures(view: &View<'_>) -> Markup {
    let jobs: Vec<&JobRow> = view.listed().iter().filter(|job| job.state == JobState::Failed).collect();
    if jobs.is_empty() {
        return html! {};
    }
    let body = html! {
        @for job in jobs {
            article {
                h3 { (job.group) ": " (view.name(job.id)) }
                pre { (job.error.as_deref().unwrap_or_default()) }
                @if let Some(log) = job.log.as_ref().filter(|log| !log.is_empty()) {
                    p.note { "The end of its log" }
                    pre { (log.join("\n")) }
                }
                @if let Some(command) = &job.reproduce { p.note { "To see it fail: " code { (command) } } }
            }
        }
    };
    let note = "These jobs are left out of tables and ensembles. Run the sweep again to try them again.";
    section("Failed for good", note, &body)
}

pub(super) fn drained(view: &View<'_>) -> Markup {
    let workers = &view.results.drained_workers;
    if workers.is_empty() {
        return html! {};
    }
    let body = html! {
        @for drained in workers { article { h3 { (drained.worker) } pre { (drained.reason) } } }
    };
    let note = "These workers were taken out of the sweep. What went wrong on them was not counted against the jobs.";
    section("Drained workers", note, &body)
}

pub(super) fn times(view: &View<'_>) -> Markup {
    let rows = foretold::rows(view);
    if rows.is_empty() {
        return html! {};
    }
    let body = html! {
        div.scroll { table.small {
            thead { tr { @for (place, column) in foretold::COLUMNS.iter().enumerate() { th.n[place > 0] { (column) } } } }
            tbody { @for row in rows {
                tr { @for (place, cell) in row.iter().enumerate() { td.n[place > 0] { (cell) } } }
            } }
        } }
    };
    section(foretold::TITLE, &format!("{} {}", foretold::NOTE, foretold::summary(view)), &body)
}
