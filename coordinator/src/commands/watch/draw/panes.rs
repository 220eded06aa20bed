//! The queue, the workers, the ensembles, and the log of the chosen job.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;
use shared::books::Standing;
use shared::plural::count;
use shared::protocol::{EnsembleState, Presence, Readiness};

use super::super::ensembles::Ensemble;
use super::super::job::State;
use super::super::marks::{bar, cut, fit, number, width};
use super::super::model::{Model, Pane};
use super::{Canvas, Look, below, has_focus, top};
use orchestrator::view::ensembles::score;

/// How many jobs wait for a worker, and which come next.
pub(super) fn queue(model: &Model, area: Rect, canvas: &mut Canvas<'_>) {
    let waiting = model.jobs.counts().of(State::Pending);
    canvas.title(area, &format!("Queue {waiting}"), false);
    let below = below(area);
    let names: Vec<String> = model.next.iter().map(|job| model.labels.get(*job)).collect();
    if let [only] = below.rows().collect::<Vec<_>>().as_slice() {
        let next = if names.is_empty() { String::new() } else { format!("  next: {}", names.join(" · ")) };
        canvas.put(*only, vec![Span::raw(cut(&next, only.width.into()))]);
        return;
    }
    for ((row, name), number) in below.rows().zip(&names).zip(1..) {
        canvas.put(row, vec![Span::raw(cut(&format!("  {number:>2}. {name}"), row.width.into()))]);
    }
}

/// The workers that are present, and what each does.
pub(super) fn workers(model: &Model, area: Rect, canvas: &mut Canvas<'_>) {
    let has_focus = has_focus(model, Pane::Workers);
    let is_out = |worker: &&Presence| model.is_out(worker.worker.name());
    let drained = model.workers.iter().filter(is_out).count();
    let drained = if drained > 0 { format!(", {drained} drained") } else { String::new() };
    canvas.title(area, &format!("Workers {}{drained}", model.workers.len()), has_focus);
    let below = below(area);
    if model.workers.is_empty() {
        if let Some(row) = below.rows().next() {
            canvas.put(row, vec![Span::raw("  no worker is connected")]);
        }
        return;
    }
    let widest = |text: &dyn Fn(&Presence) -> usize, most: usize| {
        model.workers.iter().map(text).max().unwrap_or(0).min(most)
    };
    let columns = usize::from(area.width);
    let name = widest(&|worker| width(worker.worker.name()), columns / 4);
    let place = widest(&|worker| width(&place_of(worker)), columns / 3);
    let first = top(model.workers.len(), model.worker, below.height.into());
    for (row, (number, worker)) in below.rows().zip(model.workers.iter().enumerate().skip(first)) {
        let is_current = has_focus && number == model.worker;
        let (task, is_alarming) = task(model, worker);
        let style = if is_alarming { canvas.look.warning() } else { Style::new() };
        let chosen = |style| if is_current { Look::chosen(style) } else { style };
        let marker = if is_current { ">" } else { " " };
        let spans = vec![
            Span::styled(format!("{marker}{}", fit(worker.worker.name(), name)), chosen(Style::new())),
            Span::raw(format!("  {}  ", fit(&place_of(worker), place))),
            Span::styled(cut(&task, columns.saturating_sub(name + place + 5)), style),
        ];
        canvas.put(row, spans);
    }
}

fn place_of(worker: &Presence) -> String {
    format!("{} {}", worker.host, worker.device)
}

/// What a worker does, and whether something is wrong with it.
fn task(model: &Model, worker: &Presence) -> (String, bool) {
    let task = match (worker.readiness, worker.job) {
        (Readiness::Starting, _) => "starting".to_owned(),
        (Readiness::Ready, None) => "idle".to_owned(),
        (Readiness::Ready, Some(job)) => match model.jobs.place(job) {
            Some(place) => {
                let (epoch, epochs) = (model.jobs.epoch(place), model.jobs.epochs(place));
                format!("{epoch}/{epochs} {}", model.label(place))
            }
            None => format!("a job of another sweep, {}", job.short()),
        },
    };
    if let Some(drain) = model.drains.of(worker.worker.name()) {
        let until = if worker.job.is_some() { format!(" · {task}") } else { String::new() };
        return (format!("drained by {}{until}", drain.by), true);
    }
    match model.standings.get(worker.worker.name()) {
        None | Some(Standing::Trusted) => (task, false),
        Some(Standing::Probation { .. }) => (format!("on probation · {task}"), true),
        Some(out @ (Standing::Drained { .. } | Standing::Unfit { .. })) => {
            (format!("drained: {}", out.refusal().unwrap_or_default()), true)
        }
    }
}

/// The ensembles, and what each waits for.
pub(super) fn ensembles(model: &Model, area: Rect, canvas: &mut Canvas<'_>) {
    let has_focus = has_focus(model, Pane::Ensembles);
    canvas.title(area, &format!("Ensembles {}", model.ensembles.len()), has_focus);
    let below = below(area);
    let widest = |text: &dyn Fn(&Ensemble) -> String| {
        model.ensembles.iter().map(|ensemble| width(&text(ensemble))).max().unwrap_or(0)
    };
    let columns = usize::from(area.width);
    let name = widest(&|ensemble| ensemble.name.clone()).min(columns / 3);
    let size = widest(&members);
    let cells = if columns > 60 { 12 } else { 6 };
    let first = top(model.ensembles.len(), model.ensemble, below.height.into());
    for (row, (number, ensemble)) in below.rows().zip(model.ensembles.iter().enumerate().skip(first)) {
        let is_current = has_focus && number == model.ensemble;
        let chosen = |style| if is_current { Look::chosen(style) } else { style };
        let marker = if is_current { ">" } else { " " };
        let (done, all) = (ensemble.counts.of(State::Done), ensemble.candidates.len());
        let (full, rest) = bar(done as u64, all as u64, cells);
        let text = format!(" {}  {}", fit(&members(ensemble), size), progress(model, ensemble));
        let spans = vec![
            Span::styled(format!("{marker}{}", fit(&ensemble.name, name)), chosen(Style::new())),
            Span::styled(format!("  {full}"), canvas.look.bar()),
            Span::styled(rest, canvas.look.faint()),
            Span::raw(cut(&text, columns.saturating_sub(name + cells + 3))),
        ];
        canvas.put(row, spans);
    }
}

/// How many candidates are done.
fn members(ensemble: &Ensemble) -> String {
    format!("{}/{} done", ensemble.counts.of(State::Done), ensemble.candidates.len())
}

/// Its score, what it waits for, and the best of its candidates.
fn progress(model: &Model, ensemble: &Ensemble) -> String {
    let best = ensemble.best.map_or_else(String::new, |(score, _)| {
        format!(" · best single {} {}", model.labels.score_name(), number(score))
    });
    let state = model.board.of(&ensemble.name).map(|known| &known.state);
    let (score, why) = match state {
        Some(EnsembleState::Unscored { why }) => ("no score · ".to_owned(), format!(" · {why}")),
        Some(state) => (score(state).map_or_else(String::new, |score| format!("{score} · ")), String::new()),
        None => (String::new(), String::new()),
    };
    // It may be final before all of its candidates are done.
    let is_final = matches!(state, Some(EnsembleState::Final { .. }));
    let waits = if is_final { String::new() } else { format!("{} · ", ensemble.waits_for()) };
    format!("{score}{waits}{}{best}{why}", count(ensemble.size, "member"))
}

/// The end of the log of the chosen job.
pub(super) fn log(model: &Model, area: Rect, canvas: &mut Canvas<'_>) {
    let has_focus = has_focus(model, Pane::Log);
    let Some(place) = model.current() else {
        canvas.title(area, "Log", has_focus);
        return;
    };
    let lines = model.log(place);
    let up = if model.scrolled > 0 { format!(", {} lines up", model.scrolled) } else { String::new() };
    canvas.title(area, &format!("Log of {}{up}", model.label(place)), has_focus);
    let below = below(area);
    if lines.is_empty() {
        if let Some(row) = below.rows().next() {
            canvas.put(row, vec![Span::styled("  nothing was logged yet", canvas.look.faint())]);
        }
        return;
    }
    let end = lines.len().saturating_sub(model.scrolled).max(1);
    let first = end.saturating_sub(below.height.into());
    for (row, line) in below.rows().zip(&lines[first..end]) {
        canvas.put(row, vec![Span::raw(format!(" {}", cut(line, usize::from(row.width) - 1)))]);
    }
}
