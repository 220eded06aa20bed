//! The folders of worker processes in the spool. A lock tells the folders of living workers from those of dead ones.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use shared::ids::WorkerId;

use super::files;

const LOCK: &str = "lock";

/// The folder of a worker process, locked while any part of it is in use.
#[derive(Debug)]
pub(super) struct WorkerFolder {
    pub(super) path: PathBuf,
    _lock: File,
}

impl WorkerFolder {
    /// Locks the folder before it gets its final name, so that nobody mistakes it for a dead worker's in between.
    pub(super) fn begin(root: &Path, me: &WorkerId) -> std::io::Result<Self> {
        let unfinished = root.join(format!(".{me}"));
        private_folder(&unfinished)?;
        let lock = lock_file(&unfinished)?;
        lock.lock()?;
        let path = root.join(me.as_str());
        std::fs::rename(&unfinished, &path)?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for WorkerFolder {
    /// A worker that ends normally leaves nothing. What remains is for the next worker.
    fn drop(&mut self) {
        remove_if_empty(&self.path);
    }
}

/// The folder of a dead worker.
#[derive(Debug)]
pub(in super::super) struct Leftovers {
    folder: PathBuf,
    _lock: File,
}

impl Leftovers {
    pub(super) fn take(folder: PathBuf) -> std::io::Result<Self> {
        let lock = lock_file(&folder)?;
        lock.try_lock()?;
        Ok(Self { folder, _lock: lock })
    }

    /// The folders of its jobs.
    pub(in super::super) fn jobs(&self) -> Vec<PathBuf> {
        files::folders(&self.folder)
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        remove_if_empty(&self.folder);
    }
}

/// Removes a folder that contains no job.
fn remove_if_empty(folder: &Path) {
    if files::folders(folder).is_empty() {
        let _gone_or_in_use = std::fs::remove_file(folder.join(LOCK));
        let _gone_or_in_use = std::fs::remove_dir(folder);
    }
}

pub(super) fn private_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn lock_file(folder: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join(LOCK))
}
