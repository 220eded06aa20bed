//! One `ferry run` at a time writes into a run folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};

use super::{RunDir, RunDirError};

/// Held while a run writes into a run folder. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct RunDirLock {
    _file: Option<File>,
}

impl RunDir {
    /// Takes the folder for this process.
    ///
    /// # Errors
    /// [`RunDirError::InUse`] when another process has it, and when the lock file cannot be written.
    pub fn lock(&self) -> Result<RunDirLock, RunDirError> {
        let path = self.root.join(".lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let mut file = options.open(&path).map_err(RunDirError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // It is only told.
                let _unknown = file.read_to_string(&mut process);
                let (path, process) = (self.root.clone(), process.trim().to_owned());
                return Err(RunDirError::InUse { path, process });
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "nobody can tell whether {} is in use", self.root.display());
                return Ok(RunDirLock { _file: None });
            }
        }
        file.set_len(0)
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(RunDirError::io("write", &path))?;
        Ok(RunDirLock { _file: Some(file) })
    }
}
