//! What may be written to a terminal.

use std::io::IsTerminal;

/// True if standard error is a terminal and the user has not asked for plain text (<https://no-color.org>). A log file
/// or a pipe gets no escape codes.
pub fn wants_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The text with its control characters replaced. It may come from other machines, and a terminal would obey them.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_control_a_terminal() {
        assert_eq!(plain("job 1: Füße\n  no memory"), "job 1: Füße\n  no memory");
        assert_eq!(plain("\u{1b}[2Jx\r\u{9b}"), "\u{fffd}[2Jx\u{fffd}\u{fffd}");
    }
}
