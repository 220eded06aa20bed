//! What may be written to standard error beside plain text.

use std::io::IsTerminal;

/// True when somebody looks at standard error and has not asked for plain text (<https://no-color.org>). A log file or a
/// pipe gets no escape codes.
pub fn wants_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
