//! Requests to stop: the one place that installs signal handlers.
//!
//! A signal that was ignored when the program started stays ignored. `nohup` ignores SIGHUP so that a program outlives
//! its terminal, and a shell without job control ignores SIGINT for its background jobs. Child processes inherit an
//! ignored signal, so this holds for them, too. SIGPIPE is not handled here: Rust ignores it in every program.

use std::io;

use futures::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for the signals that ask a program to stop: SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal was closed).
#[derive(Debug)]
pub struct StopSignals {
    signals: Vec<Signal>,
}

impl StopSignals {
    /// Installs the handlers. From then on these signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses a handler, or /proc cannot be read.
    pub fn listen() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals =
            kinds.into_iter().filter_map(|kind| listen(kind).transpose()).collect::<Result<_, _>>()?;
        Ok(Self { signals })
    }

    /// Resolves when one of the signals has come since [`Self::listen`]. Safe to drop and call again.
    pub async fn requested(&mut self) {
        if self.signals.is_empty() {
            return std::future::pending().await;
        }
        select_all(self.signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
    }
}

/// Listens for one signal; `None` if it was ignored when the program started, and so stays ignored.
///
/// # Errors
/// When the system refuses the handler, or /proc cannot be read.
pub fn listen(kind: SignalKind) -> io::Result<Option<Signal>> {
    if is_ignored(kind)? { Ok(None) } else { signal(kind).map(Some) }
}

/// Whether this process, and so the children that it starts, ignores a signal.
///
/// # Errors
/// When /proc cannot be read.
pub fn is_ignored(kind: SignalKind) -> io::Result<bool> {
    let path = "/proc/self/status";
    let status = std::fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read {path}: {error}")))?;
    let ignored = ignored_in(&status)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path} has no line SigIgn")))?;
    Ok(contains(ignored, kind))
}

/// The set of ignored signals, one bit each, in a process's status.
fn ignored_in(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Signal 1 is the lowest bit.
fn contains(mask: u64, kind: SignalKind) -> bool {
    let bit = u32::try_from(kind.as_raw_value() - 1).ok();
    bit.and_then(|bit| mask.checked_shr(bit)).is_some_and(|shifted| shifted & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 1: what `nohup` and a shell's `&` leave behind.
    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let nohup =
            ignored_in("Name:\tferry\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n").unwrap();
        assert!(contains(nohup, SignalKind::hangup()) && contains(nohup, SignalKind::pipe()));
        assert!(!contains(nohup, SignalKind::interrupt()) && !contains(nohup, SignalKind::terminate()));
        let background = ignored_in("SigIgn:\t0000000000001006").unwrap();
        assert!(contains(background, SignalKind::interrupt()) && !contains(background, SignalKind::hangup()));
        assert_eq!(ignored_in("Name:\tferry\n"), None);
    }

    #[test]
    fn rust_programs_ignore_a_broken_pipe() {
        assert!(is_ignored(SignalKind::pipe()).unwrap());
        assert!(!is_ignored(SignalKind::user_defined1()).unwrap());
    }
}
