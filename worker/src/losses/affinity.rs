//! Affinity loss: pulls each feature to its class centre and spreads the centres (yaoing/DAN; arXiv 2109.07270,
//! section 3.1).
//!
//! With x the mean of a feature map over its positions, c the centre of its class and
//! s = Σ_d Var_c(c_d) (unbiased over the classes): loss = mean over the batch of |x − c|² / s, clamped to
//! [1e-12, 1e12]. DAN clamps a whole row with zeros for the other classes, which adds (C − 1) · 1e-12; kept for
//! equality with it.

use tch::{Kind, Tensor};

use crate::models::blocks::global_mean;

const FLOOR: f64 = 1e-12;
const CEILING: f64 = 1e12;

/// Of features `[B, D, h, w]` with labels `[B]` (i64) and centres `[C, D]`. Gradients reach both tensors, the
/// centres also through s.
pub fn affinity(feature: &Tensor, centres: &Tensor, labels: &Tensor) -> Tensor {
    Pooled::new(feature, centres).loss(labels)
}

/// λ · affinity with labels `first` + (1 − λ) · affinity with labels `second`: for mixed features, the affinity
/// loss with soft labels.
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

/// What does not depend on the labels.
struct Pooled<'a> {
    /// `[B, D]`.
    vectors: Tensor,
    centres: &'a Tensor,
    spread: Tensor,
}

impl<'a> Pooled<'a> {
    fn new(feature: &Tensor, centres: &'a Tensor) -> Self {
        let spread = centres.var_dim([0i64].as_slice(), true, false).sum(None::<Kind>);
        Self { vectors: global_mean(feature), centres, spread }
    }

    fn loss(&self, labels: &Tensor) -> Tensor {
        let classes = self.centres.size()[0];
        // A product with one-hot rows, since the backward pass of an index is not deterministic on a GPU.
        let own = labels.one_hot(classes).to_kind(self.centres.kind()).matmul(self.centres);
        let distances = (&self.vectors - own).square().sum_dim_intlist(1, false, None) / &self.spread;
        distances.clamp(FLOOR, CEILING).mean(None) + (classes - 1) as f64 * FLOOR
    }
}
