//! How Ferry's programs end: the exit codes and their meaning, in one place.

use std::error::Error;
use std::io;
use std::process::ExitCode;

/// Why a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The work is done.
    Done,
    /// Something failed that is not the caller's fault: the work, a server, a disk, an error in Ferry. Trying again may
    /// help.
    Failed,
    /// The command line, a file or the machine must be changed before the command can work.
    BadInput,
    /// `ferry verify` has trained a job again, and the result is another one.
    NotReproduced,
    /// Stopped by Ctrl-C or a signal.
    Interrupted,
}

/// The table as `--help` shows it.
pub const TABLE: &str = "\
Exit codes:
  0    done
  1    failure of a job, a server, a disk or Ferry itself; retrying may help
  2    bad input: correct the command line or the file named in the message
  3    `ferry verify`: the job was trained again with another result
  130  interrupted";

impl Exit {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::NotReproduced => 3,
            Self::Interrupted => 130,
        }
    }

    /// A path that does not lead to a readable file is bad input; every other I/O error is a failure.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData => Self::BadInput,
            _ => Self::Failed,
        }
    }

    /// [`Self::of_io`] of the first I/O error among `error` and its causes; `None` where there is none.
    pub fn of_causes(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut causes = std::iter::successors(Some(error), |&cause| cause.source());
        causes.find_map(|cause| cause.downcast_ref::<io::Error>()).map(Self::of_io)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_code() {
        for exit in [Exit::Done, Exit::Failed, Exit::BadInput, Exit::NotReproduced, Exit::Interrupted] {
            assert!(TABLE.contains(&format!("\n  {:<5}", exit.code())), "{exit:?}");
        }
    }

    #[test]
    fn a_full_disk_is_a_failure_and_a_missing_file_is_bad_input() {
        assert_eq!(Exit::of_io(&io::Error::from(io::ErrorKind::StorageFull)), Exit::Failed);
        assert_eq!(Exit::of_io(&io::Error::from(io::ErrorKind::NotFound)), Exit::BadInput);
        let nested = io::Error::other(io::Error::other("inner"));
        assert_eq!(Exit::of_causes(&nested), Some(Exit::Failed));
    }
}
