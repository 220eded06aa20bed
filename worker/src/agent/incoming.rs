//! Unfinished downloads in the cache. They survive a restart, so that an interrupted download continues.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many workers can download the same file into one cache at the same time.
const LANES: usize = 256;

/// The path of an unfinished download, locked against other workers. The lock ends with the process; the bytes stay for
/// the next process.
pub(super) struct Incoming {
    path: PathBuf,
    lock: PathBuf,
    _held: File,
}

impl Incoming {
    /// The first path for `name` in `folder` that no living worker has locked.
    pub(super) fn claim(folder: &Path, name: &str) -> io::Result<Self> {
        for lane in 0..LANES {
            let lock = folder.join(format!(".{name}.{lane}.lock"));
            let held = File::options().create(true).truncate(false).write(true).open(&lock)?;
            match held.try_lock() {
                // Its last holder may have removed the file meanwhile. Then this lock protects nothing.
                Ok(()) if lock.exists() => {
                    let path = folder.join(format!(".{name}.{lane}.partial"));
                    return Ok(Self { path, lock, _held: held });
                }
                Ok(()) | Err(std::fs::TryLockError::WouldBlock) => {}
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other(format!("more than {LANES} workers download {name} into this cache")))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the files. If that fails, it does no harm: the next download continues with them.
    pub(super) fn discard(self) {
        let _file = std::fs::remove_file(&self.path);
        let _folder = std::fs::remove_dir_all(&self.path);
        let _lock = std::fs::remove_file(&self.lock);
    }
}

/// Logs a download: its size before it starts, then its progress.
pub(super) struct Arrival {
    what: String,
    size: u64,
    arrived: u64,
    told: Instant,
}

const TELL_EVERY: Duration = Duration::from_secs(10);

impl Arrival {
    pub(super) fn announce(what: &str, size: u64) -> Self {
        tracing::info!("downloading {what}, {}", megabytes(size));
        Self { what: what.to_owned(), size, arrived: 0, told: Instant::now() }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.arrived += bytes;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            tracing::info!("{}: {} of {}", self.what, megabytes(self.arrived), megabytes(self.size));
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_download_has_one_owner_and_outlives_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Incoming::claim(dir.path(), "d").unwrap();
        let second = Incoming::claim(dir.path(), "d").unwrap();
        assert_ne!(first.path(), second.path());
        std::fs::write(first.path(), "half").unwrap();
        let left = first.path().to_owned();
        drop(first); // As a killed worker does.
        let again = Incoming::claim(dir.path(), "d").unwrap();
        assert_eq!(
            (again.path(), std::fs::read(again.path()).unwrap().as_slice()),
            (left.as_path(), &b"half"[..])
        );
        again.discard();
        second.discard();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing stays behind");
    }
}
