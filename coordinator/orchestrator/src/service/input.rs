//! What the conductor is told, and what follows from that outside the bus.

use shared::bus::{BookEntry, BusError, Fed};
use shared::ids::JobId;

use super::downloads::FetchedResult;
use super::perform::Performed;

/// Something that happened, to be handled by [`super::Conductor::act`].
#[derive(Debug)]
pub struct Input(pub(super) InputKind);

#[derive(Debug)]
pub(super) enum InputKind {
    Fed(Box<Fed>),
    /// The newest revision in the books, asked for because the sweep seems to be finished.
    Newest(u64),
    Performed(Box<Performed>),
    Fetch(JobId, Box<Result<FetchedResult, BusError>>),
    Reconcile,
}

impl Input {
    /// What the feed of the books delivered, if it is that.
    pub fn fed(&self) -> Option<&Fed> {
        match &self.0 {
            InputKind::Fed(fed) => Some(fed),
            InputKind::Newest(_) | InputKind::Performed(_) | InputKind::Fetch(..) | InputKind::Reconcile => {
                None
            }
        }
    }
}

/// What follows from an input outside the bus.
#[derive(Debug, Default)]
pub struct Acted {
    /// Jobs whose results in the run folder are outdated.
    pub set_aside: Vec<JobId>,
    /// Workers that get no more jobs, and why.
    pub drained: Vec<(String, String)>,
    /// Records of jobs that were added: the feed has shown them before they were jobs of this sweep.
    pub added: Vec<BookEntry>,
}

impl Acted {
    pub(super) fn and(mut self, more: Self) -> Self {
        self.set_aside.extend(more.set_aside);
        self.drained.extend(more.drained);
        self.added.extend(more.added);
        self
    }
}
