//! Class probabilities of a split: the emotion branch in evaluation mode, then softmax.

use shared::confusion::{Confusion, argmax};
use shared::expression::CLASSES;
use tch::{Device, Kind, Tensor};

use crate::data::{Frames, Views};
use crate::models::{Mode, Mtl};

use super::error::TrainError;

/// Probabilities of the six classes, one row per sample.
pub type Probabilities = Vec<[f32; CLASSES]>;

/// One row for each of `frames`, in order.
///
/// `batch_size` must be the same in every run: it decides how sums are split, so another size may change the last bits.
/// `progress` is called after each batch with the number of finished rows.
///
/// # Errors
///
/// An image cannot be read, a probability is not finite, or libtorch fails.
pub fn probabilities(
    network: &Mtl,
    frames: &Frames<'_>,
    views: &Views,
    batch_size: usize,
    device: Device,
    progress: &mut dyn FnMut(usize),
) -> Result<Probabilities, TrainError> {
    let size = views.size() as i64;
    let mut rows = Probabilities::with_capacity(frames.len());
    for start in (0..frames.len()).step_by(batch_size.max(1)) {
        let members = start..frames.len().min(start + batch_size);
        let mut images = vec![0.0; members.len() * views.len()];
        for (index, view) in members.clone().zip(images.chunks_exact_mut(views.len())) {
            views.evaluation(&frames.image(index)?, view);
        }
        let shape = [members.len() as i64, 3, size, size];
        let images = Tensor::f_from_slice(&images)?.f_reshape(shape)?.f_to_device(device)?;
        let batch = tch::no_grad(|| {
            let logits = network.emotion(&images, Mode::Eval).logits;
            logits.f_softmax(-1, Kind::Float)?.f_to_device(Device::Cpu)?.f_reshape([-1])
        })?;
        let values = Vec::<f32>::try_from(batch)?;
        // The loss does not show this: in training, normalisation uses the batch and not the stored statistics.
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(TrainError::NotAProbability {
                row: rows.len() + index / CLASSES,
                value: values[index],
            });
        }
        rows.extend(values.chunks_exact(CLASSES).map(|row| std::array::from_fn(|class| row[class])));
        progress(rows.len());
    }
    Ok(rows)
}

/// Confusion counts over the samples whose label is known.
pub fn confusion(probabilities: &[[f32; CLASSES]], labels: &[Option<u8>]) -> Confusion {
    let pairs = probabilities.iter().zip(labels);
    Confusion::from_pairs(
        CLASSES,
        pairs.filter_map(|(row, label)| Some((usize::from((*label)?), argmax(row)))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlabelled_samples_are_not_counted() {
        let row = |class: usize| std::array::from_fn(|c| if c == class { 0.5 } else { 0.1 });
        let counts = confusion(&[row(1), row(2), row(3)], &[Some(1), None, Some(0)]).counts;
        assert_eq!((counts[1][1], counts[0][3]), (1, 1));
        assert_eq!(counts.iter().flatten().sum::<u64>(), 2);
    }
}
