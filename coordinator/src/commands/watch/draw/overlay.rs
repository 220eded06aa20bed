//! What covers the panes: all that is known of a job, and the help.

use ratatui::layout::Rect;
use ratatui::text::Span;
use shared::ids::JobId;

use super::super::marks::{cut, folded, wrapped};
use super::super::model::Model;
use super::Canvas;

const HELP: &[(&str, &str)] = &[
    ("up, down, j, k", "move; also Page Up, Page Down, Home, End, g, G"),
    ("Tab", "go to the next pane: jobs, workers, ensembles, log"),
    ("Enter", "all that is known of a job; on a worker or ensemble: go to its job"),
    ("/", "show some jobs only: state=failed, epoch>3, augmentation=mixup, 3f2a…"),
    ("Esc", "back; without anything open: show all jobs again"),
    ("p", "pause: the worker stores a checkpoint and stops"),
    ("r", "resume what is paused, cancelled or failed, from its last checkpoint"),
    ("c", "cancel: nobody trains the job any more"),
    ("t", "train again: a failed job goes on, a finished one begins anew"),
    ("f", "first: workers take the job before all others that wait"),
    ("n", "priority: type a number; jobs of a higher one are taken earlier"),
    ("capital letters", "the same for all jobs that the list shows; each asks first"),
    ("Ctrl-Z", "leave for a while; `fg` comes back"),
    ("q, Ctrl-C", "quit; the sweep goes on"),
];

/// All that is known of a job, from a line on.
pub(super) fn details(model: &Model, job: JobId, line: usize, area: Rect, canvas: &mut Canvas<'_>) {
    let Some(place) = model.jobs.place(job) else {
        canvas.title(area, "The job is no longer part of the sweep", true);
        return;
    };
    let lines = model.details(place);
    let more = if line > 0 { format!(", from line {}", line + 1) } else { String::new() };
    canvas.title(area, &format!("{}{more}", model.label(place)), true);
    let shown = lines.iter().skip(line).flat_map(|line| folded(line, area.width.into()));
    for (row, line) in super::below(area).rows().zip(shown) {
        canvas.put(row, vec![Span::raw(line)]);
    }
}

/// What the keys do, and what the list shows.
pub(super) fn help(model: &Model, area: Rect, canvas: &mut Canvas<'_>) {
    canvas.title(area, "Keys", true);
    let below = super::below(area);
    let columns = usize::from(area.width);
    let loss = match model.jobs.loss.as_slice() {
        [] => "No loss is reported.".to_owned(),
        [only] => format!("The loss is `{only}`."),
        several => format!("The loss is the sum of {}.", several.join(", ")),
    };
    let keys = HELP.iter().flat_map(|(key, what)| {
        let lines = wrapped(what, columns.saturating_sub(17));
        lines
            .into_iter()
            .enumerate()
            .map(move |(at, line)| format!(" {:<15} {line}", if at == 0 { key } else { "" }))
    });
    let legend = format!("Each curve goes from its lowest to its highest value. {loss}");
    let legend = wrapped(&legend, columns.saturating_sub(2)).into_iter().map(|line| format!(" {line}"));
    for (row, line) in below.rows().zip(keys.chain([String::new()]).chain(legend)) {
        canvas.put(row, vec![Span::raw(cut(&line, columns))]);
    }
}
