//! Errors of run folders: each message names the file and what to do.

use std::io;
use std::path::{Path, PathBuf};

use shared::ids::JobId;
use shared::version::VersionError;

/// Why a run folder could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    #[error("cannot {action} {}: {source}. Check that the disk has space and that the folder may be written.", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not a run folder: it has no plan.json. Name the folder of a sweep, such as runs/demo.", path.display())]
    NotARun { path: PathBuf },
    #[error(
        "the run folder {} was deleted or moved while the sweep was running. No result is lost: run the same command \
         again, and it writes the folder again.",
        path.display()
    )]
    Gone { path: PathBuf },
    #[error(
        "{} is in use by another `ferry run` (process {process}). Wait for it, or choose another folder with --out.",
        path.display()
    )]
    InUse { path: PathBuf, process: String },
    #[error("{} belongs to the sweep `{found}`, not to `{wanted}`. Choose another folder with --out.", path.display())]
    OtherSweep { path: PathBuf, found: String, wanted: String },
    #[error(
        "the plan of `{sweep}` has no dataset digest: its job ids are provisional. Make or import the dataset first."
    )]
    NoDataset { sweep: String },
    #[error("{} {source}, or run the sweep into another folder with --out.", path.display())]
    Version { path: PathBuf, source: VersionError },
    #[error("{} is damaged: {problem}. {remedy}", path.display())]
    Damaged { path: PathBuf, problem: String, remedy: String },
    #[error(
        "job {job} is not in the plan of this run folder; nothing was written. Write the new plan first."
    )]
    UnknownJob { job: JobId },
    #[error("the result of job {job} was refused, nothing was written: {problem}")]
    Refused { job: JobId, problem: String },
    #[error("the {split} sample list cannot be stored: {problem}")]
    Samples { split: String, problem: String },
}

impl RunDirError {
    /// For `map_err`: an I/O error with the action and the file.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// A damaged file of one job's result. Running the sweep again restores it.
    pub(super) fn damaged_result(job: JobId, path: &Path, problem: impl Into<String>) -> Self {
        let remedy = format!(
            "Remove results/{job}.json and run the same `ferry run` command again: it stores that job again."
        );
        Self::Damaged { path: path.to_owned(), problem: problem.into(), remedy }
    }

    /// A damaged file of the whole run.
    pub(super) fn damaged_run(path: &Path, problem: impl Into<String>) -> Self {
        let remedy =
            "Remove it and run the same `ferry run` command again: it writes this file again.".to_owned();
        Self::Damaged { path: path.to_owned(), problem: problem.into(), remedy }
    }
}
