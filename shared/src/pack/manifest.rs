//! `pack.json`: format version, sizes, digest and provenance.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MANIFEST, MAX_IMAGE_SIZE, PackError, image_bytes};
use crate::version::{DecodeError, Versions};

/// The pack format that this build writes and reads. Raise it when the layout or the digest changes.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) version: u32,
    pub(super) image_size: u32,
    /// Samples per split, in the order of `Split::ALL`.
    pub(super) samples: [u64; 3],
    /// Samples that have landmarks.
    pub(super) with_landmarks: u64,
    /// Bytes of `samples.csv`.
    pub(super) index_bytes: u64,
    pub(super) digest: String,
    /// Where the pack comes from, for people; not part of the digest.
    #[serde(default)]
    pub(super) provenance: Value,
}

impl Manifest {
    pub(super) fn read(dir: &Path) -> Result<Self, PackError> {
        let path = dir.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => PackError::NotAPack(dir.to_owned()),
            _ => PackError::io(&path)(source),
        })?;
        let damaged = |reason: String| PackError::Manifest { path: path.clone(), reason };
        let manifest: Self =
            Versions::up_to(VERSION).spelled_out().decode(text.as_bytes()).map_err(|error| match error {
                DecodeError::Version(source) => PackError::Version { path: path.clone(), source },
                DecodeError::Json(error) => damaged(error.to_string()),
            })?;
        manifest.check().map_err(damaged)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=MAX_IMAGE_SIZE).contains(&self.image_size) {
            return Err(format!("image_size {} is not between 1 and {MAX_IMAGE_SIZE}", self.image_size));
        }
        if self.digest.len() != 64 || !self.digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("digest is not 64 hexadecimal digits".into());
        }
        let total = self.samples.iter().try_fold(0u64, |sum, &n| sum.checked_add(n));
        total
            .filter(|&total| self.with_landmarks <= total)
            .and_then(|total| total.checked_mul(image_bytes(self.image_size) as u64))
            .map(drop)
            .ok_or_else(|| "the counts are impossible".into())
    }
}
