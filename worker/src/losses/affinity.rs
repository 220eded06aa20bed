//! Affinity loss: pulls each feature to its class centre and spreads the centres (yaoing/DAN; arXiv 2109.07270).
//!
//! Let x be the mean of a feature map over its positions, c the centre of its class, and s = Σ_d Var_c(c_d), the
//! unbiased variance over the classes summed over the channels. Then loss = mean over the batch of |x − c|² / s,
//! clamped to [1e-12, 1e12]. DAN clamps a whole row with zeros for the other classes, which adds (C − 1) · 1e-12. That
//! is kept here, so that the values are equal.

use tch::{Kind, Tensor};

const FLOOR: f64 = 1e-12;
const CEILING: f64 = 1e12;

/// The affinity loss of features `[B, D, h, w]` with labels `[B]` (i64) and centres `[C, D]`, a scalar. Gradients flow
/// to the features and to the centres, including through s.
pub fn affinity(feature: &Tensor, centres: &Tensor, labels: &Tensor) -> Tensor {
    Pooled::new(feature, centres).loss(labels)
}

/// λ · affinity with labels `first` + (1 − λ) · affinity with labels `second`. For mixed features this is the affinity
/// loss with soft labels. Shapes as in [`affinity`].
pub fn affinity_pair(
    feature: &Tensor,
    centres: &Tensor,
    first: &Tensor,
    second: &Tensor,
    lambda: f64,
) -> Tensor {
    let pooled = Pooled::new(feature, centres);
    pooled.loss(first) * lambda + pooled.loss(second) * (1.0 - lambda)
}

/// The parts of the loss that do not depend on the labels.
struct Pooled<'a> {
    /// `[B, D]`.
    vectors: Tensor,
    centres: &'a Tensor,
    spread: Tensor,
}

impl<'a> Pooled<'a> {
    fn new(feature: &Tensor, centres: &'a Tensor) -> Self {
        let spread = centres.var_dim([0i64].as_slice(), true, false).sum(None::<Kind>);
        Self { vectors: feature.mean_dim([2i64, 3].as_slice(), false, None), centres, spread }
    }

    fn loss(&self, labels: &Tensor) -> Tensor {
        let classes = self.centres.size()[0];
        // A product with one-hot rows, because the backward pass of indexing is not deterministic on a GPU.
        let own = labels.one_hot(classes).to_kind(self.centres.kind()).matmul(self.centres);
        let distances = (&self.vectors - own).square().sum_dim_intlist(1, false, None) / &self.spread;
        distances.clamp(FLOOR, CEILING).mean(None) + (classes - 1) as f64 * FLOOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{close, deviation, noise, number, numbers};

    fn labels(labels: &[i64]) -> Tensor {
        Tensor::from_slice(labels)
    }

    fn example() -> (Tensor, Tensor, Tensor) {
        let feature = (noise(101, &[4, 6, 2, 2]) * 2.0).set_requires_grad(true);
        let centres = (noise(102, &[3, 6]) * 2.0).set_requires_grad(true);
        (feature, centres, labels(&[0, 2, 1, 2]))
    }

    #[test]
    fn value_and_gradients_equal_the_golden_ones() {
        let (feature, centres, labels) = example();
        let spread = Pooled::new(&feature, &centres).spread.double_value(&[]);
        close("spread", spread, number("centers_var_sum"), 1e-12);
        let loss = affinity(&feature, &centres, &labels);
        close("loss", loss.double_value(&[]), number("affinity"), 1e-12);
        loss.backward();
        close("d/dx", feature.grad().double_value(&[0, 0, 0, 0]), number("affinity_grad_f0"), 1e-12);
        for (index, expected) in numbers("affinity_grad_c").into_iter().enumerate() {
            close("d/dc", centres.grad().double_value(&[0, index as i64]), expected, 1e-12);
        }
    }

    #[test]
    fn single_precision_agrees() {
        let (feature, centres, labels) = example();
        let double = affinity(&feature, &centres, &labels);
        let single = affinity(&feature.to_kind(Kind::Float), &centres.to_kind(Kind::Float), &labels);
        assert!(deviation(&single, &double) < 1e-5);
    }

    #[test]
    fn centre_gradients_equal_finite_differences() {
        const STEP: f64 = 1e-6;
        let (feature, centres, labels) = example();
        affinity(&feature, &centres, &labels).backward();
        let slope = |class: i64, channel: i64| {
            let at = |offset: f64| {
                let moved = centres.detach().copy();
                let _ = moved.get(class).get(channel).g_add_scalar_(offset);
                affinity(&feature.detach(), &moved, &labels).double_value(&[])
            };
            (at(STEP) - at(-STEP)) / (2.0 * STEP)
        };
        for class in 0..3 {
            for channel in 0..6 {
                let gradient = centres.grad().double_value(&[class, channel]);
                assert!((gradient - slope(class, channel)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_feature_at_its_centre_costs_the_floor_and_has_no_gradient() {
        let centres = noise(5, &[3, 4]);
        let at_centre = centres.narrow(0, 1, 1).reshape([1, 4, 1, 1]);
        let feature = at_centre.copy().set_requires_grad(true);
        let loss = affinity(&feature, &centres, &labels(&[1]));
        assert!((loss.double_value(&[]) - 3e-12).abs() < 1e-20);
        loss.backward();
        assert_eq!(feature.grad(), feature.zeros_like());
    }

    #[test]
    fn a_pair_of_labels_is_one_soft_label() {
        let (feature, centres, first) = example();
        let second = labels(&[1, 1, 0, 2]);
        let pair = |lambda| affinity_pair(&feature, &centres, &first, &second, lambda).double_value(&[]);
        let [left, right] =
            [&first, &second].map(|labels| affinity(&feature, &centres, labels).double_value(&[]));
        close("first", pair(1.0), left, 1e-12);
        close("second", pair(0.0), right, 1e-12);
        close("mixed", pair(0.3), 0.3 * left + 0.7 * right, 1e-12);
    }
}
