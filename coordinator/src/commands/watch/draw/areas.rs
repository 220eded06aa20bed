//! Which part of the screen has which place. On a wide terminal there are two columns; where rows are few, the less
//! important panes are left out.

use ratatui::layout::Rect;

use super::super::job::State;
use super::super::model::Model;

/// From this width on there are two columns.
const WIDE: u16 = 140;
/// Rows that the list of jobs has at least, with its title.
const JOBS: u16 = 4;

/// The place of each part; one that is left out has no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Areas {
    pub(super) head: Rect,
    pub(super) jobs: Rect,
    pub(super) queue: Rect,
    pub(super) workers: Rect,
    pub(super) ensembles: Rect,
    pub(super) log: Rect,
    pub(super) foot: Rect,
}

impl Areas {
    /// What is between head and foot.
    pub(super) fn body(&self) -> Rect {
        let y = self.head.bottom();
        Rect { y, height: self.foot.y - y, ..self.head }
    }
}

/// The places of the parts in `all`, whose last `foot` rows are the foot.
pub(super) fn of(model: &Model, all: Rect, foot: u16) -> Areas {
    let head = Rect { height: 2, ..all };
    let foot = Rect { y: all.bottom() - foot, height: foot, ..all };
    let mut areas = Areas { head, foot, ..Areas::default() };
    let body = areas.body();
    let rows = Wanted::of(model, body.height);
    if body.width < WIDE {
        let rows = rows.within(body.height.saturating_sub(JOBS));
        let jobs = body.height - rows.sum();
        let parts = [jobs, rows.queue, rows.workers, rows.ensembles, rows.log];
        [areas.jobs, areas.queue, areas.workers, areas.ensembles, areas.log] = stacked(body, parts);
        return areas;
    }
    let right = body.width * 2 / 5;
    let left = Rect { width: body.width - right - 2, ..body };
    let right = Rect { x: body.right() - right, width: right, ..body };
    let log = (body.height / 3).max(4);
    [areas.jobs, areas.log] = stacked(left, [left.height - log, log]);
    let rows = Wanted { log: 0, queue: 2, ..rows }.within(right.height);
    let queue = right.height - rows.workers - rows.ensembles;
    [areas.workers, areas.ensembles, areas.queue] = stacked(right, [rows.workers, rows.ensembles, queue]);
    areas
}

/// Areas of so many rows, one below the other.
fn stacked<const N: usize>(within: Rect, heights: [u16; N]) -> [Rect; N] {
    let mut y = within.y;
    heights.map(|height| {
        let area = Rect { y, height, ..within };
        y += height;
        area
    })
}

/// How many rows the panes besides the jobs want, each with its title.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    queue: u16,
    workers: u16,
    ensembles: u16,
    log: u16,
}

impl Wanted {
    fn of(model: &Model, body: u16) -> Self {
        let most = |share: u16| usize::from((body / share).max(2));
        let rows = |entries: usize, most: usize| 1 + entries.clamp(1, most) as u16;
        Self {
            queue: if model.jobs.counts().of(State::Pending) > 0 { 2 } else { 0 },
            workers: rows(model.workers.len(), most(6)),
            ensembles: if model.ensembles.is_empty() { 0 } else { rows(model.ensembles.len(), most(8)) },
            log: 1 + (body / 5).max(3),
        }
    }

    /// Those panes for which there is room, the most important first.
    fn within(self, mut room: u16) -> Self {
        let mut take = |rows: u16| {
            let taken = if rows <= room { rows } else { 0 };
            room -= taken;
            taken
        };
        Self {
            workers: take(self.workers),
            log: take(self.log),
            queue: take(self.queue),
            ensembles: take(self.ensembles),
        }
    }

    fn sum(self) -> u16 {
        self.queue + self.workers + self.ensembles + self.log
    }
}
