//! Using finished models without a server: images to class probabilities, by one model or by an ensemble's vote.
//!
//! Images go the way they went in training: decoded and stored at the pack's size, resized to the network's, in
//! batches of the job's own size. On a CPU the numbers are those of the training's own evaluation, bit for bit.

pub mod error;
pub mod images;
pub mod members;
pub mod model;
pub mod order;

use serde::Serialize;
use shared::pack::Split;
use shared::predicted::Prediction;
use shared::vote::{MemberProbabilities, vote};
use tch::Device;

pub use error::PredictError;
pub use images::{Broken, Images, Input};
pub use members::Member;
pub use model::Model;

use crate::train::evaluate::Probabilities;

/// What to predict with, and on what.
#[derive(Debug)]
pub struct Task<'a> {
    /// One model, or all members of an ensemble.
    pub members: &'a [Member],
    pub input: &'a Input,
    pub device: Device,
    /// An image that cannot be read ends it before anything is predicted.
    pub strict: bool,
}

/// A step that takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Reading,
    /// With member `number` of `of`, from 1.
    Predicting {
        number: usize,
        of: usize,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicted {
    /// Images asked for: those with a prediction and the broken ones.
    pub images: usize,
    /// In the order of the list where there is one, else in the natural order of the names.
    pub predictions: Vec<Prediction>,
    /// Images without a prediction, and why.
    pub broken: Vec<Broken>,
    /// Images that the list does not name.
    pub unlisted: usize,
    pub models: Vec<Used>,
}

/// One model that had a voice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Used {
    pub job: shared::ids::JobId,
    pub dataset_digest: String,
    pub best_epoch: u32,
}

/// Runs every member over all images and takes the mean of their probabilities; the mean of one model is the model.
///
/// `progress` hears how many images of a step are done. Sets libtorch's thread counts, which hold for the whole
/// process.
pub fn predict(
    task: &Task<'_>,
    progress: &mut dyn FnMut(Step, usize, usize),
) -> Result<Predicted, PredictError> {
    let mut images: Option<Images> = None;
    let mut voices: Vec<(Used, Probabilities)> = Vec::new();
    for (index, member) in task.members.iter().enumerate() {
        let model = Model::open(member, task.device)?;
        if let Some((first, _)) = voices.first().filter(|(first, _)| first.dataset_digest != model.dataset())
        {
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
        voices.push((model.used(), rows));
    }
    let Some(images) = images else { return Err(PredictError::NoMember) };
    // A strict task that ended early has no voice.
    let mean = if voices.is_empty() { Vec::new() } else { mean(&voices)? };
    let predictions = images.names().zip(mean);
    let predictions = predictions
        .map(|(image, probabilities)| Prediction { image: image.to_owned(), probabilities })
        .collect();
    let ordered = images.in_order(predictions);
    let models = voices.into_iter().map(|(used, _)| used).collect();
    let Images { found, broken, unlisted, .. } = images;
    Ok(Predicted { images: found, predictions: ordered, broken, unlisted, models })
}

fn mean(voices: &[(Used, Probabilities)]) -> Result<Vec<[f64; shared::expression::CLASSES]>, PredictError> {
    let members: Vec<MemberProbabilities<'_>> = voices
        .iter()
        .map(|(used, rows)| MemberProbabilities {
            job: used.job,
            dataset_digest: &used.dataset_digest,
            // Every member saw the same images in the same order.
            samples_digest: "",
            probabilities: rows,
        })
        .collect();
    Ok(vote(&members)?)
}

/// The split of a pack to predict when none is named.
pub const DEFAULT_SPLIT: Split = Split::Test;
