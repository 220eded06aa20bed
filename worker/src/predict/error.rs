//! Why a prediction fails. Each message names the file and says what to do.

use std::path::{Path, PathBuf};

use shared::ids::JobId;
use shared::pack::{PackError, Split};
use shared::predicted::TableError;
use shared::settings::SettingError;
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
    #[error("no model was named")]
    NoMember,
    #[error("jobs {first} and {other} were trained on different datasets and cannot vote together")]
    Datasets { first: JobId, other: JobId },
    #[error(transparent)]
    Vote(#[from] VoteError),
    #[error(
        "the model does not record the image size of its dataset, so the images of a folder cannot be prepared as in \
         training: import the folder (`ferry data import`) and name the pack, or train the model again"
    )]
    NoStoredSize,
    #[error("{}: neither a folder of images nor a pack", .0.display())]
    NoFolder(PathBuf),
    #[error("{}: there is no image in this folder", .0.display())]
    NoImage(PathBuf),
    #[error("{}: none of the {count} images can be read; the first: {first}", path.display())]
    AllBroken { path: PathBuf, count: usize, first: String },
    #[error("{}: the pack has no {split} images; choose another with --split", path.display())]
    EmptySplit { path: PathBuf, split: Split },
    #[error("{}: {problem}", path.display())]
    List { path: PathBuf, problem: TableError },
    #[error("{}: no image on this list is in {}", list.display(), images.display())]
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

/// Why a model's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelProblem {
    #[error("not a model written by Ferry: {0}")]
    Archive(#[from] ArchiveError),
    #[error("not a finished model but `{0}`: name a file in the `models` folder of a run")]
    Format(String),
    #[error("its metadata cannot be read ({0}): update this program")]
    Facts(#[from] serde_json::Error),
    #[error("{0}: it was trained by another version of this program")]
    Setting(#[from] SettingError),
    #[error(
        "its SHA-256 is {found}, but the run recorded {expected}: remove the file and repeat the `ferry run` command, \
         which stores it again"
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
    /// For `map_err`: adds `path` to an I/O error.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
