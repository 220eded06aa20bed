//! The part of a living worker's spool that belongs to one job.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use shared::books::KEPT_CHECKPOINTS;
use shared::log::JobLog;
use tokio::time::Instant;

use super::super::training::Keeper;
use super::super::work::{Finished, FinishedWork, Saved, WorkClaim};
use super::files::{self, SpoolError};
use super::worker_folder::{WorkerFolder, private_folder};

/// What a short job has done in less time is trained again if its worker dies.
const WORTH_KEEPING: Duration = Duration::from_secs(1);

/// Where a training stores what the server does not have yet. Clones share the folder. Nothing here returns an error:
/// work that cannot be stored is only less safe, and is logged.
#[derive(Debug, Clone)]
pub struct JobSpool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    claim: WorkClaim,
    worker_folder: Option<Arc<WorkerFolder>>,
    since: Instant,
    /// `None` if it cannot be written. Not set before there is anything to keep.
    place: OnceLock<Option<SpoolFolder>>,
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
    /// Begins with an empty folder, so that the next worker on this machine knows of the job.
    pub(super) fn begin(worker_folder: Option<Arc<WorkerFolder>>, claim: WorkClaim) -> Self {
        let spool = Self::of_short_job(worker_folder, claim);
        let _made = spool.place();
        spool
    }

    /// Begins without a folder. It is made as soon as there is something to keep, if the job has lasted long enough by
    /// then: files for each of many short jobs take a disk longer than to train them again.
    pub(super) fn of_short_job(worker_folder: Option<Arc<WorkerFolder>>, claim: WorkClaim) -> Self {
        let (since, place, kept) = (Instant::now(), OnceLock::new(), Mutex::default());
        Self { inner: Arc::new(Inner { claim, worker_folder, since, place, kept }) }
    }

    /// The folder, which is made if it is not there yet.
    fn place(&self) -> Option<&SpoolFolder> {
        let Inner { claim, worker_folder, place, .. } = &*self.inner;
        let made = place.get_or_init(|| {
            let worker_folder = worker_folder.clone()?;
            let folder = worker_folder.path.join(claim.order.job.to_string());
            begin(&folder, claim).inspect_err(warn_unsaved).ok()?;
            Some(SpoolFolder { folder, _worker_folder: worker_folder })
        });
        made.as_ref()
    }

    /// The folder, if what the job has done so far is worth keeping.
    fn worthy_place(&self) -> Option<&SpoolFolder> {
        let is_begun = self.inner.place.get().is_some();
        if is_begun || self.inner.since.elapsed() >= WORTH_KEEPING { self.place() } else { None }
    }

    /// The folder, if there is one.
    fn made_place(&self) -> Option<&SpoolFolder> {
        self.inner.place.get()?.as_ref()
    }

    pub(crate) fn claim(&self) -> &WorkClaim {
        &self.inner.claim
    }

    /// Removes this checkpoint and those before it, because the server has it.
    pub(crate) fn delivered(&self, saved: &Saved) {
        let Some(place) = self.made_place() else { return };
        let mut kept = self.kept();
        while let Some(oldest) = kept.front().copied().filter(|&place| place <= (saved.epoch, saved.step)) {
            kept.pop_front();
            files::remove_saved(&place.folder, oldest);
        }
    }

    /// Removes everything of the job.
    pub(crate) fn clear(&self) {
        if let Some(place) = self.made_place() {
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
        let Some(place) = self.worthy_place() else { return };
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

    fn keep_result(&self, finished: Finished, log: JobLog) -> Result<FinishedWork, String> {
        let finished_work = FinishedWork::of(self.claim(), finished)?.logged(log);
        if let Some(place) = self.worthy_place()
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
