//! The lines at the bottom: the filter, a question, the last answer, and the keys.

use ratatui::text::Span;

use super::super::marks::{cut, width, wrapped};
use super::super::model::{Mode, Model, Rights, Server, Typed};
use super::Look;

/// A text may take so many lines.
const MOST: usize = 3;
/// What stands before a filter and a priority.
const FILTER: &str = "filter: ";
const PRIORITY: &str = "priority: ";

/// The lines, of which the last one lists keys.
pub(super) fn lines(model: &Model, look: Look, columns: usize) -> Vec<Vec<Span<'static>>> {
    let mut lines = said(model, look, columns);
    lines.push(vec![Span::styled(keys(model, columns), look.faint())]);
    lines
}

fn said(model: &Model, look: Look, columns: usize) -> Vec<Vec<Span<'static>>> {
    let texts = |text: &str, style| {
        let mut lines = wrapped(text, columns);
        if lines.len() > MOST {
            lines.truncate(MOST);
            if let Some(last) = lines.last_mut() {
                *last = cut(&format!("{last} …"), columns);
            }
        }
        lines.into_iter().map(|line| vec![Span::styled(line, style)]).collect::<Vec<_>>()
    };
    if let Some((what, typed)) = typed(model) {
        let text = tail(&typed.text, columns.saturating_sub(what.len() + 1));
        let mut lines = vec![vec![Span::styled(what, Look::strong()), Span::raw(text)]];
        lines.extend(typed.error.iter().flat_map(|error| texts(error, look.warning())));
        return lines;
    }
    match &model.mode {
        Mode::Confirm(question) => {
            texts(&format!("{}? {}", question.what, question.consequence), look.warning())
        }
        Mode::Browse | Mode::Details { .. } | Mode::Help | Mode::Filter(_) | Mode::Priority { .. } => {
            match &model.notice {
                Some(notice) => texts(notice, Look::strong()),
                None if model.filter.is_empty() => vec![Vec::new()],
                None => vec![vec![Span::raw(cut(&format!("{FILTER}{}", model.filter), columns))]],
            }
        }
    }
}

/// The end of a text that is typed, in at most so many cells.
fn tail(text: &str, cells: usize) -> String {
    let mut tail = text;
    while width(tail) > cells {
        let mut chars = tail.chars();
        chars.next();
        tail = chars.as_str();
    }
    tail.to_owned()
}

/// What is typed, and what stands before it.
fn typed(model: &Model) -> Option<(&'static str, &Typed)> {
    match &model.mode {
        Mode::Filter(typed) => Some((FILTER, typed)),
        Mode::Priority { typed, .. } => Some((PRIORITY, typed)),
        Mode::Browse | Mode::Confirm(_) | Mode::Details { .. } | Mode::Help => None,
    }
}

/// Where the cursor is while something is typed.
pub(super) fn cursor(model: &Model, columns: u16) -> Option<u16> {
    let (what, typed) = typed(model)?;
    let most = usize::from(columns).saturating_sub(what.len() + 1);
    Some((what.len() + width(&typed.text).min(most)) as u16)
}

/// The keys of the mode, as many as fit; the most important ones come first.
fn keys(model: &Model, columns: usize) -> String {
    let keys: &[&str] = match &model.mode {
        Mode::Filter(_) => &["Enter use", "Esc leave", "e.g. state=running epoch>3 'name=va*'"],
        Mode::Priority { .. } => &["Enter use", "Esc leave", "-100 to 100: higher is earlier, 0 is normal"],
        Mode::Confirm(_) => &["y yes", "any other key: no"],
        Mode::Details { .. } => &["Esc back", "up/down scroll"],
        Mode::Help => &["any key: back", "q quit"],
        Mode::Browse => match (model.server, model.rights) {
            (Server::AtRest, _) | (_, Rights::Observe) => {
                &["q quit", "? help", "/ filter", "Enter details", "Tab pane"]
            }
            (Server::Answers | Server::Away { .. }, Rights::Steer) => &[
                "q quit",
                "? help",
                "/ filter",
                "p pause",
                "r resume",
                "c cancel",
                "t retry",
                "f first",
                "n priority",
                "Tab pane",
                "Enter details",
                "capitals: all shown",
            ],
        },
    };
    let mut line = String::new();
    for key in keys {
        let longer = if line.is_empty() { (*key).to_owned() } else { format!("{line}  {key}") };
        if width(&longer) > columns {
            break;
        }
        line = longer;
    }
    line
}
