//! A run on a terminal: one line per worker and one for the sweep, redrawn in place.

use shared::protocol::EnsembleState;
use shared::terminal::{plain, wants_colour};

use super::labels::Labels;
use super::lines::words;
use super::model::Snapshot;
use super::{console, layout};
use crate::events::{EventKind, SweepEvent};

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

    pub(super) fn event(&self, event: &SweepEvent) {
        match &event.kind {
            // The bars show these.
            EventKind::Started { .. }
            | EventKind::Reported { .. }
            | EventKind::EnsembleScored { state: EnsembleState::Provisional { .. }, .. } => {}
            EventKind::Logged { .. }
            | EventKind::TakenOver { .. }
            | EventKind::GivenBack { .. }
            | EventKind::Failed { .. }
            | EventKind::GivenUp { .. }
            | EventKind::Deferred { .. }
            | EventKind::Suspected { .. }
            | EventKind::Drained { .. }
            | EventKind::Trusted { .. }
            | EventKind::Done { .. }
            | EventKind::Asked { .. }
            | EventKind::Answered { .. }
            | EventKind::Planned { .. }
            | EventKind::EnsembleReady { .. }
            | EventKind::EnsembleScored { .. }
            | EventKind::Note { .. } => {
                if let Some(words) = words(&event.kind, &self.labels) {
                    console::print(&plain(&words));
                }
            }
        }
    }

    pub(super) fn refresh(&self, snapshot: &Snapshot) {
        let (snapshot, colour) = (snapshot.clone(), self.colour);
        console::show(Box::new(move |size| layout::lines(&snapshot, size, colour)));
    }
}
