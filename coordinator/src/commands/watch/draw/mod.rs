//! Draws the screen. Pure, and looks at what is visible only, however many jobs there are.

mod areas;
mod foot;
mod head;
mod jobs;
mod look;
mod overlay;
mod panes;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::marks::{cut, width};
use super::model::{Mode, Model, Pane};
pub(super) use look::Look;

/// The smallest terminal, in columns and rows.
const SMALLEST: (u16, u16) = (40, 10);

/// Draws everything.
pub(super) fn draw(model: &Model, look: Look, frame: &mut Frame<'_>) {
    let area = frame.area();
    let canvas = &mut Canvas { buffer: frame.buffer_mut(), look };
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (columns, rows) = SMALLEST;
        let text =
            format!("{}×{} is too small: {columns}×{rows} is needed. q quits.", area.width, area.height);
        let lines = super::marks::wrapped(&text, area.width.into());
        for (line, row) in lines.into_iter().zip(area.rows()) {
            canvas.put(row, vec![Span::raw(line)]);
        }
        return;
    }
    let foot = foot::lines(model, look, area.width.into());
    let areas = areas::of(model, area, foot.len() as u16);
    head::draw(model, areas.head, canvas);
    match &model.mode {
        Mode::Details { job, line } => overlay::details(model, *job, *line, areas.body(), canvas),
        Mode::Help => overlay::help(model, areas.body(), canvas),
        Mode::Browse | Mode::Filter(_) | Mode::Priority { .. } | Mode::Confirm(_) => {
            jobs::draw(model, areas.jobs, canvas);
            panes::queue(model, areas.queue, canvas);
            panes::workers(model, areas.workers, canvas);
            panes::ensembles(model, areas.ensembles, canvas);
            panes::log(model, areas.log, canvas);
        }
    }
    for (line, row) in foot.into_iter().zip(areas.foot.rows()) {
        canvas.put(row, line);
    }
    if let Some(column) = foot::cursor(model, area.width) {
        frame.set_cursor_position((column, areas.foot.y));
    }
}

/// Where things are drawn.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    look: Look,
}

impl Canvas<'_> {
    /// Writes spans from the left end of an area of one row.
    fn put(&mut self, row: Rect, spans: Vec<Span<'_>>) {
        self.buffer.set_line(row.x, row.y, &Line::from(spans), row.width);
    }

    /// A line with a title, which divides panes. The one that takes keys has a heavier line.
    fn title(&mut self, area: Rect, title: &str, has_focus: bool) {
        let Some(row) = area.rows().next() else { return };
        let (line, style) = if has_focus { ("━", Look::strong()) } else { ("─", Style::new()) };
        let columns = usize::from(row.width);
        let title = cut(title, columns.saturating_sub(4));
        let rest = columns.saturating_sub(width(&title) + 3);
        let (left, rest) = (format!("{line} "), format!(" {}", line.repeat(rest)));
        self.put(row, vec![Span::raw(left), Span::styled(title, style), Span::raw(rest)]);
    }
}

fn has_focus(model: &Model, pane: Pane) -> bool {
    model.focus == pane && model.mode == Mode::Browse
}

/// The rows below the title of a pane.
fn below(area: Rect) -> Rect {
    Rect { y: area.y + area.height.min(1), height: area.height.saturating_sub(1), ..area }
}

/// The first of `all` rows that is shown, so that the chosen one is in the middle where that is possible.
fn top(all: usize, chosen: usize, rows: usize) -> usize {
    chosen.saturating_sub(rows / 2).min(all.saturating_sub(rows))
}
