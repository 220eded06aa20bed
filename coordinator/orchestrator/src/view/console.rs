//! Standard error, shared by all its writers, so that log lines and messages appear above the bars and never inside
//! them.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Signal, getpgrp, getpid, kill_process};
use rustix::termios::{tcgetpgrp, tcgetwinsize};
use tokio::signal::unix::SignalKind;

use super::screen::{Screen, Size};

/// The lines to show at the bottom of a terminal of some size.
pub type Layout = Box<dyn Fn(Size) -> Vec<String> + Send>;

static CONSOLE: Mutex<Console> = Mutex::new(Console { screen: Screen::new(), layout: None, held: None });

/// The most bytes that are kept for [`release`].
const MOST_HELD: usize = 64 << 10;

struct Console {
    screen: Screen,
    layout: Option<Layout>,
    /// What was written while something else has the whole terminal.
    held: Option<String>,
}

fn console() -> MutexGuard<'static, Console> {
    CONSOLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes whole lines, above the bars if there are any.
pub fn print(text: &str) {
    console().redraw(&format!("{text}\n"));
}

/// Shows bars until [`clear`], in place of those shown before.
pub fn show(layout: Layout) {
    let mut console = console();
    console.layout = Some(layout);
    console.redraw("");
}

/// Removes the bars.
pub fn clear() {
    let mut console = console();
    console.layout = None;
    console.redraw("");
}

/// Keeps what is written until [`release`], because something else has the whole terminal. What goes into a file is not
/// kept.
pub fn hold() {
    if io::stderr().is_terminal() {
        console().held.get_or_insert_default();
    }
}

/// Writes what was kept since [`hold`], as far as it is not too much.
pub fn release() {
    let mut console = console();
    if let Some(held) = console.held.take() {
        write(&held);
    }
}

/// Handles Ctrl-Z: removes the bars before this process stops, and shows them again when it continues.
///
/// # Errors
/// When the system refuses a signal handler.
pub(super) fn clear_when_suspended() -> io::Result<()> {
    let Some(mut suspended) = shared::signals::listen(SignalKind::from_raw(Signal::TSTP.as_raw()))? else {
        return Ok(()); // A shell without job control.
    };
    tokio::spawn(async move {
        while suspended.recv().await.is_some() {
            if let Err(error) = suspend() {
                tracing::warn!(%error, "this process cannot be suspended");
            }
        }
    });
    Ok(())
}

/// Stops this process until it is continued. Nothing may be logged here, because the log goes to the console.
fn suspend() -> rustix::io::Result<()> {
    let mut console = console();
    console.erase();
    let outcome = kill_process(getpid(), Signal::STOP);
    // It continues here. The shell has written to the terminal in the meantime.
    console.screen.forget();
    console.redraw("");
    outcome
}

impl Console {
    fn redraw(&mut self, log: &str) {
        if let Some(held) = &mut self.held {
            if held.len() + log.len() <= MOST_HELD {
                held.push_str(log);
            }
            return;
        }
        let size = size();
        let mut bytes = String::new();
        match &self.layout {
            // In the background the terminal belongs to the shell, so there are no bars.
            Some(_) if !is_in_foreground() => {
                self.screen.forget();
                bytes.push_str(log);
            }
            Some(layout) => {
                bytes.push_str(&self.screen.erase(size.columns));
                bytes.push_str(log);
                bytes.push_str(&self.screen.draw(&layout(size)));
            }
            None => {
                bytes.push_str(&self.screen.erase(size.columns));
                bytes.push_str(log);
            }
        }
        write(&bytes);
    }

    fn erase(&mut self) {
        write(&self.screen.erase(size().columns));
    }
}

/// Errors are ignored: a closed pipe is no reason to stop training.
fn write(bytes: &str) {
    let _closed = io::stderr().lock().write_all(bytes.as_bytes());
}

fn size() -> Size {
    let (columns, rows) = tcgetwinsize(io::stderr()).map_or((0, 0), |size| (size.ws_col, size.ws_row));
    let or = |found: u16, usual: usize| if found == 0 { usual } else { found.into() };
    Size { columns: or(columns, 80), rows: or(rows, 24) }
}

/// A terminal that is not the controlling terminal has no background processes.
fn is_in_foreground() -> bool {
    tcgetpgrp(io::stderr()).map_or(true, |group| group == getpgrp())
}

/// Writes the log to the console: each event as a whole, above the bars.
#[derive(Debug, Default)]
pub struct LogWriter {
    event: Vec<u8>,
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.event.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.event.is_empty() {
            let event = std::mem::take(&mut self.event);
            console().redraw(&String::from_utf8_lossy(&event));
        }
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // Writing to a buffer cannot fail.
        let _written = self.flush();
    }
}
