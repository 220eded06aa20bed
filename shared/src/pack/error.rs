//! Errors of packs: which file, what is wrong, what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::version::VersionError;

/// Why a pack cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("{} is not a pack: it has no pack.json; make one with `ferry data import` or `ferry data synth`", .0.display())]
    NotAPack(PathBuf),
    #[error("{} {source}, or make the pack again", .path.display())]
    Version { path: PathBuf, source: VersionError },
    #[error("{}: {reason}; the file is damaged; make the pack again", .path.display())]
    Manifest { path: PathBuf, reason: String },
    #[error("{}:{line}: {reason}; the file is damaged; make the pack again", .path.display())]
    Index { path: PathBuf, line: usize, reason: String },
    #[error("{}: it has {found} bytes instead of {expected}; the file is truncated or belongs to another pack; copy it again or make the pack again", .path.display())]
    Size { path: PathBuf, found: u64, expected: u64 },
    #[error("{}: the content has digest {found}, pack.json says {expected}; the pack was damaged or edited; make it again", .dir.display())]
    Digest { dir: PathBuf, found: String, expected: String },
    #[error("{split} sample {id:?} cannot be packed: {reason}")]
    Sample { split: super::Split, id: String, reason: String },
    #[error("image size {0} is not between 1 and {max}", max = super::MAX_IMAGE_SIZE)]
    ImageSize(u32),
    #[error("{} is not a pack and is not replaced; name a new or empty folder", .0.display())]
    Occupied(PathBuf),
    #[error("{} links to {}, which cannot be made: make its folder first, or fix the link", .dir.display(), .to.display())]
    Link { dir: PathBuf, to: PathBuf },
    #[error("{} is a mount point and cannot be replaced; name a folder in it", .0.display())]
    MountPoint(PathBuf),
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl PackError {
    /// For `map_err`: an I/O error at `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
