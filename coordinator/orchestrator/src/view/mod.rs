//! What people and scripts see while a sweep runs.

pub mod bar;
pub mod console;
pub mod ensembles;
pub mod labels;
mod layout;
mod lines;
mod live;
pub mod model;
pub mod screen;
mod sink;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;

use shared::terminal::plain;

use crate::events::SweepEvent;
use labels::Labels;
pub use layout::fit;
pub use lines::{json_line, words};
use model::Snapshot;
pub use sink::{Sink, Subscriber};

/// How a run reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bars that are redrawn in place, on a terminal.
    Live,
    /// One line per event.
    Lines,
    /// One JSON object per line on standard output.
    Json,
}

impl Style {
    /// JSON if asked for, bars on a terminal, otherwise lines.
    pub fn choose(json: bool) -> Self {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Self::Json,
            (false, true) => Self::Live,
            (false, false) => Self::Lines,
        }
    }
}

/// Shows a run in one style.
#[derive(Debug)]
pub enum View {
    Live(live::Live),
    Lines(lines::Lines),
    Json(lines::JsonLines),
}

impl View {
    pub fn new(style: Style, labels: Labels) -> Self {
        match style {
            Style::Live => Self::Live(live::Live::new(labels)),
            Style::Lines => Self::Lines(lines::Lines::new(labels)),
            Style::Json => Self::Json(lines::JsonLines::new(labels)),
        }
    }
}

impl Subscriber for View {
    fn event(&mut self, event: &SweepEvent, snapshot: &Snapshot) {
        match self {
            Self::Live(view) => view.event(event),
            Self::Lines(view) => view.event(event, snapshot),
            Self::Json(view) => view.event(event),
        }
    }

    fn remark(&mut self, text: &str) {
        match self {
            Self::Live(_) | Self::Lines(_) => console::print(&plain(text)),
            Self::Json(view) => view.remark(text),
        }
    }

    fn refresh(&mut self, snapshot: &Snapshot) {
        match self {
            Self::Live(view) => view.refresh(snapshot),
            Self::Lines(view) => view.refresh(snapshot),
            Self::Json(view) => view.refresh(snapshot),
        }
    }

    fn relabel(&mut self, labels: &Labels) {
        let labels = labels.clone();
        match self {
            Self::Live(view) => view.labels = labels,
            Self::Lines(view) => view.labels = labels,
            Self::Json(view) => view.labels = labels,
        }
    }

    /// Removes the bars. Remarks still appear.
    fn close(&mut self) {
        match self {
            Self::Live(_) => console::clear(),
            Self::Lines(_) | Self::Json(_) => {}
        }
    }
}
