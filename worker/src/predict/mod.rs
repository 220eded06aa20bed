//! Class probabilities of images, from one finished model or from an ensemble. Needs no server.
//!
//! Images are prepared as in training: decoded at the pack's size, resized to the network's, and evaluated in batches
//! of the job's size. So on the same kind of CPU the probabilities equal those of the training's evaluation, bit for
//! bit.

pub mod error;
pub mod images;
pub mod members;
pub mod model;
pub mod order;

use serde::Serialize;
use shared::expression::CLASSES;
use shared::pack::Split;
use shared::predicted::Prediction;
use shared::predictions::Matrix;
use shared::vote::{MemberProbabilities, vote};
use tch::Device;

pub use error::PredictError;
pub use images::{Broken, Images, Input};
pub use members::Member;
pub use model::Model;

/// The models and images of a prediction.
#[derive(Debug)]
pub struct Task<'a> {
    /// One model, or all members of an ensemble.
    pub members: &'a [Member],
    pub input: &'a Input,
    pub device: Device,
    /// If an image cannot be read, predict nothing.
    pub strict: bool,
}

/// A step of which progress is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Reading,
    /// With member `number` (from 1) of `of`.
    Predicting {
        number: usize,
        of: usize,
    },
}

/// The result of [`predict`].
#[derive(Debug, Clone, PartialEq)]
pub struct Predicted {
    /// Number of requested images: those with a prediction and the broken ones.
    pub images: usize,
    /// In the order of the list if there is one, otherwise in the natural order of the names.
    pub predictions: Vec<Prediction>,
    /// Images without a prediction, and why.
    pub broken: Vec<Broken>,
    /// Number of images that are not on the list.
    pub unlisted: usize,
    pub models: Vec<Used>,
}

/// One model that voted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Used {
    pub job: shared::ids::JobId,
    pub dataset_digest: String,
    pub best_epoch: u32,
}

/// Runs every member over all images and returns the mean of their probabilities.
///
/// `progress` is called with the step, the number of finished images and their total number. Sets libtorch's thread
/// counts for the whole process.
///
/// # Errors
///
/// There is no member, a model cannot be used, the members were trained on different datasets, or the images cannot be
/// read. A single broken image is not an error.
pub fn predict(
    task: &Task<'_>,
    progress: &mut dyn FnMut(Step, usize, usize),
) -> Result<Predicted, PredictError> {
    let mut images: Option<Images> = None;
    let mut votes: Vec<(Used, Matrix)> = Vec::new();
    for (index, member) in task.members.iter().enumerate() {
        let model = Model::open(member, task.device)?;
        if let Some((first, _)) = votes.first().filter(|(first, _)| first.dataset_digest != model.dataset()) {
            return Err(PredictError::Datasets { first: first.job, other: model.job() });
        }
        let images = match &mut images {
            Some(images) => images,
            none => none.insert(Images::open(task.input, model.pack_image_size(), &mut |done, total| {
                progress(Step::Reading, done, total);
            })?),
        };
        if task.strict && !images.broken.is_empty() {
            break;
        }
        let step = Step::Predicting { number: index + 1, of: task.members.len() };
        let total = images.pack.len(images.split);
        let rows = model.predict(&images.pack, images.split, &mut |done| progress(step, done, total))?;
        votes.push((model.used(), Matrix::from(rows.as_slice())));
    }
    let Some(images) = images else { return Err(PredictError::NoMember) };
    // A strict task that ended early has no votes.
    let mean = if votes.is_empty() { Vec::new() } else { mean(&votes)? };
    let predictions = images.names().zip(mean);
    let predictions = predictions
        .map(|(image, probabilities)| Prediction { image: image.to_owned(), probabilities })
        .collect();
    let ordered = images.in_order(predictions);
    let models = votes.into_iter().map(|(used, _)| used).collect();
    let Images { found, broken, unlisted, .. } = images;
    Ok(Predicted { images: found, predictions: ordered, broken, unlisted, models })
}

fn mean(votes: &[(Used, Matrix)]) -> Result<Vec<[f64; CLASSES]>, PredictError> {
    let members: Vec<MemberProbabilities<'_>> = votes
        .iter()
        .map(|(used, rows)| MemberProbabilities {
            job: used.job,
            dataset_digest: Some(&used.dataset_digest),
            // Every member saw the same images in the same order.
            samples_digest: "",
            probabilities: rows,
        })
        .collect();
    let mean = vote(&members)?;
    Ok(mean.rows().map(|row| std::array::from_fn(|class| row[class])).collect())
}

/// The split of a pack to predict if none is named.
pub const DEFAULT_SPLIT: Split = Split::Test;
