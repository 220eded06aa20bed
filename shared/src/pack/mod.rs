//! The dataset pack: decoded images, labels, landmarks and splits in one folder, identified by its content.
//!
//! Four files: `pack.json` (sizes, digest, provenance), `samples.csv` (one line per sample, in order),
//! `landmarks.f32` (68 x 2 little-endian f32 per sample that has landmarks) and `pixels.bin` (H x W x 3 bytes per
//! sample, RGB). Samples lie in split order, so every split is one contiguous range. A pack is written once,
//! atomically, and never changed.

mod content;
mod error;
mod folder;
mod index;
mod manifest;
mod reader;
mod resume;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::expression::LANDMARKS;

pub use error::PackError;
pub use folder::destination;
pub use manifest::VERSION;
pub use reader::Pack;
pub use resume::Checkpoint;
pub use writer::PackWriter;

/// The largest height and width of the images in a pack, in pixels.
const MAX_IMAGE_SIZE: u32 = 4096;

/// 68 points (x, y) in [-1, 1] of the image: x to the right, y down; -1 and 1 are the outer edges of the image.
pub type Landmarks = [[f32; 2]; LANDMARKS];

/// Which part of a dataset a sample belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    Validation,
    Test,
}

impl Split {
    /// All splits in their stored order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name in files and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One sample to be written to a pack.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    pub split: Split,
    /// Unique within the split, usually the file's name; one line of text.
    pub id: &'a str,
    /// Class index; a training or validation sample must have one.
    pub label: Option<u8>,
    /// A training sample must have landmarks.
    pub landmarks: Option<&'a Landmarks>,
    /// H x W x 3 bytes, RGB.
    pub pixels: &'a [u8],
}

/// Checks the rules for a sample of a pack.
fn check(split: Split, label: Option<u8>, has_landmarks: bool) -> Result<(), String> {
    if label.is_none() && split != Split::Test {
        return Err(format!("a {split} sample needs a label"));
    }
    if label.is_some_and(|class| usize::from(class) >= crate::expression::CLASSES) {
        return Err("the label is not a class index from 0 to 5".to_owned());
    }
    if !has_landmarks && split == Split::Train {
        return Err("a training sample needs landmarks".to_owned());
    }
    Ok(())
}

const MANIFEST: &str = "pack.json";
const SAMPLES: &str = "samples.csv";
const LANDMARK_FILE: &str = "landmarks.f32";
const PIXELS: &str = "pixels.bin";

const LANDMARK_BYTES: usize = LANDMARKS * 2 * size_of::<f32>();

/// The names of the files that make up a pack. To copy a pack, copy exactly these.
pub const FILES: [&str; 4] = [MANIFEST, SAMPLES, LANDMARK_FILE, PIXELS];

/// The paths of the pack's files under `dir`.
pub fn files(dir: &Path) -> [PathBuf; 4] {
    FILES.map(|name| dir.join(name))
}

/// Bytes of one image of `image_size` x `image_size` RGB pixels.
fn image_bytes(image_size: u32) -> usize {
    image_size as usize * image_size as usize * 3
}
