//! What a worker has trained and the server does not have yet, on disk: it outlives the server's absence and the worker.
//!
//! `<cache>/spool/<worker>/<job>/` holds the newest checkpoints and, at the end, the result with all that it points to.
//! A life of a worker locks its folder; the next one on this machine finds the folders that nobody locks any more and
//! hands in what is in them. Folders and files belong to their owner alone. A worker works on one job at a time, so a
//! life leaves at most two checkpoints and one result behind, and only where it ended while the server was away.

mod files;
mod job;

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::ids::WorkerId;

use super::work::WorkClaim;
pub(super) use files::{Content, SpoolError};
pub use job::JobSpool;

const LOCK: &str = "lock";

/// One worker's spool.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    /// `None` where nothing can be written.
    life: Option<Arc<Life>>,
}

/// The folder of one life, locked for as long as anything of it is in use.
#[derive(Debug)]
struct Life {
    folder: PathBuf,
    _lock: File,
}

impl Spool {
    /// A spool below `cache` for the worker life `me`. Where that cannot be written the worker still works, but what the
    /// server does not have is lost with it: the log says so.
    pub fn open(cache: &Path, me: &WorkerId) -> Self {
        let root = cache.join("spool");
        let life = match Life::begin(&root, me) {
            Ok(life) => Some(Arc::new(life)),
            Err(error) => {
                let place = root.display();
                tracing::warn!(
                    "{place} cannot be used: {error}; while the server is away, work is kept in memory only \
                     (choose another cache with --cache)"
                );
                None
            }
        };
        Self { root, life }
    }

    /// The place of a job that was just claimed.
    pub(super) fn job(&self, claim: WorkClaim) -> JobSpool {
        JobSpool::begin(self.life.clone(), claim)
    }

    /// What workers that are gone have left, by their folders' names. They stay locked until dropped.
    pub(super) fn orphans(&self) -> Vec<Orphan> {
        let own = self.life.as_ref().map(|life| life.folder.as_path());
        files::folders(&self.root)
            .into_iter()
            .filter(|folder| Some(folder.as_path()) != own)
            .filter_map(|folder| Orphan::adopt(folder).ok())
            .collect()
    }
}

impl Life {
    /// Locked before it has its name: nobody takes it for an orphan in between.
    fn begin(root: &Path, me: &WorkerId) -> std::io::Result<Self> {
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
    /// Nothing is left in good order; what is left is for the next life.
    fn drop(&mut self) {
        tidy(&self.folder);
    }
}

/// The folder of a worker that is gone.
#[derive(Debug)]
pub(super) struct Orphan {
    folder: PathBuf,
    _lock: File,
}

impl Orphan {
    fn adopt(folder: PathBuf) -> std::io::Result<Self> {
        let lock = lock_file(&folder)?;
        lock.try_lock()?;
        Ok(Self { folder, _lock: lock })
    }

    /// The folders of its jobs.
    pub(super) fn jobs(&self) -> Vec<PathBuf> {
        files::folders(&self.folder)
    }
}

impl Drop for Orphan {
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

fn private_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn lock_file(folder: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join(LOCK))
}

#[cfg(test)]
mod tests;
