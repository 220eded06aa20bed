//! Dot plot: the score of every job by configuration, and validation F1 of every ensemble, on one axis.

use maud::{Markup, html};
use shared::plural::count;

use super::axis::{Axis, Scale, colour, px};
use crate::report::configurations::Configuration;
use crate::report::labels;
use crate::report::results::EnsembleRow;
use crate::report::view::View;

const WIDTH: f64 = 1040.0;
const LEFT: f64 = 376.0;
const RIGHT: f64 = 930.0;
const TOP: f64 = 34.0;
const ROW: f64 = 25.0;
const HEADING: f64 = 34.0;

/// One line of the plot, top to bottom.
enum Line<'a> {
    Heading(String),
    Configuration(usize, &'a Configuration),
    Ensemble(&'a EnsembleRow),
}

/// `None` while no job has finished. Ensembles are scored by F1: they are left out where jobs are compared by something
/// else.
pub(in crate::report) fn dots(view: &View<'_>) -> Option<Markup> {
    let measure = &view.measure;
    let jobs = view.results.jobs.iter().filter_map(|job| job.score);
    let shown: &[EnsembleRow] = if measure.is_f1() { &view.results.ensembles } else { &[] };
    let ensembles = shown.iter().filter_map(|ensemble| ensemble.val_macro_f1);
    let axis = Axis::over(jobs.chain(ensembles), Scale::of(measure), 7.0, LEFT, RIGHT)?;
    let lines = lines(view, shown);
    let [about, unit, best_job] = if measure.is_f1() {
        ["Validation F1 of every job and ensemble", "validation macro F1 (%)", "best single model"]
            .map(str::to_owned)
    } else {
        [format!("{} of every job", measure.column()), measure.in_words(), "best job".to_owned()]
    };
    let heights = lines.iter().map(|line| if matches!(line, Line::Heading(_)) { HEADING } else { ROW });
    let bottom = TOP + heights.clone().sum::<f64>() + 8.0;
    let centres = heights.scan(TOP, |y, height| {
        *y += height;
        Some(*y - height.min(ROW) / 2.0)
    });
    let drawn: Vec<Markup> = lines.iter().zip(centres).map(|(line, y)| draw(view, &axis, line, y)).collect();
    Some(html! {
        svg viewBox={ "0 0 " (WIDTH) " " (px(bottom + 34.0)) } role="img" aria-label=(about) {
            @for tick in axis.ticks() {
                line.grid x1=(px(axis.at(tick))) x2=(px(axis.at(tick))) y1=(TOP) y2=(px(bottom)) {}
                text.tick x=(px(axis.at(tick))) y=(px(bottom + 16.0)) text-anchor="middle" { (axis.label(tick)) }
            }
            text.axis x=(px(f64::midpoint(LEFT, RIGHT))) y=(px(bottom + 32.0)) text-anchor="middle" { (unit) }
            @if let Some((best, score)) = view.best_job().and_then(|job| Some((job, job.score?))) {
                line.reference x1=(px(axis.at(score))) x2=(px(axis.at(score))) y1=(TOP - 6.0) y2=(px(bottom)) {
                    title { "B" (best_job[1..]) ": " (view.name(best.id)) ", " (measure.text(score)) }
                }
                text.note x=(px(axis.at(score))) y=(TOP - 12.0) text-anchor="middle" { (best_job) " " (measure.text(score)) }
            }
            @for line in &drawn { (line) }
        }
    })
}

fn lines<'a>(view: &'a View<'_>, ensembles: &'a [EnsembleRow]) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    let mut by_group: Vec<Vec<&Configuration>> = vec![Vec::new(); view.groups.len()];
    for configuration in view.listed_configurations() {
        by_group[view.group_place(&configuration.group)].push(configuration);
    }
    for (index, (group, configurations)) in view.groups.iter().zip(by_group).enumerate() {
        let jobs = configurations.iter().map(|c| c.jobs.len()).sum();
        lines.push(Line::Heading(format!("{group}: {}", count(jobs, "job"))));
        lines.extend(configurations.into_iter().map(|c| Line::Configuration(index, c)));
    }
    if !ensembles.is_empty() {
        lines.push(Line::Heading("ensembles".to_owned()));
        lines.extend(ensembles.iter().map(Line::Ensemble));
    }
    lines
}

fn draw(view: &View<'_>, axis: &Axis, line: &Line<'_>, y: f64) -> Markup {
    match line {
        Line::Heading(text) => html! { text.heading x="0" y=(px(y + 4.0)) { (text) } },
        Line::Configuration(group, configuration) => draw_configuration(view, axis, *group, configuration, y),
        Line::Ensemble(ensemble) => draw_ensemble(axis, ensemble, y),
    }
}

fn draw_configuration(view: &View<'_>, axis: &Axis, group: usize, c: &Configuration, y: f64) -> Markup {
    let (mean, measure) = (view.mean_of(c, |job| job.score), &view.measure);
    let several = c.jobs.len() > 1;
    html! {
        text.label x="12" y=(px(y + 4.0)) { (c.label) }
        line.rule x1=(LEFT) x2=(RIGHT) y1=(px(y)) y2=(px(y)) {}
        @for job in view.listed_of(c) {
            @if let Some(score) = job.score {
                circle.dot.(colour(group)).faint[several] cx=(px(axis.at(score))) cy=(px(y)) r="5" {
                    title { (view.name(job.id)) ": " (measure.text(score)) }
                }
            }
        }
        @if let Some(mean) = mean {
            @if several {
                line.mean.(colour(group)) x1=(px(axis.at(mean.mean))) x2=(px(axis.at(mean.mean))) y1=(px(y - 9.0)) y2=(px(y + 9.0)) {
                    title { "Mean of " (mean.finished) ": " (measure.text(mean.mean)) }
                }
            }
            text.value x=(WIDTH) y=(px(y + 4.0)) text-anchor="end" {
                (measure.text(mean.mean))
                @if let Some(deviation) = mean.deviation { tspan.soft { " ± " (measure.text(deviation)) } }
            }
        } @else {
            text.value.soft x=(WIDTH) y=(px(y + 4.0)) text-anchor="end" { "not finished" }
        }
    }
}

fn draw_ensemble(axis: &Axis, ensemble: &EnsembleRow, y: f64) -> Markup {
    html! {
        text.label x="12" y=(px(y + 4.0)) { (shortened(&ensemble.name)) title { (ensemble.name) } }
        line.rule x1=(LEFT) x2=(RIGHT) y1=(px(y)) y2=(px(y)) {}
        @if let Some(f1) = ensemble.val_macro_f1 {
            (diamond("e", axis.at(f1), y, &format!("{}: {}", ensemble.name, labels::f1(f1))))
            text.value x=(WIDTH) y=(px(y + 4.0)) text-anchor="end" { (labels::f1(f1)) }
        } @else {
            text.value.soft x=(WIDTH) y=(px(y + 4.0)) text-anchor="end" { "no member yet" }
        }
    }
}

/// The mark of an ensemble, which differs from a job's dot in shape, not just in colour.
pub(super) fn diamond(class: &str, x: f64, y: f64, title: &str) -> Markup {
    let [top, right, bottom, left] = [y - 7.0, x + 7.0, y + 7.0, x - 7.0].map(px);
    let (x, y) = (px(x), px(y));
    html! {
        path.dot.(class) d={ "M" (x) " " (top) "L" (right) " " (y) "L" (x) " " (bottom) "L" (left) " " (y) "Z" } {
            title { (title) }
        }
    }
}

/// Cuts names that are longer than the label column; the full name is in the tooltip and in the tables.
fn shortened(name: &str) -> String {
    const MOST: usize = 50;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}
