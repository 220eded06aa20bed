//! Bars, curves, numbers and texts of a given width. Pure.

use console::{measure_text_width, truncate_str};
use shared::terminal::plain;

/// The text in exactly so many cells: cut off with `…`, or filled up.
pub(super) fn fit(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let padding = width.saturating_sub(measure_text_width(&text));
    text + &" ".repeat(padding)
}

/// The same, at the right end of the cells.
pub(super) fn fit_right(text: &str, width: usize) -> String {
    let text = cut(text, width);
    " ".repeat(width.saturating_sub(measure_text_width(&text))) + &text
}

/// The text in at most so many cells, in one line and without what a terminal would obey.
pub(super) fn cut(text: &str, width: usize) -> String {
    let text = plain(text).replace('\n', " ");
    truncate_str(&text, width, if width == 0 { "" } else { "…" }).into_owned()
}

pub(super) fn width(text: &str) -> usize {
    measure_text_width(text)
}

/// The text in lines of at most `width` cells, broken between words where that is possible.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in plain(text).split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if line.is_empty() || measure_text_width(&longer) <= width {
            *line = longer;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.iter().map(|line| cut(line, width)).collect()
}

/// The text in lines of at most `width` cells, broken anywhere, so that what is aligned in it stays so.
pub(super) fn folded(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut used) = (vec![String::new()], 0);
    for letter in plain(text).replace('\n', " ").chars() {
        let cells = measure_text_width(letter.encode_utf8(&mut [0; 4]));
        if used + cells > width && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            line.push(letter);
        }
        used += cells;
    }
    lines
}

/// A bar of so many cells.
pub(super) fn bar(done: u64, length: u64, cells: usize) -> (String, String) {
    let full = done.min(length).saturating_mul(cells as u64).checked_div(length).unwrap_or(0) as usize;
    ("━".repeat(full), "─".repeat(cells - full))
}

const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A curve of so many cells, between its lowest and highest value. Of more values, each cell shows the last of its share;
/// what is not finite is left out.
pub(super) fn curve(values: &[f64], cells: usize) -> String {
    let shown = values.len().min(cells);
    let chosen: Vec<f64> = (0..shown).map(|cell| values[(cell + 1) * values.len() / shown - 1]).collect();
    let finite = || chosen.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let height = |value: f64| {
        if !value.is_finite() {
            return ' ';
        }
        let share = if high > low { (value - low) / (high - low) } else { 0.5 };
        HEIGHTS[((share * 7.0).round() as usize).min(7)]
    };
    chosen.into_iter().map(height).collect()
}

/// A metric in at most seven characters.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "nan".to_owned()
    } else if size >= 100_000.0 || (size > 0.0 && size < 0.0005) {
        format!("{value:.0e}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_width_that_was_asked_for() {
        assert_eq!(fit("weak mixup", 6), "weak …");
        assert_eq!(fit("weak", 6), "weak  ");
        assert_eq!(fit_right("7/12", 6), "  7/12");
        assert_eq!(fit("顔認識モデル", 7), "顔認識…", "wide characters take two cells");
        assert_eq!(fit("顔認識モデル", 6), "顔認… ", "half of one cannot be shown");
        assert_eq!(fit("a\u{1b}[2J\nb", 0), "");
        assert!(!cut("a\u{1b}[2Jb", 9).contains('\u{1b}'));
    }

    #[test]
    fn long_texts_are_broken_between_words() {
        assert_eq!(wrapped("pause 12 jobs? They stop.", 14), ["pause 12 jobs?", "They stop."]);
        assert_eq!(wrapped("unbreakable", 5), ["unbr…"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn folded_texts_lose_nothing() {
        assert_eq!(folded("name  a long one", 7), ["name  a", " long o", "ne"]);
        assert_eq!(folded("顔認識", 3), ["顔", "認", "識"], "a wide character is not cut");
        assert_eq!(folded("", 3), [""]);
    }

    #[test]
    fn curves_go_from_the_lowest_to_the_highest() {
        assert_eq!(curve(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8), "▁▂▃▄▅▆▇█");
        assert_eq!(curve(&[3.0, 2.0, 1.0], 8), "█▅▁");
        assert_eq!(curve(&[1.0, f64::NAN, 1.0], 8), "▅ ▅");
        assert_eq!(curve(&(0..100).map(f64::from).collect::<Vec<_>>(), 4), "▁▃▆█");
        assert_eq!(curve(&[], 4), "");
        assert_eq!(curve(&[1.0], 0), "");
    }

    #[test]
    fn bars_are_full_at_the_end_and_never_before() {
        assert_eq!(bar(0, 12, 4), (String::new(), "────".to_owned()));
        assert_eq!(bar(11, 12, 4), ("━━━".to_owned(), "─".to_owned()));
        assert_eq!(bar(12, 12, 4).0, "━━━━");
        assert_eq!(bar(9, 0, 4), (String::new(), "────".to_owned()));
    }

    #[test]
    fn numbers_are_short() {
        let told = [0.0, 0.000_12, 0.0432, 1.5, 61.254, 1234.5, 123_456.0, -0.5, f64::NAN].map(number);
        assert_eq!(told, ["0.000", "1e-4", "0.043", "1.50", "61.25", "1234", "1e5", "-0.500", "nan"]);
    }
}
