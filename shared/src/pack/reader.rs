//! Reads a pack: checks sizes when it opens, and maps pixels instead of loading them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde_json::Value;

use super::content::{ContentDigest, decode};
use super::manifest::Manifest;
use super::{
    LANDMARK_BYTES, LANDMARK_FILE, Landmarks, PIXELS, PackError, SAMPLES, Sample, Split, image_bytes, index,
};
use crate::predictions::SampleList;

/// An open pack. Cheap to open, and safe to read from many threads.
#[derive(Debug)]
pub struct Pack {
    dir: PathBuf,
    manifest: Manifest,
    splits: [SplitIndex; 3],
    landmarks: Mmap,
    pixels: Mmap,
}

/// Where the samples of one split lie.
#[derive(Debug, Default)]
struct SplitIndex {
    /// Position of the split's first image in the pixel file.
    start: usize,
    ids: Vec<String>,
    labels: Vec<Option<u8>>,
    /// For each sample the index of its record in the landmark file.
    landmarks: Vec<Option<usize>>,
}

impl Pack {
    /// Opens the pack in `dir`: checks version, every size and every line of the sample list, but not the digest.
    ///
    /// # Errors
    /// When `dir` is not a pack, a file cannot be read, or one of these checks fails.
    pub fn open(dir: &Path) -> Result<Self, PackError> {
        let manifest = Manifest::read(dir)?;
        let splits = read_index(dir, &manifest)?;
        let total: u64 = manifest.samples.iter().sum();
        let landmark_bytes = manifest.with_landmarks * LANDMARK_BYTES as u64;
        let pixel_bytes = total * image_bytes(manifest.image_size) as u64;
        let landmarks = map(&dir.join(LANDMARK_FILE), landmark_bytes)?;
        let pixels = map(&dir.join(PIXELS), pixel_bytes)?;
        Ok(Self { dir: dir.to_owned(), manifest, splits, landmarks, pixels })
    }

    /// Recomputes the content digest from every byte and compares it with the recorded one.
    ///
    /// # Errors
    /// When they differ.
    pub fn verify(&self) -> Result<(), PackError> {
        let mut content = ContentDigest::new(self.image_size());
        for split in Split::ALL {
            for i in 0..self.len(split) {
                let landmarks = self.landmarks(split, i);
                content.add(&Sample {
                    split,
                    id: self.id(split, i),
                    label: self.labels(split)[i],
                    landmarks: landmarks.as_ref(),
                    pixels: self.image(split, i),
                });
            }
        }
        let found = content.finish();
        if found == self.manifest.digest {
            return Ok(());
        }
        Err(PackError::Digest { dir: self.dir.clone(), found, expected: self.manifest.digest.clone() })
    }

    /// The folder that was opened.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SHA-256 of the content in hexadecimal: the dataset's identity.
    pub fn digest(&self) -> &str {
        &self.manifest.digest
    }

    /// Height and width of the stored images in pixels.
    pub fn image_size(&self) -> u32 {
        self.manifest.image_size
    }

    /// Where the pack came from, as its writer noted it.
    pub fn provenance(&self) -> &Value {
        &self.manifest.provenance
    }

    /// Number of samples in `split`.
    pub fn len(&self, split: Split) -> usize {
        self.splits[split as usize].ids.len()
    }

    /// True when `split` has no samples.
    pub fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// Class index of every sample of `split`; always known for training and validation.
    pub fn labels(&self, split: Split) -> &[Option<u8>] {
        &self.splits[split as usize].labels
    }

    /// Ids and labels of `split` in stored order.
    pub fn samples(&self, split: Split) -> SampleList {
        let SplitIndex { ids, labels, .. } = &self.splits[split as usize];
        let labels = labels.iter().map(|label| label.map(u32::from)).collect();
        SampleList { ids: ids.clone(), labels }
    }

    /// The id of sample `i` of `split`. Panics when `i` is out of range, like an index.
    pub fn id(&self, split: Split, i: usize) -> &str {
        &self.splits[split as usize].ids[i]
    }

    /// The pixels of sample `i` of `split`: H x W x 3 bytes, RGB. Panics when `i` is out of range, like an index.
    pub fn image(&self, split: Split, i: usize) -> &[u8] {
        let split = &self.splits[split as usize];
        assert!(i < split.ids.len(), "image {i} of a split of {}", split.ids.len());
        let bytes = image_bytes(self.image_size());
        &self.pixels[(split.start + i) * bytes..][..bytes]
    }

    /// The landmarks of sample `i` of `split`, if it has any; a training sample always does. Panics when `i` is out of
    /// range, like an index.
    pub fn landmarks(&self, split: Split, i: usize) -> Option<Landmarks> {
        let record = self.splits[split as usize].landmarks[i]?;
        Some(decode(&self.landmarks[record * LANDMARK_BYTES..][..LANDMARK_BYTES]))
    }
}

fn read_index(dir: &Path, manifest: &Manifest) -> Result<[SplitIndex; 3], PackError> {
    let path = dir.join(SAMPLES);
    check_size(&path, fs::metadata(&path).map_err(PackError::io(&path))?.len(), manifest.index_bytes)?;
    let text = fs::read_to_string(&path).map_err(PackError::io(&path))?;
    let damaged = |line, reason| PackError::Index { path: path.clone(), line, reason };
    let entries = index::parse(&text).map_err(|(line, reason)| damaged(line, reason))?;

    let mut splits: [SplitIndex; 3] = Default::default();
    let (mut records, mut last) = (0, Split::Train);
    for (position, entry) in entries.iter().enumerate() {
        if entry.split < last {
            return Err(damaged(position + 2, format!("a {} sample after {last} samples", entry.split)));
        }
        last = entry.split;
        let split = &mut splits[entry.split as usize];
        if split.ids.is_empty() {
            split.start = position;
        }
        split.ids.push(entry.id.to_owned());
        split.labels.push(entry.label);
        split.landmarks.push(entry.has_landmarks.then_some(records));
        records += usize::from(entry.has_landmarks);
    }
    let counts = splits.each_ref().map(|split| split.ids.len() as u64);
    if counts != manifest.samples || records as u64 != manifest.with_landmarks {
        let reason =
            format!("it has {counts:?} samples, {records} with landmarks, but pack.json says otherwise");
        return Err(damaged(entries.len() + 1, reason));
    }
    Ok(splits)
}

#[expect(unsafe_code, reason = "mapping a file is unsafe in memmap2")]
fn map(path: &Path, expected: u64) -> Result<Mmap, PackError> {
    let file = File::open(path).map_err(PackError::io(path))?;
    check_size(path, file.metadata().map_err(PackError::io(path))?.len(), expected)?;
    // SAFETY: a finished pack is never written again: writers work in a folder of their own and swap it in whole,
    // so the mapped file keeps its bytes for as long as it is mapped.
    unsafe { Mmap::map(&file) }.map_err(PackError::io(path))
}

fn check_size(path: &Path, found: u64, expected: u64) -> Result<(), PackError> {
    if found == expected {
        return Ok(());
    }
    Err(PackError::Size { path: path.to_owned(), found, expected })
}
