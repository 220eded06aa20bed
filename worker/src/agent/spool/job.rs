//! One job's place in the spool of a living worker.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use shared::books::KEPT_CHECKPOINTS;

use super::super::work::{FinishedWork, Saved, WorkClaim};
use super::files::{self, SpoolError};
use super::life::{Life, private_folder};

/// Where a training keeps what the server does not have yet. Clones share the place. Nothing here fails: what cannot be
/// kept is only less safe, and the log says so.
#[derive(Debug, Clone)]
pub struct JobSpool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    claim: WorkClaim,
    place: Option<SpoolFolder>,
    /// Places of the checkpoints on disk, oldest first.
    kept: Mutex<VecDeque<(u32, u32)>>,
}

#[derive(Debug)]
struct SpoolFolder {
    folder: PathBuf,
    /// Keeps the lock.
    _life: Arc<Life>,
}

impl JobSpool {
    pub(super) fn begin(life: Option<Arc<Life>>, claim: WorkClaim) -> Self {
        let place = life.and_then(|life| {
            let folder = life.folder.join(claim.order.job.to_string());
            let made = begin(&folder, &claim);
            made.inspect_err(complain).ok()?;
            Some(SpoolFolder { folder, _life: life })
        });
        Self { inner: Arc::new(Inner { claim, place, kept: Mutex::default() }) }
    }

    pub(crate) fn claim(&self) -> &WorkClaim {
        &self.inner.claim
    }

    /// Keeps a checkpoint; of more than [`KEPT_CHECKPOINTS`] the oldest goes.
    pub(crate) fn keep(&self, saved: &Saved) {
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
            Err(error) => complain(&error),
        }
    }

    pub(crate) fn keep_result(&self, finished_work: &FinishedWork) {
        if let Some(place) = &self.inner.place
            && let Err(error) = files::write_result(&place.folder, finished_work)
        {
            complain(&error);
        }
    }

    /// The server has this checkpoint, or one after it.
    pub(crate) fn delivered(&self, saved: &Saved) {
        let Some(place) = &self.inner.place else { return };
        let mut kept = self.kept();
        while let Some(oldest) = kept.front().copied().filter(|&place| place <= (saved.epoch, saved.step)) {
            kept.pop_front();
            files::remove_saved(&place.folder, oldest);
        }
    }

    /// Nothing of the job is needed any more.
    pub(crate) fn clear(&self) {
        if let Some(place) = &self.inner.place {
            let _gone = std::fs::remove_dir_all(&place.folder);
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<(u32, u32)>> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the folder anew: what an earlier attempt of the same process left there is not needed any more.
fn begin(folder: &PathBuf, claim: &WorkClaim) -> Result<(), SpoolError> {
    let io = |source| SpoolError::Io { path: folder.clone(), source };
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(io)?;
    }
    private_folder(folder).map_err(io)?;
    files::write_claim(folder, claim)
}

fn complain(error: &SpoolError) {
    tracing::warn!(
        "this cannot be kept on disk: {error}; it is lost if this worker ends before the server has it"
    );
}
