//! The folders of a worker's lives in the spool: a lock tells those of living workers from those of dead ones.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use shared::ids::WorkerId;

use super::files;

const LOCK: &str = "lock";

/// The folder of one life, locked for as long as anything of it is in use.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) folder: PathBuf,
    _lock: File,
}

impl Life {
    /// Locks the folder before it gets its name, so that nobody takes it for a dead worker's in between.
    pub(super) fn begin(root: &Path, me: &WorkerId) -> std::io::Result<Self> {
        let unfinished = root.join(format!(".{me}"));
        private_folder(&unfinished)?;
        let lock = lock_file(&unfinished)?;
        lock.lock()?;
        let folder = root.join(me.as_str());
        std::fs::rename(&unfinished, &folder)?;
        Ok(Self { folder, _lock: lock })
    }
}

impl Drop for Life {
    /// A worker that ends in good order leaves nothing; what is left is for the next one.
    fn drop(&mut self) {
        tidy(&self.folder);
    }
}

/// The folder of a worker that is dead.
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
        tidy(&self.folder);
    }
}

/// Removes a folder that holds no job any more.
fn tidy(folder: &Path) {
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
