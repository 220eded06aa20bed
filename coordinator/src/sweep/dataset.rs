//! The dataset of a sweep: where its pack lies, and its digest if it is there.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use shared::pack::Pack;

use crate::data::synth;

use super::plan::{DatasetSource, SyntheticOptions};
use super::problem::{Problem, Span};
use super::spec::{Dataset, Located};

/// Smallest and largest face that is drawn, and the fewest images of a split: one of each class.
const SIZES: std::ops::RangeInclusive<u32> = 16..=512;
const FEWEST: u32 = shared::expression::CLASSES as u32;

/// The folder under `home` of the faces drawn with `options` by this revision of the drawing.
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

/// The source that the file means and, if the pack is there, its digest.
pub(super) fn resolve(
    dataset: &Dataset,
    folder: &Path,
    home: &Path,
    problems: &mut Vec<Problem>,
) -> (DatasetSource, Option<String>) {
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
    let digest = digest(&pack_dir(&source, home), span, problems);
    (source, digest)
}

fn check_options(options: &Located<SyntheticOptions>, problems: &mut Vec<Problem>) {
    let SyntheticOptions { seed: _, train, validation, test, image_size, imbalanced: _ } = options.value;
    if !SIZES.contains(&image_size) {
        let message =
            format!("`image_size` must lie between {} and {}; got {image_size}", SIZES.start(), SIZES.end());
        problems.push(Problem::new(options.span, message));
    }
    for (name, count) in [("train", train), ("validation", validation), ("test", test)] {
        if count < FEWEST {
            let message = format!("`{name}` must be at least {FEWEST}, one image of each class; got {count}");
            problems.push(Problem::new(options.span, message));
        }
    }
}

/// A pack that is not there yet has no digest; one that is there and broken is a problem.
fn digest(dir: &Path, span: Span, problems: &mut Vec<Problem>) -> Option<String> {
    if !dir.exists() {
        return None;
    }
    match Pack::open(dir) {
        Ok(pack) => Some(pack.digest().to_owned()),
        Err(error) => {
            problems.push(Problem::new(span, format!("the dataset cannot be used: {error}")));
            None
        }
    }
}
