//! Saves the books and everything they refer to in a folder, even while a sweep runs, and makes a state directory of it.
//!
//! ```text
//! BACKUP/
//!   SHA256SUMS       digest of every other file, as `sha256sum -c` reads it; written last
//!   manifest.json    the entries of the books, and where each blob belongs
//!   blobs/<sha256>   plans, checkpoints, probabilities, models, packs and weights, each once
//! ```
//! Running jobs are saved as pending, with their checkpoints, because the restored books have no workers that hold them.

mod manifest;
mod restore;
mod save;

use std::path::{Path, PathBuf};

use serde::Serialize;
use shared::bus::BusError;
use shared::ids::JobId;
use shared::version::VersionError;

use crate::broker::BrokerError;

pub use restore::restore;
pub use save::save;

/// Why a backup cannot be made or used. Nothing incomplete is left behind.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} exists already: name another place, or remove it", .0.display())]
    Occupied(PathBuf),
    #[error("{} is not a complete backup: {problem}", path.display())]
    Unusable { path: PathBuf, problem: String },
    #[error("the backup {} {source}", path.display())]
    Version { path: PathBuf, source: VersionError },
    #[error("{} is damaged: {problem}; nothing was restored", path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("cannot back up job {job}: {source}")]
    Job { job: JobId, source: BusError },
    #[error("job {0} replaced its checkpoints faster than they could be copied: try again")]
    TooFast(JobId),
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// What is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    pub jobs: usize,
    /// Of these: with their results.
    pub done: usize,
    /// Blobs, and their bytes.
    pub blobs: usize,
    pub bytes: u64,
    /// Checkpoints that the store no longer had whole: their jobs continue from the one before.
    pub left_out: usize,
}

/// Called with the number of finished steps and of all steps.
pub type Tell<'a> = &'a mut dyn FnMut(u64, u64);

const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
const BLOBS: &str = "blobs";

/// An error of a file or folder.
fn io(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { path, source }
}

/// Never overwrites anything: the place must be free, or an empty folder.
fn require_free(place: &Path) -> Result<(), BackupError> {
    let occupied = match std::fs::read_dir(place) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => place.exists(),
    };
    if occupied { Err(BackupError::Occupied(place.to_owned())) } else { Ok(()) }
}

/// A folder beside the final place, while it is incomplete; deleted unless it is kept.
struct PartialFolder {
    root: PathBuf,
    place: PathBuf,
}

impl PartialFolder {
    fn beside(place: &Path) -> Result<Self, BackupError> {
        require_free(place)?;
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let root = place.with_file_name(name);
        if root.exists() {
            std::fs::remove_dir_all(&root).map_err(io(&root))?; // Of one that was killed.
        }
        std::fs::create_dir_all(&root).map_err(io(&root))?;
        Ok(Self { root, place: place.to_owned() })
    }

    /// Moves the complete folder to its place. A rename replaces an empty folder.
    fn keep(self) -> Result<(), BackupError> {
        std::fs::rename(&self.root, &self.place).map_err(io(&self.place))
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.root)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "{} stays behind", self.root.display());
        }
    }
}
