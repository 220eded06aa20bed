//! The list of jobs: state, name, bar, epoch, score and loss with their curves, worker.

use ratatui::layout::Rect;
use ratatui::text::Span;
use shared::protocol::Wish;

use super::super::job::State;
use super::super::marks::{bar, curve, cut, fit, fit_right, number, width};
use super::super::model::{Model, Pane};
use super::{Canvas, Look, below, has_focus, top};

/// Cells of the marker and the state.
const STATE: usize = 11;
/// A name has at least so many cells.
const LABEL: usize = 14;
/// Cells of a number.
const NUMBER: usize = 7;

/// Cells of each column, without the space before it; 0 for one that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Columns {
    label: usize,
    bar: usize,
    epoch: usize,
    score: usize,
    scores: usize,
    loss: usize,
    losses: usize,
    worker: usize,
}

impl Columns {
    fn of(model: &Model, columns: usize) -> Self {
        let has_loss = !model.jobs.loss.is_empty();
        let with_loss = |cells| if has_loss { cells } else { 0 };
        let names = model.workers.iter().map(|worker| width(worker.worker.name()));
        let mut all = Self {
            label: 0,
            bar: 6,
            epoch: (2 * digits(model.jobs.most_epochs) + 1).max("epoch".len()),
            score: NUMBER,
            scores: 6,
            loss: with_loss(NUMBER),
            losses: with_loss(6),
            worker: names.max().unwrap_or(0).clamp(6, 16),
        };
        // The least important column goes first.
        let optional: [fn(&mut Self) -> &mut usize; 6] = [
            |all| &mut all.losses,
            |all| &mut all.loss,
            |all| &mut all.worker,
            |all| &mut all.scores,
            |all| &mut all.bar,
            |all| &mut all.score,
        ];
        for column in optional {
            if STATE + LABEL + all.others() > columns {
                *column(&mut all) = 0;
            }
        }
        let room = columns.saturating_sub(STATE + all.others());
        all.label = room.min(model.widest_label.max(LABEL));
        // What is left makes the bar and the curves longer.
        let mut left = room - all.label;
        let longer = [&mut all.bar, &mut all.scores, &mut all.losses];
        let mut longer: Vec<&mut usize> = longer.into_iter().filter(|cells| **cells > 0).collect();
        for most in [12, 40] {
            let mut sharing = longer.len();
            for cells in &mut longer {
                let more = (left / sharing).min(most - **cells);
                **cells += more;
                (left, sharing) = (left - more, sharing - 1);
            }
        }
        all.label += left;
        all
    }

    /// Cells of all columns but the state and the label, with the space before each.
    fn others(&self) -> usize {
        let Self { label: _, bar, epoch, score, scores, loss, losses, worker } = *self;
        [bar, epoch, score, scores, loss, losses, worker]
            .iter()
            .filter(|cells| **cells > 0)
            .map(|cells| cells + 1)
            .sum()
    }
}

fn digits(number: u32) -> usize {
    number.max(1).ilog10() as usize + 1
}

pub(super) fn draw(model: &Model, area: Rect, canvas: &mut Canvas<'_>) {
    let columns = Columns::of(model, area.width.into());
    title(model, area, &columns, canvas);
    let (rows, below) = (model.jobs.rows(), below(area));
    let Some(current) = model.current_row() else {
        if let Some(row) = below.rows().next() {
            let why =
                if model.filter.is_empty() { "the sweep has no jobs" } else { "the filter shows no job" };
            canvas.put(row, vec![Span::raw(format!("  {why}"))]);
        }
        return;
    };
    let first = top(rows, current, below.height.into());
    for (row, number) in below.rows().zip(first..rows) {
        if let Some(place) = model.jobs.at(number) {
            let spans = job(model, place, &columns, number == current, canvas);
            canvas.put(row, spans);
        }
    }
}

/// The title, with the names of the columns above them.
fn title(model: &Model, area: Rect, columns: &Columns, canvas: &mut Canvas<'_>) {
    let Some(row) = area.rows().next() else { return };
    let has_focus = has_focus(model, Pane::Jobs);
    let (shown, all) = (model.jobs.rows(), model.jobs.len());
    let title = if model.filter.is_empty() {
        format!("Jobs {all}")
    } else {
        format!("Jobs {shown} of {all}: {}", model.filter)
    };
    canvas.title(row, &cut(&title, (STATE + columns.label).saturating_sub(4)), has_focus);
    let mut x = STATE + columns.label;
    let names = [
        (columns.bar, "", true),
        (columns.epoch, "epoch", false),
        (columns.score, model.labels.score_name(), false),
        (columns.scores, "", true),
        (columns.loss, "loss", false),
        (columns.losses, "", true),
        (columns.worker, "worker", true),
    ];
    for (cells, name, is_left) in names.into_iter().filter(|(cells, ..)| *cells > 0) {
        let name = cut(name, cells);
        let at = if is_left { x } else { x + cells - width(&name) };
        if !name.is_empty() {
            let place = Rect { x: row.x + at as u16, width: width(&name) as u16 + 2, ..row };
            canvas.put(place.intersection(row), vec![Span::raw(format!(" {name} "))]);
        }
        x += cells + 1;
    }
}

/// One job as a row.
fn job(
    model: &Model,
    place: usize,
    columns: &Columns,
    is_current: bool,
    canvas: &Canvas<'_>,
) -> Vec<Span<'static>> {
    let (look, job) = (canvas.look, model.jobs.get(place));
    let state = job.state();
    let word = match (state, job.steering.wish) {
        (State::Running, Wish::Pause) => "pausing",
        (State::Running, Wish::Cancel) => "stopping",
        _ => state.name(),
    };
    let marker = if is_current { ">" } else { " " };
    let chosen = |style| if is_current { Look::chosen(style) } else { style };
    let mut spans = vec![
        Span::styled(format!("{marker}{} ", fit(word, STATE - 2)), chosen(look.state(state))),
        Span::styled(fit(&model.label(place), columns.label), chosen(ratatui::style::Style::new())),
    ];
    let mut add = |text: String, style| spans.push(Span::styled(text, style));
    let plain = ratatui::style::Style::new();
    if columns.bar > 0 {
        let (done, length) = progress(model, place);
        let (full, rest) = if state == State::Cancelled || state == State::Failed {
            (String::new(), " ".repeat(columns.bar))
        } else {
            bar(done, length, columns.bar)
        };
        add(format!(" {full}"), look.bar());
        add(rest, look.faint());
    }
    let epoch = format!("{}/{}", model.jobs.epoch(place), model.jobs.epochs(place));
    add(format!(" {}", fit_right(&epoch, columns.epoch)), plain);
    if let (State::Failed, Some(reason)) = (state, reason(model, place)) {
        let rest = columns.others() - columns.epoch - if columns.bar > 0 { columns.bar + 2 } else { 1 };
        add(format!(" {}", cut(reason, rest.saturating_sub(1))), look.state(State::Failed));
        return spans;
    }
    let ranking = &model.jobs.plan.ranking;
    if columns.score > 0 {
        let score = model.jobs.score(place).map_or_else(|| "-".to_owned(), number);
        add(format!(" {}", fit_right(&score, columns.score)), plain);
    }
    if columns.scores > 0 {
        add(format!(" {}", fit(&curve(&job.scores(ranking), columns.scores), columns.scores)), look.curve());
    }
    let losses = if columns.loss > 0 { job.losses(&model.jobs.loss) } else { Vec::new() };
    if columns.loss > 0 {
        let last = losses.last().map_or_else(|| "-".to_owned(), |loss| number(*loss));
        add(format!(" {}", fit_right(&last, columns.loss)), plain);
    }
    if columns.losses > 0 {
        add(format!(" {}", fit(&curve(&losses, columns.losses), columns.losses)), look.loss());
    }
    if columns.worker > 0 {
        add(format!(" {}", fit(&holder(model, place), columns.worker)), plain);
    }
    spans
}

/// The worker of a job, or its priority while it waits, if that is not the normal one.
fn holder(model: &Model, place: usize) -> String {
    let job = model.jobs.get(place);
    let priority = job.priority(&model.jobs.plan);
    match (job.worker(), job.state()) {
        (Some(worker), _) => worker.to_owned(),
        (None, State::Pending | State::Paused) if !priority.is_normal() => format!("prio {priority}"),
        (
            None,
            State::Pending | State::Paused | State::Running | State::Failed | State::Done | State::Cancelled,
        ) => String::new(),
    }
}

fn reason(model: &Model, place: usize) -> Option<&str> {
    model.jobs.get(place).record.as_ref()?.state.failure()
}

/// Finished work, and all work. The numbers are limited, because a worker's report may say anything.
fn progress(model: &Model, place: usize) -> (u64, u64) {
    let (epoch, epochs) = (model.jobs.epoch(place), model.jobs.epochs(place));
    let live = model.live.get(&model.jobs.id(place)).filter(|live| live.epoch > epoch && live.steps > 0);
    match live {
        Some(live) => {
            let steps = u64::from(live.steps);
            let before = u64::from(live.epoch.saturating_sub(1)).saturating_mul(steps);
            (before + u64::from(live.step), u64::from(epochs).saturating_mul(steps))
        }
        None => (epoch.into(), epochs.into()),
    }
}
