//! What a command prints: its answer on standard output, remarks on standard error.
//!
//! `println!` and `eprintln!` are not used, because they panic when the reader is gone or a disk is full.

use std::io::{self, ErrorKind, Write};

/// Why an answer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StdoutError {
    /// The reader wants no more, as in `ferry … | head -1`: nothing is wrong, and nothing should be said.
    #[error("standard output was closed by its reader")]
    ReaderGone,
    #[error("cannot write to standard output: {0}")]
    Failed(io::Error),
}

impl StdoutError {
    /// The exit code of a program that ends for this reason.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ReaderGone => 141, // 128 + SIGPIPE, which a shell shows for any other tool.
            Self::Failed(_) => 1,
        }
    }
}

impl From<io::Error> for StdoutError {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Failed(error) }
    }
}

/// Writes `text` to standard output and flushes it.
///
/// # Errors
/// When the reader is gone or the device is full.
pub fn print(text: &str) -> Result<(), StdoutError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes `line` and a line break to standard output.
///
/// # Errors
/// As [`print`].
pub fn print_line(line: &str) -> Result<(), StdoutError> {
    print(&format!("{line}\n"))
}

/// Writes `line` and a line break to standard error. If that fails, there is nobody left to tell.
pub fn remark(line: &str) {
    let _unread = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 15: a reader that is gone is not a failure to report; a full device is.
    #[test]
    fn a_gone_reader_and_a_full_device_end_differently() {
        let gone = StdoutError::from(io::Error::from(ErrorKind::BrokenPipe));
        assert!(matches!(gone, StdoutError::ReaderGone));
        assert_eq!(gone.exit_code(), 141);
        let full = StdoutError::from(io::Error::from(ErrorKind::StorageFull));
        assert_eq!(
            (full.to_string().as_str(), full.exit_code()),
            ("cannot write to standard output: no storage space", 1)
        );
    }
}
