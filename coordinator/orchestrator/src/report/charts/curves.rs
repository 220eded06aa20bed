//! Learning curves as small multiples: the metric that ranks jobs by epoch, one panel per configuration.

use std::collections::BTreeMap;

use maud::{Markup, html};
use shared::ids::JobId;

use super::axis::{Axis, Scale, colour, px};
use crate::report::configurations::Configuration;
use crate::report::view::View;

const WIDTH: f64 = 260.0;
const HEIGHT: f64 = 168.0;
const LEFT: f64 = 26.0;
const RIGHT: f64 = 252.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 144.0;

/// With more configurations than this, panels do not show the others: that would be a square of lines.
const MOST_BEHIND: usize = 200;

type Curve = Vec<(u32, f64)>;

/// What all panels have in common.
struct Panels<'a> {
    view: &'a View<'a>,
    x: Axis,
    y: Axis,
    curves: BTreeMap<JobId, Curve>,
    /// By configuration, with its points in the panels.
    means: Vec<(Curve, String)>,
}

/// Whether each panel shows the other configurations, too.
pub(in crate::report) fn show_others(view: &View<'_>) -> bool {
    view.configurations.len() <= MOST_BEHIND
}

/// All panels have the same axes; each shows the other configurations' means in grey behind its own. `None` while no
/// job has finished.
pub(in crate::report) fn curves(view: &View<'_>) -> Option<Markup> {
    let curves: BTreeMap<JobId, Curve> =
        view.results.jobs.iter().map(|job| (job.id, curve(view, job.id))).collect();
    let every = || curves.values().flatten();
    let y = Axis::over(every().map(|point| point.1), Scale::of(&view.measure), 4.0, BOTTOM, TOP)?;
    let last = every().map(|point| point.0).max()?;
    let x = Axis { low: 1.0, high: f64::from(last.max(2)), step: 1.0, from: LEFT, to: RIGHT };
    let mean = |configuration| {
        let mean = mean_curve(&curves, configuration);
        let points = points(&mean, &x, &y);
        (mean, points)
    };
    let means = view.listed_configurations().iter().map(mean).collect();
    let panels = Panels { view, x, y, curves, means };
    Some(html! {
        div.panels {
            @for (index, configuration) in view.listed_configurations().iter().enumerate() {
                @let group = view.group_place(&configuration.group);
                figure.panel {
                    figcaption { span.eyebrow.(colour(group)) { (configuration.group) } (configuration.label) }
                    (panels.panel(index, group))
                }
            }
        }
    })
}

impl Panels<'_> {
    fn panel(&self, index: usize, group: usize) -> Markup {
        let Self { view, x, y, curves, means } = self;
        let configuration = &view.configurations[index];
        let (mean, mean_points) = &means[index];
        let merit = |point: &(u32, f64)| view.measure.merit(point.1);
        let peak =
            mean.iter().copied().reduce(|best, next| if merit(&next) > merit(&best) { next } else { best });
        let others = means.iter().enumerate().filter(|(other, _)| *other != index && show_others(view));
        let several = configuration.jobs.len() > 1;
        let curve = |job: JobId| curves.get(&job).map_or_else(String::new, |curve| points(curve, x, y));
        let (first, last) = (1, x.high as u32);
        html! {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ "Learning curve: " (configuration.label) } {
                @for tick in y.ticks() {
                    line.grid x1=(LEFT) x2=(RIGHT) y1=(px(y.at(tick))) y2=(px(y.at(tick))) {}
                    text.tick x=(LEFT - 5.0) y=(px(y.at(tick) + 3.5)) text-anchor="end" { (y.label(tick)) }
                }
                text.tick x=(LEFT) y=(HEIGHT - 8.0) { "epoch " (first) }
                text.tick x=(RIGHT) y=(HEIGHT - 8.0) text-anchor="end" { (last) }
                @for (other, (_, points)) in others {
                    polyline.other points=(points) {
                        title { (view.configurations[other].label) }
                    }
                }
                @for job in view.listed_of(configuration) {
                    polyline.curve.thin[several].(colour(group)) points=(curve(job.id)) {
                        title { (view.name(job.id)) }
                    }
                }
                @if several {
                    polyline.curve.(colour(group)) points=(mean_points) { title { "mean" } }
                }
                @if let Some((epoch, score)) = peak {
                    circle.dot.(colour(group)) cx=(px(x.at(f64::from(epoch)))) cy=(px(y.at(score))) r="3.5" {
                        title { "best " (view.measure.text(score)) " in epoch " (epoch) }
                    }
                }
            }
        }
    }
}

/// The scores at the ends of the epochs.
fn curve(view: &View<'_>, job: JobId) -> Curve {
    let ends = view.history(job).iter().filter(|point| point.epoch > 0 && point.step == 0);
    ends.filter_map(|point| Some((point.epoch, view.measure.ranking().score(&point.metrics)?))).collect()
}

/// The mean over the finished jobs, epoch by epoch.
fn mean_curve(curves: &BTreeMap<JobId, Curve>, configuration: &Configuration) -> Curve {
    let curves: Vec<&Curve> = configuration.jobs.iter().filter_map(|job| curves.get(job)).collect();
    let longest = curves.iter().map(|curve| curve.len()).max().unwrap_or(0);
    (0..longest)
        .filter_map(|i| {
            let points: Vec<(u32, f64)> = curves.iter().filter_map(|curve| curve.get(i)).copied().collect();
            let sum: f64 = points.iter().map(|point| point.1).sum();
            points.first().map(|point| (point.0, sum / points.len() as f64))
        })
        .collect()
}

fn points(curve: &Curve, x: &Axis, y: &Axis) -> String {
    let point = |&(epoch, score): &(u32, f64)| format!("{},{}", px(x.at(f64::from(epoch))), px(y.at(score)));
    curve.iter().map(point).collect::<Vec<_>>().join(" ")
}
