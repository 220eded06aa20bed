//! The two lines at the top: how far the sweep is, the best score, and how the server is.

use ratatui::layout::Rect;
use ratatui::text::Span;

use super::super::job::State;
use super::super::marks::{cut, fit, number, width};
use super::super::model::{Model, Rights, Server};
use super::{Canvas, Look};
use orchestrator::view::fit as fit_parts;
use orchestrator::view::model::{Part, clock};

pub(super) fn draw(model: &Model, area: Rect, canvas: &mut Canvas<'_>) {
    let mut rows = area.rows();
    let columns = usize::from(area.width);
    if let Some(row) = rows.next() {
        let times = times(model);
        let name = cut(&model.jobs.plan.name, columns / 3);
        let room = columns.saturating_sub(width(&times) + width(&name) + 4);
        let tally = fit(&fit_parts(tally(model), room), room);
        let spans = vec![
            Span::styled(name, Look::strong()),
            Span::raw(format!("  {tally}  ")),
            Span::styled(times, Look::strong()),
        ];
        canvas.put(row, spans);
    }
    if let Some(row) = rows.next() {
        let (server, is_alarming) = server(model);
        let server = cut(&server, columns);
        let room = columns.saturating_sub(width(&server) + 2);
        let best = if room > 12 { fit(&best(model), room) } else { " ".repeat(room) };
        let style = if is_alarming { canvas.look.warning() } else { canvas.look.faint() };
        canvas.put(row, vec![Span::raw(best), Span::raw("  "), Span::styled(server, style)]);
    }
}

fn tally(model: &Model) -> Vec<Part> {
    let counts = model.jobs.counts();
    let part = |importance, text| Part { importance, text };
    let mut parts = vec![part(9, format!("{}/{} jobs done", counts.of(State::Done), counts.total()))];
    for (state, importance) in [
        (State::Failed, 8),
        (State::Running, 7),
        (State::Pending, 5),
        (State::Paused, 4),
        (State::Cancelled, 3),
    ] {
        if counts.of(state) > 0 {
            parts.push(part(importance, format!("{} {}", counts.of(state), state.name())));
        }
    }
    parts
}

/// How long it has taken, and how long it still takes.
fn times(model: &Model) -> String {
    let (open, paused) = (model.jobs.counts().open(), model.jobs.counts().of(State::Paused));
    let goes_on = open > 0 && model.server != Server::AtRest;
    let elapsed = clock(model.times.elapsed(model.now, goes_on));
    let left = match (open, model.server, model.left.time) {
        _ if model.reading.is_some() => "ETA -".to_owned(),
        (0, _, _) => "ended".to_owned(),
        (_, Server::AtRest, _) => format!("{open} left"),
        _ if open == paused => "all paused".to_owned(),
        _ if model.ready() == 0 => format!("{open} left, no worker"),
        (_, _, Some(left)) => {
            let [likely, ..] = left.times();
            format!("ETA {}", clock(likely))
        }
        (_, _, None) => "ETA unknown".to_owned(),
    };
    format!("{elapsed} · {left}")
}

fn best(model: &Model) -> String {
    let Some((score, place)) = model.best else { return "no score yet".to_owned() };
    format!("best {} {}: {}", model.labels.score_name(), number(score), model.label(place))
}

/// How the server is, and whether that is alarming.
fn server(model: &Model) -> (String, bool) {
    let place = &model.place;
    match (model.server, model.reading) {
        (Server::Away { since }, _) => {
            let away = clock(model.now.saturating_sub(since));
            (format!("SERVER AWAY for {away}, waiting ({place})"), true)
        }
        (Server::AtRest, _) => (format!("nothing runs in {place}"), false),
        (Server::Answers, Some((seen, end))) if end > 0 => {
            (format!("reading the books: {} % ({place})", (seen.min(end) * 100) / end), false)
        }
        (Server::Answers, _) => match model.rights {
            Rights::Steer => (format!("server reachable ({place})"), false),
            Rights::Observe => (format!("observer · server reachable ({place})"), false),
        },
    }
}
