//! The dataset of a sweep: where its pack is, and what is in it.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use shared::expression::CLASSES;
use shared::pack::{Pack, Split};

use crate::data::synth;

use super::plan::{DatasetSource, SyntheticOptions};
use super::problem::{Problem, Span};
use super::spec::{Dataset, Located};

/// Smallest and largest face that is drawn, and the fewest images of a split: one of each class.
const SIZES: std::ops::RangeInclusive<u32> = 16..=512;
const FEWEST: u32 = CLASSES as u32;

/// What a plan knows about its dataset.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) source: DatasetSource,
    /// Its place in the sweep file.
    pub(super) span: Span,
    /// `None` if there is no pack yet.
    pub(super) digest: Option<String>,
    /// `None` if there is neither a pack nor the options of a synthetic one.
    pub(super) content: Option<Content>,
}

/// The images that jobs are trained and evaluated on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Height and width in pixels.
    pub(super) image_size: u32,
    pub(super) train: Images,
    pub(super) validation: Images,
    pub(super) test: Images,
}

/// The images of one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Images {
    pub(super) count: u64,
    /// Number of labelled images by class index.
    pub(super) by_class: [u64; CLASSES],
}

impl Content {
    fn of_pack(pack: &Pack) -> Self {
        let images = |split| {
            let mut by_class = [0; CLASSES];
            for class in pack.labels(split).iter().flatten() {
                by_class[usize::from(*class)] += 1;
            }
            Images { count: pack.len(split) as u64, by_class }
        };
        Self {
            image_size: pack.image_size(),
            train: images(Split::Train),
            validation: images(Split::Validation),
            test: images(Split::Test),
        }
    }

    fn of_options(options: &SyntheticOptions) -> Self {
        let images = |split| {
            let by_class = synth::class_counts(options, split);
            Images { count: by_class.iter().sum(), by_class }
        };
        Self {
            image_size: options.image_size,
            train: images(Split::Train),
            validation: images(Split::Validation),
            test: images(Split::Test),
        }
    }
}

/// The folder under `home` for the faces that this revision of the generator draws with `options`.
pub fn synthetic_dir(home: &Path, options: &SyntheticOptions) -> PathBuf {
    let text = serde_json::json!([synth::REVISION, options]).to_string();
    let hash = hex::encode(Sha256::digest(text.as_bytes()));
    home.join("data").join(format!("synth-{}", &hash[..16]))
}

/// The folder of a plan's pack.
pub fn pack_dir(source: &DatasetSource, home: &Path) -> PathBuf {
    match source {
        DatasetSource::Pack(path) => path.clone(),
        DatasetSource::Synthetic(options) => synthetic_dir(home, options),
    }
}

/// The dataset that the file names. What is wrong with it is added to `problems`.
pub(super) fn resolve(
    dataset: &Dataset,
    folder: &Path,
    home: &Path,
    problems: &mut Vec<Problem>,
) -> Resolved {
    let already = problems.len();
    let (source, span) = match dataset {
        Dataset::Pack(path) => {
            if path.value.is_empty() {
                problems.push(Problem::new(path.span, "`dataset` is empty; name the folder of a pack"));
            }
            (DatasetSource::Pack(folder.join(&path.value)), path.span)
        }
        Dataset::Synthetic(synthetic) => {
            check_options(&synthetic.synthetic, problems);
            (DatasetSource::Synthetic(synthetic.synthetic.value.clone()), synthetic.synthetic.span)
        }
    };
    let pack = open(&pack_dir(&source, home), span, problems);
    let content = match (&pack, &source) {
        (Some(pack), _) => Some(Content::of_pack(pack)),
        (None, DatasetSource::Synthetic(options)) if problems.len() == already => {
            Some(Content::of_options(options))
        }
        (None, DatasetSource::Synthetic(_) | DatasetSource::Pack(_)) => None,
    };
    Resolved { source, span, digest: pack.map(|pack| pack.digest().to_owned()), content }
}

fn check_options(options: &Located<SyntheticOptions>, problems: &mut Vec<Problem>) {
    let SyntheticOptions { seed: _, train, validation, test, image_size, imbalanced: _ } = options.value;
    if !SIZES.contains(&image_size) {
        let message =
            format!("`image_size` must be between {} and {}; got {image_size}", SIZES.start(), SIZES.end());
        problems.push(Problem::new(options.span, message));
    }
    for (name, count) in [("train", train), ("validation", validation), ("test", test)] {
        if count < FEWEST {
            let message = format!("`{name}` must be at least {FEWEST}, one image of each class; got {count}");
            problems.push(Problem::new(options.span, message));
        }
    }
}

/// The pack in `dir`; `None` if nothing is there. Anything else than a whole pack is added to `problems`.
fn open(dir: &Path, span: Span, problems: &mut Vec<Problem>) -> Option<Pack> {
    if !dir.exists() {
        return None;
    }
    match Pack::open(dir) {
        Ok(pack) => Some(pack),
        Err(error) => {
            problems.push(Problem::new(span, format!("the dataset cannot be used: {error}")));
            None
        }
    }
}
