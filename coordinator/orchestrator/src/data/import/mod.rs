//! Imports the challenge's folders into a pack: finds the images, decodes them in parallel, writes them in a fixed order.
//!
//! Layout: `training_set_synthetic_images/CLASS/N.jpg`, `validation_set_real_images/CLASS/N.jpg`, a flat test folder
//! with an optional list of its images, and landmarks in one file per image or in one table. docs/data.md describes
//! what is accepted and what happens to every kind of bad file.

mod folder;
mod labels;
mod landmarks;
mod layout;
mod names;
mod problems;
mod sink;
mod source;
mod staging;
mod tally;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use shared::pack::{PackError, Split, destination};

#[doc(hidden)]
pub use landmarks::probe as probe_landmarks;
pub use landmarks::{Format, Unit};
pub use problems::{Consequence, Problem, is_summed_up, summary, to_csv, totals};
pub use tally::{Converted, Frame, LandmarkKind, Origin, Tally};

use sink::Sink;
use source::Source;
use staging::Subject;

/// How many images are between two checkpoints: a kill loses at most the work on these.
const IMAGES_PER_CHECKPOINT: usize = 1024;

/// How many bytes of pixels are decoded at once, to limit memory. At least one image and at most 256 are decoded.
const BATCH_BYTES: usize = 32 << 20;

/// How many images are handled at a time. The pack does not depend on it.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How many are decoded at once.
    batch: usize,
    /// How many are written between two checkpoints, rounded up to whole batches.
    checkpoint: usize,
}

impl Pace {
    fn for_size(image_size: u32) -> Self {
        let bytes = 3 * image_size as usize * image_size as usize;
        Self { batch: (BATCH_BYTES / bytes.max(1)).clamp(1, 256), checkpoint: IMAGES_PER_CHECKPOINT }
    }
}

/// What to import, and how.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The folder with the challenge's layout.
    pub source: PathBuf,
    /// Height and width to store.
    pub image_size: u32,
    /// Folder of the landmark files, or one `.csv` or `.npz` table of all; `None` means `landmarks` in the source.
    pub landmarks: Option<PathBuf>,
    /// Unit of the landmarks; `None` infers it from the numbers.
    pub landmark_unit: Option<Unit>,
    /// A table of DECA's crops, if the landmarks are relative to these; `None` if they are relative to the images.
    pub landmark_crops: Option<PathBuf>,
    /// Labels of the test images; `None` means `test_labels.csv` in the source, if it exists.
    pub test_labels: Option<PathBuf>,
    /// Folders of classes to leave out, in upper or lower case.
    pub exclude_classes: Vec<String>,
    /// Write no pack if there is any problem.
    pub strict: bool,
}

/// The outcome of an import.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The pack's digest; `None` when a strict import ended without a pack.
    pub digest: Option<String>,
    /// Images that an earlier, interrupted run had staged.
    pub resumed_at: usize,
    /// Problems of images first, in the order of the images; then files and rows that were ignored.
    pub problems: Vec<Problem>,
    /// Counts over the packed images.
    pub tally: Tally,
}

/// What an import reports while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A note about what an earlier import left.
    Note(&'a str),
    /// How many images are done, by this run or an earlier one, and their total.
    Done { done: u64, total: u64 },
}

/// Why nothing can be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{}: no folder training_set_synthetic_images; the source must have the layout of the challenge (docs/data.md)", .0.display())]
    NoTrainingFolder(PathBuf),
    #[error(
        "{}: the folder {name:?} is not a class (ANGRER or ANGER, DISGUST, FEAR, HAPPINESS, SADNESS, SURPRISE); \
         rename it, or leave its images out with --exclude-class {name}",
        .parent.display()
    )]
    UnknownClass { parent: PathBuf, name: String },
    #[error("--exclude-class {0}: no class folder has this name")]
    NothingExcluded(String),
    #[error("{}: {}", .source_dir.display(), nothing_to_train_on(*.candidates, .problems))]
    NoTrainingImage { source_dir: PathBuf, candidates: usize, problems: Vec<Problem> },
    #[error("{}:{line}: {reason}", .path.display())]
    Table { path: PathBuf, line: u64, reason: String },
    #[error("{}: no such folder or table of landmarks", .0.display())]
    NoLandmarks(PathBuf),
    #[error("{}: {reason}", .path.display())]
    LandmarkTable { path: PathBuf, reason: String },
    #[error("landmarks in {}: {reason}", .format.name())]
    LandmarkUnit { format: Format, reason: String },
    #[error("another import is writing {}; wait for it or stop it", .0.display())]
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

/// Imports into the pack folder `dir`. Equal sources give equal packs, whatever the order in which images are decoded,
/// and however often the import was killed and run again. `on_event` is called while it works.
///
/// A pack at `dir` is replaced only by a complete new one.
///
/// # Errors
/// When the source or an option cannot be used, no training image can be used, or the disk fails. Problems of single
/// files are part of the report.
pub fn import(
    dir: &Path,
    options: &ImportOptions,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Report, ImportError> {
    import_at(Pace::for_size(options.image_size), dir, options, on_event)
}

fn import_at(
    pace: Pace,
    dir: &Path,
    options: &ImportOptions,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Report, ImportError> {
    let dir = &destination(dir)?;
    let source = Source::open(options, staging::parent(dir))?;
    let staged = staging::begin(dir, &subject(options, &source))?;
    staged.notes.iter().for_each(|note| on_event(Event::Note(note)));
    let (resumed_at, total) = (staged.done, source.found.candidates.len());
    let mut sink = Sink::new(&source, staged, pace.checkpoint);
    decode_all(&source, pace.batch, resumed_at, &mut sink, &mut |done| {
        on_event(Event::Done { done: done as u64, total: total as u64 });
    })?;

    let problems = [source.found.problems.as_slice(), sink.problems()].concat();
    let problems = in_file_order(problems);
    if sink.training_images() == 0 {
        sink.abandon();
        return Err(no_training_image(options, &source, problems));
    }
    if options.strict && !problems.is_empty() {
        let tally = sink.abandon();
        return Ok(Report { digest: None, resumed_at, problems, tally });
    }
    let left_out = problems.iter().filter(|p| p.consequence == Consequence::LeftOut).map(|p| p.images).sum();
    let shown = options.source.to_string_lossy().into_owned();
    let origin = |tally: &Tally| Origin {
        excluded_classes: options.exclude_classes.clone(),
        ..Origin::new(shown, tally.clone(), source.frame(), left_out)
    };
    let (digest, tally) = sink.finish(origin)?;
    Ok(Report { digest: Some(digest), resumed_at, problems, tally })
}

/// Decodes each batch in parallel while the one before it is written in order.
fn decode_all(
    source: &Source,
    batch: usize,
    from: usize,
    sink: &mut Sink<'_>,
    done: &mut dyn FnMut(usize),
) -> Result<(), ImportError> {
    let total = source.found.candidates.len();
    done(from);
    let mut decoded = Vec::new();
    for start in (from..total).step_by(batch) {
        let places = start..total.min(start + batch);
        let (read, written) = rayon::join(
            || places.into_par_iter().map(|place| source.read(place)).collect(),
            || sink.take(std::mem::take(&mut decoded)),
        );
        written?;
        decoded = read;
        done(sink.done());
    }
    sink.take(decoded)?;
    done(sink.done());
    Ok(())
}

fn subject(options: &ImportOptions, source: &Source) -> Subject {
    let unit =
        options.landmark_unit.map_or("recognised".to_owned(), |unit| format!("{unit:?}").to_lowercase());
    Subject {
        image_size: options.image_size,
        options: format!(
            "landmark unit {unit}, landmark frame {:?}, classes left out {:?}",
            source.frame(),
            options.exclude_classes
        ),
        fingerprint: source.fingerprint(),
        images: source.found.candidates.len(),
    }
}

/// Problems of images first, then those that belong to no image.
fn in_file_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.consequence == Consequence::Ignored);
    problems
}

/// Why there is nothing to train on: a sentence, and a line for each problem.
fn nothing_to_train_on(candidates: usize, problems: &[Problem]) -> String {
    let sentence = match candidates {
        0 => "there are no training images in the class folders".to_owned(),
        _ => format!("none of the {candidates} training images can be used"),
    };
    std::iter::once(sentence).chain(summary(problems)).collect::<Vec<_>>().join("\n  ")
}

fn no_training_image(options: &ImportOptions, source: &Source, problems: Vec<Problem>) -> ImportError {
    let found = &source.found;
    let training = found.candidates.iter().filter(|image| found.folder(image).split == Split::Train);
    ImportError::NoTrainingImage {
        source_dir: options.source.clone(),
        candidates: training.count(),
        problems,
    }
}
