//! A run on a terminal: one line per worker and one for the sweep, redrawn in place.

use shared::terminal::{plain, wants_colour};

use super::labels::Labels;
use super::lines::words;
use super::model::Snapshot;
use super::{console, layout};
use crate::engine::Notice;

/// The bars.
#[derive(Debug)]
pub struct Live {
    pub(super) labels: Labels,
    colour: bool,
}

impl Live {
    pub(super) fn new(labels: Labels) -> Self {
        if let Err(error) = console::clear_when_suspended() {
            tracing::warn!("Ctrl-Z leaves the bars on the terminal: {error}");
        }
        Self { labels, colour: wants_colour() }
    }

    pub(super) fn notice(&self, notice: &Notice) {
        match notice {
            // The bars show these.
            Notice::Started { .. } | Notice::Epoch { .. } => {}
            Notice::TakenOver { .. }
            | Notice::GivenBack { .. }
            | Notice::Failed { .. }
            | Notice::GivenUp { .. }
            | Notice::Deferred { .. }
            | Notice::Suspected { .. }
            | Notice::Drained { .. }
            | Notice::Done { .. }
            | Notice::Answered { .. }
            | Notice::Note { .. } => console::print(&plain(&words(notice, &self.labels))),
        }
    }

    pub(super) fn refresh(&self, snapshot: &Snapshot) {
        let (snapshot, colour) = (snapshot.clone(), self.colour);
        console::show(Box::new(move |size| layout::lines(&snapshot, size, colour)));
    }
}
