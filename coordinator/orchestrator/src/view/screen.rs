//! The bytes that redraw lines in place on a terminal. Pure.

use console::measure_text_width;

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// The lines that are on the terminal now. Below them is an empty line with the cursor, where the terminal echoes what
/// the user types (`^C`). On one of the drawn lines the echo could wrap and shift everything.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The width of each drawn line.
    drawn: Vec<usize>,
}

impl Screen {
    pub(super) const fn new() -> Self {
        Self { drawn: Vec::new() }
    }

    /// The bytes that remove the lines. If the terminal has become narrower since, it has wrapped them.
    pub(super) fn erase(&mut self, columns: usize) -> String {
        let rows: usize = self.drawn.drain(..).map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
        if rows == 0 { String::new() } else { format!("\r\x1b[{rows}A\x1b[J") }
    }

    /// The bytes that draw these lines, each of which must fit the terminal.
    pub(super) fn draw(&mut self, lines: &[String]) -> String {
        self.drawn = lines.iter().map(|line| measure_text_width(line)).collect();
        lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// Leaves the lines in the scrollback, because somebody else has written to the terminal.
    pub(super) fn forget(&mut self) {
        self.drawn.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Terminal {
        parser: vt100::Parser,
        screen: Screen,
        columns: usize,
    }

    impl Terminal {
        fn new(columns: u16) -> Self {
            let [rows, width] = [10, columns].map(|number| std::num::NonZero::new(number).unwrap());
            let parser = vt100::Parser::new(rows, width, 100);
            Self { parser, screen: Screen::new(), columns: columns.into() }
        }

        fn write(&mut self, bytes: &str) {
            self.parser.process(bytes.replace('\n', "\r\n").as_bytes());
        }

        fn draw(&mut self, log: &str, lines: &[&str]) {
            let erased = self.screen.erase(self.columns);
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            let drawn = self.screen.draw(&lines);
            self.write(&format!("{erased}{log}{drawn}"));
        }

        fn text(&self) -> String {
            self.parser.screen().contents()
        }
    }

    /// Case 25: log lines appear above the bars, `^C` disturbs nothing, and nothing is left behind.
    #[test]
    fn lines_are_replaced_and_leave_nothing() {
        let mut terminal = Terminal::new(40);
        terminal.write("$ ferry run x.yaml\n");
        terminal.draw("", &["cpu0 ━━━───", "0/6 jobs done"]);
        terminal.draw("WARN connection lost\n", &["cpu0 ━━━━──", "cpu1 ──────", "1/6 jobs done"]);
        terminal.write("^C");
        insta::assert_snapshot!(terminal.text(), @r"
        $ ferry run x.yaml
        WARN connection lost
        cpu0 ━━━━──
        cpu1 ──────
        1/6 jobs done
        ^C
        ");
        terminal.draw("stopping\n", &[]);
        insta::assert_snapshot!(terminal.text(), @r"
        $ ferry run x.yaml
        WARN connection lost
        stopping
        ");
    }

    /// Case 25: a terminal that is made narrower wraps what is on it.
    #[test]
    fn lines_that_a_narrower_terminal_has_wrapped_are_taken_away_whole() {
        let mut screen = Screen::new();
        screen.draw(&["x".repeat(99), "y".repeat(30)]);
        assert_eq!(screen.erase(80), "\r\x1b[3A\x1b[J");
        assert_eq!(screen.erase(80), "", "nothing is drawn any more");
    }

    /// Case 25: after Ctrl-Z the shell has written below the bars.
    #[test]
    fn what_is_forgotten_is_not_taken_away() {
        let mut screen = Screen::new();
        screen.draw(&["x".to_owned()]);
        screen.forget();
        assert_eq!(screen.erase(80), "");
    }
}
