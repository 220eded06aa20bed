//! Learning curves as small multiples: validation F1 by epoch, one panel per configuration.

use maud::{Markup, html};
use shared::ids::JobId;

use super::axis::{Axis, colour, px};
use crate::report::configurations::Configuration;
use crate::report::labels;
use crate::report::view::View;

const WIDTH: f64 = 260.0;
const HEIGHT: f64 = 168.0;
const LEFT: f64 = 26.0;
const RIGHT: f64 = 252.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 144.0;

type Curve = Vec<(u32, f64)>;

/// All panels have the same axes; each shows the other configurations' means in grey behind its own. `None` while no
/// job has finished.
pub(in crate::report) fn curves(view: &View<'_>) -> Option<Markup> {
    let every: Vec<Curve> = view.results.jobs.iter().map(|job| curve(view, job.id)).collect();
    let points = || every.iter().flatten();
    let y = Axis::over(points().map(|point| point.1), 4.0, BOTTOM, TOP)?;
    let last = points().map(|point| point.0).max()?;
    let x = Axis { low: 1.0, high: f64::from(last.max(2)), step: 1.0, from: LEFT, to: RIGHT };
    let means: Vec<Curve> = view.configurations.iter().map(|c| mean_curve(view, c)).collect();
    let groups = view.groups();
    Some(html! {
        div.panels {
            @for (index, configuration) in view.configurations.iter().enumerate() {
                @let group = groups.iter().position(|name| *name == configuration.group).unwrap_or(0);
                figure.panel {
                    figcaption { span.eyebrow.(colour(group)) { (configuration.group) } (configuration.label) }
                    (panel(view, &x, &y, &means, index, group))
                }
            }
        }
    })
}

fn panel(view: &View<'_>, x: &Axis, y: &Axis, means: &[Curve], index: usize, group: usize) -> Markup {
    let configuration = &view.configurations[index];
    let peak = means[index].iter().copied().reduce(|best, next| if next.1 > best.1 { next } else { best });
    let (first, last) = (1, x.high as u32);
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ "Learning curve: " (configuration.label) } {
            @for tick in y.ticks() {
                line.grid x1=(LEFT) x2=(RIGHT) y1=(px(y.at(tick))) y2=(px(y.at(tick))) {}
                text.tick x=(LEFT - 5.0) y=(px(y.at(tick) + 3.5)) text-anchor="end" { (y.label(tick)) }
            }
            text.tick x=(LEFT) y=(HEIGHT - 8.0) { "epoch " (first) }
            text.tick x=(RIGHT) y=(HEIGHT - 8.0) text-anchor="end" { (last) }
            @for (other, mean) in means.iter().enumerate().filter(|(other, _)| *other != index) {
                polyline.other points=(points(mean, x, y)) {
                    title { (view.configurations[other].label) }
                }
            }
            @for &job in &configuration.jobs {
                polyline.curve.thin[configuration.jobs.len() > 1].(colour(group)) points=(points(&curve(view, job), x, y)) {
                    title { (view.name(job)) }
                }
            }
            @if configuration.jobs.len() > 1 {
                polyline.curve.(colour(group)) points=(points(&means[index], x, y)) { title { "mean" } }
            }
            @if let Some((epoch, f1)) = peak {
                circle.dot.(colour(group)) cx=(px(x.at(f64::from(epoch)))) cy=(px(y.at(f1))) r="3.5" {
                    title { "best " (labels::f1(f1)) " in epoch " (epoch) }
                }
            }
        }
    }
}

fn curve(view: &View<'_>, job: JobId) -> Curve {
    view.epochs(job).iter().map(|epoch| (epoch.epoch, epoch.validation.macro_f1)).collect()
}

/// The mean over the finished jobs, epoch by epoch.
fn mean_curve(view: &View<'_>, configuration: &Configuration) -> Curve {
    let curves: Vec<Curve> = configuration.jobs.iter().map(|&job| curve(view, job)).collect();
    let longest = curves.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest)
        .filter_map(|i| {
            let points: Vec<(u32, f64)> = curves.iter().filter_map(|curve| curve.get(i)).copied().collect();
            let sum: f64 = points.iter().map(|point| point.1).sum();
            points.first().map(|point| (point.0, sum / points.len() as f64))
        })
        .collect()
}

fn points(curve: &Curve, x: &Axis, y: &Axis) -> String {
    let point = |&(epoch, f1): &(u32, f64)| format!("{},{}", px(x.at(f64::from(epoch))), px(y.at(f1)));
    curve.iter().map(point).collect::<Vec<_>>().join(" ")
}
