//! Asks before something is done that cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

/// Nobody is there to answer.
#[derive(Debug, thiserror::Error)]
#[error("nothing was changed: there is no terminal to ask for confirmation, so add --yes")]
pub(super) struct NobodyToAsk;

/// Asks the person at the terminal; anything but `y` or `yes` means no.
///
/// # Errors
/// [`NobodyToAsk`] without a terminal, and when the terminal cannot be read.
pub(super) fn is_confirmed(question: &str) -> anyhow::Result<bool> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(NobodyToAsk.into());
    }
    {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
    } // Released, because others write there while the person thinks.
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
