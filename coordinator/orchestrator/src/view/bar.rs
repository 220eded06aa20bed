//! Progress bars of a given width. Pure.

use console::{Style, measure_text_width, truncate_str};

use super::screen::Size;

/// The range of cells that a bar may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells {
    pub(super) longest: usize,
    /// A shorter bar cannot be read.
    pub(super) shortest: usize,
}

const STEP: Cells = Cells { longest: 40, shortest: 10 };

impl Cells {
    /// The number of cells that fit into `room`; 0 if the bar would be too short.
    pub(super) fn within(self, room: usize) -> usize {
        if room < self.shortest { 0 } else { room.min(self.longest) }
    }
}

/// A bar of this many cells.
pub(super) fn bar(done: u64, length: u64, cells: usize, style: Style) -> String {
    if cells == 0 {
        return String::new();
    }
    let share = done.min(length).saturating_mul(cells as u64).checked_div(length).unwrap_or(0) as usize;
    let (full, rest) = ("━".repeat(share), "─".repeat(cells - share));
    format!("{}{}", style.clone().apply_to(full), style.dim().apply_to(rest))
}

/// The line of one step: its name, a bar, and a text.
pub fn step(what: &str, text: &str, done: u64, length: u64, size: Size, colour: bool) -> String {
    let width = size.columns.saturating_sub(1).max(1);
    let room = width.saturating_sub(measure_text_width(what) + measure_text_width(text) + 2);
    let bar = bar(done, length, STEP.within(room), Style::new().green().force_styling(colour));
    let parts = [what, &bar, text].into_iter().filter(|part| !part.is_empty());
    truncate_str(&parts.collect::<Vec<_>>().join(" "), width, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_fits_its_line() {
        let shown = |columns| {
            let size = Size { columns, rows: 24 };
            step("drawing faces", "12/24 images, 12 per second, 1 s left", 12, 24, size, false)
        };
        insta::assert_snapshot!([100, 80, 60, 30].map(shown).join("\n"), @r"
        drawing faces ━━━━━━━━━━━━━━━━━━━━──────────────────── 12/24 images, 12 per second, 1 s left
        drawing faces ━━━━━━━━━━━━━────────────── 12/24 images, 12 per second, 1 s left
        drawing faces 12/24 images, 12 per second, 1 s left
        drawing faces 12/24 images, …
        ");
    }
}
