//! Reads an unfinished pack from its beginning, so that its writer can continue.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::content::{ContentDigest, decode};
use super::{LANDMARK_BYTES, LANDMARK_FILE, PIXELS, PackError, SAMPLES, Sample, Split, image_bytes, index};

/// What a writer has safely on disk, so that another one can continue after it was killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Samples per split, in the order of `Split::ALL`.
    pub samples: [u64; 3],
    /// Samples that have landmarks.
    pub with_landmarks: u64,
    /// Bytes of the sample list.
    pub index_bytes: u64,
    /// Digest of the content so far, to detect damage to staged bytes.
    pub digest: String,
}

impl Checkpoint {
    pub(super) fn landmark_bytes(&self) -> u64 {
        self.with_landmarks * LANDMARK_BYTES as u64
    }

    pub(super) fn pixel_bytes(&self, image_size: u32) -> u64 {
        self.samples.iter().sum::<u64>() * image_bytes(image_size) as u64
    }
}

/// The state of a writer after the staged samples.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) content: ContentDigest,
    pub(super) last: Split,
    /// Ids of the last split.
    pub(super) ids: HashSet<String>,
}

/// Reads what `staging` holds up to `reached`, one sample at a time, and compares it with the digest. Writes nothing.
pub(super) fn reread(staging: &Path, image_size: u32, reached: &Checkpoint) -> Result<Staged, PackError> {
    let path = staging.join(SAMPLES);
    let mut text = String::new();
    let index = File::open(&path).and_then(|file| file.take(reached.index_bytes).read_to_string(&mut text));
    index.map_err(PackError::io(&path))?;
    let entries = index::parse(&text).map_err(|(line, reason)| PackError::Index {
        path: path.clone(),
        line,
        reason,
    })?;
    let marked = entries.iter().filter(|entry| entry.has_landmarks).count() as u64;
    let of = |split| entries.iter().filter(|entry| entry.split == split).count() as u64;
    if (Split::ALL.map(of), marked) != (reached.samples, reached.with_landmarks) {
        let reason = "the list has other samples than the checkpoint".to_owned();
        return Err(PackError::Index { path, line: entries.len() + 1, reason });
    }
    let mut landmarks = Source::open(staging, LANDMARK_FILE)?;
    let mut pixels = Source::open(staging, PIXELS)?;
    let mut staged =
        Staged { content: ContentDigest::new(image_size), last: Split::Train, ids: HashSet::new() };
    let (mut points, mut image) = (vec![0; LANDMARK_BYTES], vec![0; image_bytes(image_size)]);
    for entry in &entries {
        if entry.has_landmarks {
            landmarks.fill(&mut points)?;
        }
        pixels.fill(&mut image)?;
        let marks = entry.has_landmarks.then(|| decode(&points));
        staged.content.add(&Sample {
            split: entry.split,
            id: entry.id,
            label: entry.label,
            landmarks: marks.as_ref(),
            pixels: &image,
        });
        if entry.split > staged.last {
            staged.last = entry.split;
            staged.ids.clear();
        }
        staged.ids.insert(entry.id.to_owned());
    }
    let (found, expected) = (staged.content.clone().finish(), reached.digest.clone());
    if found != expected {
        return Err(PackError::Digest { dir: staging.to_owned(), found, expected });
    }
    Ok(staged)
}

/// A file read from its beginning.
struct Source {
    path: PathBuf,
    file: BufReader<File>,
}

impl Source {
    fn open(dir: &Path, name: &str) -> Result<Self, PackError> {
        let path = dir.join(name);
        let file = BufReader::new(File::open(&path).map_err(PackError::io(&path))?);
        Ok(Self { path, file })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), PackError> {
        self.file.read_exact(bytes).map_err(PackError::io(&self.path))
    }
}
