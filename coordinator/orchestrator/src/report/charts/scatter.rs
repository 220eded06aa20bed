//! Test against validation F1: how well choices made on validation hold on unseen subjects.

use maud::{Markup, html};

use super::axis::{Axis, Scale, colour, px};
use super::dots::diamond;
use crate::report::labels;
use crate::report::view::View;

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 430.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 488.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 384.0;

/// `None` if no job has both scores.
pub(in crate::report) fn scatter(view: &View<'_>) -> Option<Markup> {
    let pair = |val: Option<f64>, test: Option<f64>| val.zip(test);
    let jobs: Vec<_> = view
        .listed()
        .iter()
        .filter_map(|job| Some((job, pair(job.val_macro_f1, job.test_macro_f1)?)))
        .collect();
    let ensembles: Vec<_> = view
        .results
        .ensembles
        .iter()
        .filter_map(|e| Some((e, pair(e.val_macro_f1, e.test_macro_f1)?)))
        .collect();
    let pairs = || jobs.iter().map(|(_, p)| *p).chain(ensembles.iter().map(|(_, p)| *p));
    let x = Axis::over(pairs().map(|p| p.0), Scale::Percent, 5.0, LEFT, RIGHT)?;
    let y = Axis::over(pairs().map(|p| p.1), Scale::Percent, 5.0, BOTTOM, TOP)?;
    Some(html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label="Test F1 against validation F1" {
            (frame(&x, &y))
            @for (job, (val, test)) in &jobs {
                @let group = view.group_place(&job.group);
                circle.dot.faint.(colour(group)) cx=(px(x.at(*val))) cy=(px(y.at(*test))) r="5" {
                    title { (view.name(job.id)) ": validation " (labels::f1(*val)) ", test " (labels::f1(*test)) }
                }
            }
            @for (ensemble, (val, test)) in &ensembles {
                @let title = format!("{}: validation {}, test {}", ensemble.name, labels::f1(*val), labels::f1(*test));
                (diamond("e", x.at(*val), y.at(*test), &title))
            }
        }
    })
}

/// Grid, ticks, axis names, and the line of equal scores if it crosses the plot.
fn frame(x: &Axis, y: &Axis) -> Markup {
    let (low, high) = (x.low.max(y.low), x.high.min(y.high));
    html! {
        @for tick in x.ticks() {
            line.grid x1=(px(x.at(tick))) x2=(px(x.at(tick))) y1=(TOP) y2=(BOTTOM) {}
            text.tick x=(px(x.at(tick))) y=(BOTTOM + 17.0) text-anchor="middle" { (x.label(tick)) }
        }
        @for tick in y.ticks() {
            line.grid x1=(LEFT) x2=(RIGHT) y1=(px(y.at(tick))) y2=(px(y.at(tick))) {}
            text.tick x=(LEFT - 7.0) y=(px(y.at(tick) + 4.0)) text-anchor="end" { (y.label(tick)) }
        }
        @if low < high {
            line.reference x1=(px(x.at(low))) x2=(px(x.at(high))) y1=(px(y.at(low))) y2=(px(y.at(high))) {
                title { "equal on both splits" }
            }
        }
        text.axis x=(px(f64::midpoint(LEFT, RIGHT))) y=(HEIGHT - 8.0) text-anchor="middle" { "validation macro F1 (%)" }
        @let middle = px(f64::midpoint(TOP, BOTTOM));
        text.axis x="12" y=(middle) text-anchor="middle" transform={ "rotate(-90 12 " (middle) ")" } { "test macro F1 (%)" }
    }
}
