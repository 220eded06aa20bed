//! The challenge's folders to a pack: found, decoded in parallel, written in a fixed order.
//!
//! Layout: `training_set_synthetic_images/CLASS/N.jpg`, `validation_set_real_images/CLASS/N.jpg`, a flat test folder
//! with an optional list of its images, and one landmark text file per image under the same relative path.

mod landmarks;
mod layout;
mod table;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;
use shared::image::square_rgb;
use shared::pack::{Landmarks, PackError, PackWriter, Sample, Split};

use layout::Candidate;

/// Images decoded at once, which bounds memory.
const BATCH: usize = 256;

/// What to import and how.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The folder with the challenge's layout.
    pub source: PathBuf,
    /// Height and width to store.
    pub image_size: u32,
    /// Root of the landmark files; `None` is `landmarks` in the source.
    pub landmarks: Option<PathBuf>,
    /// `image,expression` lines of the test images; `None` is `test_labels.csv` in the source, if it is there.
    pub test_labels: Option<PathBuf>,
    /// Write nothing when any problem is found.
    pub strict: bool,
}

/// What became of an import.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The pack's digest; `None` when a strict import ended without a pack.
    pub digest: Option<String>,
    /// In the order of the files.
    pub problems: Vec<Problem>,
}

/// Something wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Relative to the source where it lies in there.
    pub file: PathBuf,
    pub reason: String,
    pub consequence: Consequence,
}

/// What a problem means for the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// The image is not in the pack.
    LeftOut,
    /// The validation or test image is in the pack without landmarks.
    NoLandmarks,
    /// A line of a table that belongs to no image.
    Ignored,
}

/// Why nothing can be imported at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{}: no folder training_set_synthetic_images; the source must have the challenge's layout", .0.display())]
    NoTrainingFolder(PathBuf),
    #[error("{}: {name:?} is not a class; the folders are ANGRER or ANGER, DISGUST, FEAR, HAPPINESS, SADNESS, SURPRISE", .parent.display())]
    UnknownClass { parent: PathBuf, name: String },
    #[error("{}: {problems} of {candidates} training images cannot be used and none is left; the first: {first}", .source_dir.display())]
    NoTrainingImage { source_dir: PathBuf, problems: usize, candidates: usize, first: String },
    #[error("{}:{line}: {reason}; lines are `image,expression` with a class index from 0 to 5", .path.display())]
    Table { path: PathBuf, line: usize, reason: String },
    #[error("{}: no such folder of landmarks", .0.display())]
    NoLandmarkFolder(PathBuf),
    #[error("{}: {source}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl ImportError {
    fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

/// Imports into the pack folder `dir`; equal sources give equal packs, whatever the order of decoding.
///
/// `progress` hears the number of images done so far and their total. A pack already at `dir` is replaced only by
/// a complete new one.
pub fn import(
    dir: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, ImportError> {
    let layout::Found { candidates, mut problems } = layout::find(options)?;
    let provenance = json!({ "source": "imported images", "folder": options.source });
    let mut writer = PackWriter::create(dir, options.image_size, provenance)?;
    let mut trained = 0;
    for (batch, candidates_here) in candidates.chunks(BATCH).enumerate() {
        let read: Vec<Result<Read, String>> =
            candidates_here.par_iter().map(|candidate| read(candidate, options.image_size)).collect();
        for (candidate, read) in candidates_here.iter().zip(read) {
            let problem = |reason, consequence| Problem { file: candidate.file.clone(), reason, consequence };
            match read {
                Ok(read) => {
                    trained += usize::from(candidate.split == Split::Train);
                    writer.add(&candidate.sample(&read))?;
                    problems.extend(read.note.map(|note| problem(note, Consequence::NoLandmarks)));
                }
                Err(reason) => problems.push(problem(reason, Consequence::LeftOut)),
            }
        }
        progress((batch * BATCH + candidates_here.len()) as u64, candidates.len() as u64);
    }
    problems.sort_by_key(|problem| problem.consequence == Consequence::Ignored);
    if trained == 0 {
        return Err(no_training_image(options, &candidates, &problems));
    }
    if options.strict && !problems.is_empty() {
        return Ok(Report { digest: None, problems });
    }
    Ok(Report { digest: Some(writer.finish()?), problems })
}

fn no_training_image(options: &ImportOptions, candidates: &[Candidate], problems: &[Problem]) -> ImportError {
    let first = problems.first();
    ImportError::NoTrainingImage {
        source_dir: options.source.clone(),
        problems: problems.len(),
        candidates: candidates.iter().filter(|candidate| candidate.split == Split::Train).count(),
        first: first.map_or("there is none".to_owned(), |p| format!("{}: {}", p.file.display(), p.reason)),
    }
}

/// An image as it goes into the pack.
#[derive(Debug)]
struct Read {
    pixels: Vec<u8>,
    landmarks: Option<Landmarks>,
    /// Why it goes without landmarks although its split has them.
    note: Option<String>,
}

impl Candidate {
    fn sample<'a>(&'a self, read: &'a Read) -> Sample<'a> {
        Sample {
            split: self.split,
            id: &self.id,
            label: self.label,
            landmarks: read.landmarks.as_ref(),
            pixels: &read.pixels,
        }
    }
}

/// Reads one image and its landmarks; the reason if it cannot be used.
fn read(candidate: &Candidate, image_size: u32) -> Result<Read, String> {
    let found = landmarks::read(&candidate.landmarks);
    let (landmarks, note) = match found {
        Ok(Some(landmarks)) => (Some(landmarks), None),
        Ok(None) if candidate.split == Split::Train => return Err("it has no landmark file".to_owned()),
        Ok(None) => (None, candidate.landmarks_expected.then(|| "it has no landmark file".to_owned())),
        Err(reason) if candidate.split == Split::Train => return Err(reason),
        Err(reason) => (None, Some(reason)),
    };
    let pixels = square_rgb(&candidate.path, image_size)?;
    Ok(Read { pixels, landmarks, note })
}
