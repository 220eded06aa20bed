//! What the screen is told, and what it wants done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::bus::{BookEntry, Fed};
use shared::ids::JobId;
use shared::protocol::{Drains, LiveReport, Presence, Steering};
use shared::result::JobResult;

use super::question::Question;
use orchestrator::sweep::plan::Plan;

/// A key of the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    /// Text that was pasted.
    Paste(String),
    Enter,
    Escape,
    Backspace,
    /// Ctrl-U: empties the line.
    Empty,
    Tab,
    BackTab,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum Message {
    Key(Key),
    /// A change of the books.
    Book(Box<Fed>),
    /// The plan of the sweep was changed. With what the books say of added jobs.
    Planned {
        plan: Box<Plan>,
        added: Vec<(BookEntry, Option<JobResult>)>,
    },
    /// What is requested of these jobs now.
    Steered(BTreeMap<JobId, Steering>),
    /// The server answered: these workers are present, and users have drained these.
    Present {
        workers: Vec<Presence>,
        drains: Drains,
    },
    /// The server did not answer.
    Silent,
    /// A worker's progress.
    Live(LiveReport),
    /// A request was answered, or not, in words.
    Answered(String),
    /// So much time has passed since the screen was opened.
    Tick(Duration),
    /// The terminal has another size.
    Resized,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    Quit,
    /// Ctrl-Z.
    Suspend,
    /// Enter these requests into the books, and tell the answer.
    Ask(Question),
    /// Look what is requested of these jobs.
    Look(BTreeSet<JobId>),
}
