//! Why nothing can be predicted: each message names the file and what to do about it.

use std::path::{Path, PathBuf};

use shared::ids::JobId;
use shared::job::SettingError;
use shared::pack::{PackError, Split};
use shared::predicted::TableError;
use shared::vote::VoteError;
use tch::TchError;

use crate::archive::ArchiveError;
use crate::data::FrameError;
use crate::models::ModelError;
use crate::train::TrainError;

/// Errors of [`super::predict`].
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: {problem}", path.display())]
    Model { path: PathBuf, problem: ModelProblem },
    #[error("there is no model to predict with")]
    NoMember,
    #[error("jobs {first} and {other} were trained on different datasets and cannot vote together")]
    Datasets { first: JobId, other: JobId },
    #[error(transparent)]
    Vote(#[from] VoteError),
    #[error(
        "the model does not say at which size its dataset stored the images, so a folder cannot be shown to it as in \
         training: import the folder (`ferry data import`) and name the pack, or train the model anew"
    )]
    NoStoredSize,
    #[error("{}: not a folder of images, nor a pack", .0.display())]
    NoFolder(PathBuf),
    #[error("{}: no image in this folder", .0.display())]
    NoImage(PathBuf),
    #[error("{}: none of {count} images can be read; the first: {first}", path.display())]
    AllBroken { path: PathBuf, count: usize, first: String },
    #[error("{}: the pack has no {split} images; choose another with --split", path.display())]
    EmptySplit { path: PathBuf, split: Split },
    #[error("{}: {problem}", path.display())]
    List { path: PathBuf, problem: TableError },
    #[error("{}: none of the images on the list is in {}", list.display(), images.display())]
    NothingListed { list: PathBuf, images: PathBuf },
    #[error("{}: {problem}", path.display())]
    Run { path: PathBuf, problem: String },
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// What is wrong with a model's file.
#[derive(Debug, thiserror::Error)]
pub enum ModelProblem {
    #[error("not a model that ferry wrote: {0}")]
    Archive(#[from] ArchiveError),
    #[error("not a finished model but `{0}`: name a file of a run's `models` folder")]
    Format(String),
    #[error("what it says of itself cannot be read ({0}): update this program")]
    Facts(#[from] serde_json::Error),
    #[error("{0}: it was trained by another version of this program")]
    Setting(#[from] SettingError),
    #[error(
        "its SHA-256 is {found}, the run recorded {expected}: remove it and give the `ferry run` command again, \
         which stores it anew"
    )]
    Digest { found: String, expected: String },
    #[error("it is the model of job {found}, not of {expected}")]
    OtherJob { found: JobId, expected: JobId },
    #[error(transparent)]
    Network(#[from] ModelError),
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

impl PredictError {
    /// For `map_err`: an I/O error at `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
