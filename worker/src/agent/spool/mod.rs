//! Keeps on disk what a worker has trained and the server does not have yet, so that it survives the worker.
//!
//! `<cache>/spool/<worker>/<job>/` holds the newest checkpoints and, at the end, the result with everything it points to.
//! A worker process locks its folder; the next one on this machine finds the folders that nobody locks any more and
//! hands in what is in them. Only the owner can read folders and files. A worker has one job at a time, so it leaves at
//! most two checkpoints and one result behind, and only if it died or ended while the server was away.

mod files;
mod job;
mod life;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::ids::WorkerId;

use super::work::WorkClaim;
pub(super) use files::{Content, SpoolError};
pub use job::JobSpool;
use life::{Leftovers, Life};

/// One worker's spool.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    /// `None` where nothing can be written.
    life: Option<Arc<Life>>,
}

impl Spool {
    /// A spool below `cache` for the worker process `me`. If that cannot be written the worker still works, but what the
    /// server does not have is lost with it, and the log says so.
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

    /// What dead workers left, by their folders' names. It stays locked until dropped.
    pub(super) fn leftovers(&self) -> Vec<Leftovers> {
        let own = self.life.as_ref().map(|life| life.folder.as_path());
        files::folders(&self.root)
            .into_iter()
            .filter(|folder| Some(folder.as_path()) != own)
            .filter_map(|folder| Leftovers::take(folder).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests;
