//! The part of a living worker's spool that belongs to one job.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use shared::books::KEPT_CHECKPOINTS;

use super::super::training::Keeper;
use super::super::work::{Finished, FinishedWork, Saved, WorkClaim};
use super::files::{self, SpoolError};
use super::worker_folder::{WorkerFolder, private_folder};

/// Where a training stores what the server does not have yet. Clones share the folder. Nothing here returns an error:
/// work that cannot be stored is only less safe, and is logged.
#[derive(Debug, Clone)]
pub struct JobSpool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    claim: WorkClaim,
    place: Option<SpoolFolder>,
    /// Epoch and step of the checkpoints on disk, oldest first.
    kept: Mutex<VecDeque<(u32, u32)>>,
}

#[derive(Debug)]
struct SpoolFolder {
    folder: PathBuf,
    /// Keeps the worker's folder locked.
    _worker_folder: Arc<WorkerFolder>,
}

impl JobSpool {
    pub(super) fn begin(worker_folder: Option<Arc<WorkerFolder>>, claim: WorkClaim) -> Self {
        let place = worker_folder.and_then(|worker_folder| {
            let folder = worker_folder.path.join(claim.order.job.to_string());
            let made = begin(&folder, &claim);
            made.inspect_err(warn_unsaved).ok()?;
            Some(SpoolFolder { folder, _worker_folder: worker_folder })
        });
        Self { inner: Arc::new(Inner { claim, place, kept: Mutex::default() }) }
    }

    pub(crate) fn claim(&self) -> &WorkClaim {
        &self.inner.claim
    }

    /// Removes this checkpoint and those before it, because the server has it.
    pub(crate) fn delivered(&self, saved: &Saved) {
        let Some(place) = &self.inner.place else { return };
        let mut kept = self.kept();
        while let Some(oldest) = kept.front().copied().filter(|&place| place <= (saved.epoch, saved.step)) {
            kept.pop_front();
            files::remove_saved(&place.folder, oldest);
        }
    }

    /// Removes everything of the job.
    pub(crate) fn clear(&self) {
        if let Some(place) = &self.inner.place {
            let _gone = std::fs::remove_dir_all(&place.folder);
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<(u32, u32)>> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper for JobSpool {
    /// Stores a checkpoint. If there are more than [`KEPT_CHECKPOINTS`], the oldest is removed.
    fn keep(&self, saved: &Saved) {
        let Some(place) = &self.inner.place else { return };
        match files::write_saved(&place.folder, saved) {
            Ok(()) => {
                let mut kept = self.kept();
                kept.push_back((saved.epoch, saved.step));
                while kept.len() > KEPT_CHECKPOINTS
                    && let Some(oldest) = kept.pop_front()
                {
                    files::remove_saved(&place.folder, oldest);
                }
            }
            Err(error) => warn_unsaved(&error),
        }
    }

    fn keep_result(&self, finished: Finished) -> Result<FinishedWork, String> {
        let finished_work = FinishedWork::of(self.claim(), finished)?;
        if let Some(place) = &self.inner.place
            && let Err(error) = files::write_result(&place.folder, &finished_work)
        {
            warn_unsaved(&error);
        }
        Ok(finished_work)
    }
}

/// Creates an empty folder. What an earlier attempt of the same process left there is no longer needed.
fn begin(folder: &PathBuf, claim: &WorkClaim) -> Result<(), SpoolError> {
    let io = |source| SpoolError::Io { path: folder.clone(), source };
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(io)?;
    }
    private_folder(folder).map_err(io)?;
    files::write_claim(folder, claim)
}

fn warn_unsaved(error: &SpoolError) {
    tracing::warn!(
        "cannot store work on disk: {error}; the work is lost if this worker ends before the server has it"
    );
}
