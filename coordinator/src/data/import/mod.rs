//! The challenge's folders to a pack: found, decoded in parallel, written in a fixed order.
//!
//! Layout: `training_set_synthetic_images/CLASS/N.jpg`, `validation_set_real_images/CLASS/N.jpg`, a flat test folder
//! with an optional list of its images, and landmarks in a file an image or in one table. docs/data.md describes
//! what is accepted and what becomes of every kind of bad file.

mod landmarks;
mod layout;
mod sink;
mod source;
mod staging;
mod table;
mod tally;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use shared::pack::PackError;

#[doc(hidden)]
pub use landmarks::probe as probe_landmarks;
pub use landmarks::{Format, Unit};
pub use tally::{Converted, Frame, LandmarkKind, Origin, Tally};

use sink::Sink;
use source::Source;
use staging::Subject;

/// Images whose loss a kill may cost.
const IMAGES_PER_CHECKPOINT: usize = 1024;

/// Bytes of pixels decoded at once, which bounds memory; never fewer than one image, never more than 256.
const BATCH_BYTES: usize = 32 << 20;

/// Images at a time. It changes no pack.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Decoded at once.
    batch: usize,
    /// Written between two checkpoints, or a batch more.
    checkpoint: usize,
}

impl Pace {
    fn for_size(image_size: u32) -> Self {
        let bytes = 3 * image_size as usize * image_size as usize;
        Self { batch: (BATCH_BYTES / bytes.max(1)).clamp(1, 256), checkpoint: IMAGES_PER_CHECKPOINT }
    }
}

/// What to import and how.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The folder with the challenge's layout.
    pub source: PathBuf,
    /// Height and width to store.
    pub image_size: u32,
    /// Root of the landmark files, or one `.csv` or `.npz` table of all; `None` is `landmarks` in the source.
    pub landmarks: Option<PathBuf>,
    /// What the landmarks' numbers measure; `None` takes what the format or the numbers say.
    pub landmark_unit: Option<Unit>,
    /// A table of the crops of DECA that the landmarks lie in; `None`: they lie in the images.
    pub landmark_crops: Option<PathBuf>,
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
    /// Images that an earlier, interrupted run had staged.
    pub resumed_at: usize,
    /// In the order of the files.
    pub problems: Vec<Problem>,
    /// What images were converted from.
    pub tally: Tally,
}

/// Something wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Relative to the source where it lies in there.
    pub file: PathBuf,
    pub reason: String,
    pub consequence: Consequence,
}

/// What a problem means for the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// The image is not in the pack.
    LeftOut,
    /// The validation or test image is in the pack without landmarks.
    NoLandmarks,
    /// A file, or a line of a table, that belongs to no image.
    Ignored,
}

/// What an import tells while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Something to know about what earlier imports left.
    Note(&'a str),
    /// Images done, by this run or an earlier one, and their total.
    Done { done: u64, total: u64 },
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
    #[error("{}: no such folder or table of landmarks", .0.display())]
    NoLandmarks(PathBuf),
    #[error("{}: {reason}", .path.display())]
    LandmarkTable { path: PathBuf, reason: String },
    #[error("another import is writing {}; wait for it or end it", .0.display())]
    Busy(PathBuf),
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

/// Imports into the pack folder `dir`; equal sources give equal packs, whatever the order of decoding and however
/// often the import was killed and run again.
///
/// A pack already at `dir` is replaced only by a complete new one.
pub fn import(
    dir: &Path,
    options: &ImportOptions,
    hear: &mut dyn FnMut(Event<'_>),
) -> Result<Report, ImportError> {
    import_at(Pace::for_size(options.image_size), dir, options, hear)
}

fn import_at(
    pace: Pace,
    dir: &Path,
    options: &ImportOptions,
    hear: &mut dyn FnMut(Event<'_>),
) -> Result<Report, ImportError> {
    let source = Source::open(options, staging::parent(dir))?;
    let begun = staging::begin(dir, &subject(options, &source))?;
    begun.notes.iter().for_each(|note| hear(Event::Note(note)));
    let (resumed_at, total) = (begun.done, source.found.candidates.len());
    let mut sink = Sink::new(&source, begun, pace.checkpoint);
    decode_all(&source, pace.batch, resumed_at, &mut sink, &mut |done| {
        hear(Event::Done { done: done as u64, total: total as u64 });
    })?;

    let problems = [source.found.problems.as_slice(), sink.problems()].concat();
    let problems = in_file_order(problems);
    if sink.training_images() == 0 {
        sink.abandon();
        return Err(no_training_image(options, &source, &problems));
    }
    if options.strict && !problems.is_empty() {
        let tally = sink.abandon();
        return Ok(Report { digest: None, resumed_at, problems, tally });
    }
    let left_out = problems.iter().filter(|p| p.consequence == Consequence::LeftOut).count() as u64;
    let shown = options.source.to_string_lossy().into_owned();
    let origin = |tally: &Tally| Origin::new(shown, tally.clone(), source.frame(), left_out);
    let (digest, tally) = sink.finish(origin)?;
    Ok(Report { digest: Some(digest), resumed_at, problems, tally })
}

/// Decodes in parallel while the batch before is written in order.
fn decode_all(
    source: &Source,
    batch: usize,
    from: usize,
    sink: &mut Sink<'_>,
    done: &mut dyn FnMut(usize),
) -> Result<(), ImportError> {
    let total = source.found.candidates.len();
    done(from);
    let mut waiting = Vec::new();
    for start in (from..total).step_by(batch) {
        let places = start..total.min(start + batch);
        let (read, written) = rayon::join(
            || places.into_par_iter().map(|place| source.read(place)).collect(),
            || sink.take(std::mem::take(&mut waiting)),
        );
        written?;
        waiting = read;
        done(sink.done());
    }
    sink.take(waiting)?;
    done(sink.done());
    Ok(())
}

fn subject(options: &ImportOptions, source: &Source) -> Subject {
    let unit =
        options.landmark_unit.map_or("recognised".to_owned(), |unit| format!("{unit:?}").to_lowercase());
    Subject {
        image_size: options.image_size,
        options: format!("landmark unit {unit}, landmark frame {:?}", source.frame()),
        fingerprint: source.fingerprint(),
        images: source.found.candidates.len(),
    }
}

/// Images first; then what belongs to none.
fn in_file_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.consequence == Consequence::Ignored);
    problems
}

fn no_training_image(options: &ImportOptions, source: &Source, problems: &[Problem]) -> ImportError {
    let train = |place: &usize| {
        let found = &source.found;
        found.folder(&found.candidates[*place]).split == shared::pack::Split::Train
    };
    let first = problems.first();
    ImportError::NoTrainingImage {
        source_dir: options.source.clone(),
        problems: problems.len(),
        candidates: (0..source.found.candidates.len()).filter(train).count(),
        first: first.map_or("there is none".to_owned(), |p| format!("{}: {}", p.file.display(), p.reason)),
    }
}
