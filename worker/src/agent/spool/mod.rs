//! Stores trained work that the server does not have yet on disk, so that it outlives the worker.
//!
//! `<cache>/spool/<worker>/<job>/` contains the newest checkpoints and, at the end, the result with everything it points
//! to. A worker process locks its folder. The next worker on this machine finds the folders that are no longer locked,
//! and hands in their contents. Only their owner can read the folders and files. A worker
//! leaves at most two checkpoints and one result of each job behind, and only if it died or ended while the server was
//! away.

mod files;
mod job;
mod worker_folder;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::ids::WorkerId;

use super::work::WorkClaim;
pub(super) use files::{Content, SpoolError};
pub use job::JobSpool;
use worker_folder::{Leftovers, WorkerFolder};

/// One worker's spool.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    /// `None` if it cannot be written.
    worker_folder: Option<Arc<WorkerFolder>>,
}

impl Spool {
    /// A spool below `cache` for the worker process `me`. If it cannot be written, a warning is logged. The worker still
    /// works, but when it ends, it loses what the server does not have.
    pub fn open(cache: &Path, me: &WorkerId) -> Self {
        let root = cache.join("spool");
        let worker_folder = match WorkerFolder::begin(&root, me) {
            Ok(folder) => Some(Arc::new(folder)),
            Err(error) => {
                let place = root.display();
                tracing::warn!(
                    "{place} cannot be used: {error}; while the server is away, work is kept in memory only \
                     (choose another cache with --cache)"
                );
                None
            }
        };
        Self { root, worker_folder }
    }

    /// The spool of a job that was just claimed.
    pub(super) fn job(&self, claim: WorkClaim) -> JobSpool {
        JobSpool::begin(self.worker_folder.clone(), claim)
    }

    /// The spool of one of many short jobs.
    pub(super) fn short_job(&self, claim: WorkClaim) -> JobSpool {
        JobSpool::of_short_job(self.worker_folder.clone(), claim)
    }

    /// The folders of dead workers, sorted by name. They stay locked until dropped.
    pub(super) fn leftovers(&self) -> Vec<Leftovers> {
        let own = self.worker_folder.as_ref().map(|folder| folder.path.as_path());
        files::folders(&self.root)
            .into_iter()
            .filter(|folder| Some(folder.as_path()) != own)
            .filter_map(|folder| Leftovers::take(folder).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests;
