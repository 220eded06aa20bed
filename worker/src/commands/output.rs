//! The files that subcommands write, and how an error ends the process.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use shared::exit::Exit;
use shared::files;
use shared::stdio::StdoutError;

/// Why an output file was not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
struct WriteError {
    path: PathBuf,
    source: Error,
}

/// Writes a file that the user named.
///
/// # Errors
///
/// The file cannot be written. In `-o /dev/stdout | head -1`, the error is that the reader of standard output is gone.
pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    files::write(path, bytes).map_err(|source| match source.kind() {
        ErrorKind::BrokenPipe => StdoutError::ReaderGone.into(),
        _ => WriteError { path: path.to_owned(), source }.into(),
    })
}

/// How the process ends after a subcommand failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Ending {
    pub code: u8,
    /// Print no message, because the reader of standard output is gone.
    pub is_quiet: bool,
}

impl Ending {
    /// An error of libtorch or of the system is a failure. Everything else is bad input, which the user can change.
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(stdout) = error.downcast_ref::<StdoutError>() {
            return Self { code: stdout.exit_code(), is_quiet: matches!(stdout, StdoutError::ReaderGone) };
        }
        let exit = if error.chain().any(<dyn std::error::Error>::is::<tch::TchError>) {
            Exit::Failed
        } else {
            Exit::of_causes(error.as_ref()).unwrap_or(Exit::BadInput)
        };
        Self { code: exit.code(), is_quiet: false }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_output_that_cannot_be_written_is_named_and_not_called_bad_input() {
        let error = write(Path::new("/dev/full"), b"x").unwrap_err();
        insta::assert_snapshot!(error, @"cannot write /dev/full: No space left on device (os error 28)");
        assert_eq!(Ending::of(&error), Ending { code: 1, is_quiet: false });
        assert_eq!(Ending::of(&anyhow!("no such image")), Ending { code: 2, is_quiet: false });
        assert_eq!(Ending::of(&tch::TchError::Torch("internal".to_owned()).into()).code, 1);
        assert_eq!(Ending::of(&StdoutError::ReaderGone.into()), Ending { code: 141, is_quiet: true });
    }
}
