//! Mix-up (Zhang et al., arXiv 1710.09412) and mix-augment (Psaroudakis & Kollias, arXiv 2205.04442).
//!
//! A mixed sample keeps both labels. With class weights each cross-entropy is divided by the sum of its own labels'
//! weights, so the pair form is not a cross-entropy with soft labels; without weights the two are equal.

use tch::{Reduction, Tensor};

/// Batch-norm momentum of mix-augment's real pass: one update that moves the running statistics as far as two of
/// 0.1 do, 1 − 0.9².
pub const TWICE_MOMENTUM: f64 = 0.19;

/// λ · images + (1 − λ) · images of their partners; `images [B, …]`, `partners [B]` (i64) a permutation.
pub fn mix(images: &Tensor, partners: &Tensor, lambda: f64) -> Tensor {
    images.lerp(&images.index_select(0, partners), 1.0 - lambda)
}

/// Of logits `[B, C]` with labels `[B]` (i64): mean of the labels' negative log-softmax, weighted by `weights [C]`.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, weights: Option<&Tensor>) -> Tensor {
    negative_log(&logits.log_softmax(-1, None), labels, weights)
}

/// Mix-up's loss: λ · cross-entropy with labels `first` + (1 − λ) · cross-entropy with labels `second`.
pub fn pair_cross_entropy(
    logits: &Tensor,
    first: &Tensor,
    second: &Tensor,
    lambda: f64,
    weights: Option<&Tensor>,
) -> Tensor {
    let log = logits.log_softmax(-1, None);
    negative_log(&log, first, weights) * lambda + negative_log(&log, second, weights) * (1.0 - lambda)
}

/// Mix-augment's loss: mix-up's plus the cross-entropies of the real images and of their partners.
///
/// The partners are the same images in another order, so their cross-entropy is that of the real images: two passes
/// (virtual first, then real with [`TWICE_MOMENTUM`]) do the work of three.
pub fn mix_augment_cross_entropy(
    mixed: &Tensor,
    real: &Tensor,
    [labels, partners]: [&Tensor; 2],
    lambda: f64,
    weights: Option<&Tensor>,
) -> Tensor {
    pair_cross_entropy(mixed, labels, partners, lambda, weights) + cross_entropy(real, labels, weights) * 2.0
}

/// Class weights 1 − n_c / N (Yeonggi-hong/ECCV2022-ABAW-competition) for `counts` of training samples by class.
pub fn inverse_share<const C: usize>(counts: [usize; C]) -> [f64; C] {
    let total: usize = counts.iter().sum();
    counts.map(|count| 1.0 - count as f64 / total as f64)
}

fn negative_log(log: &Tensor, labels: &Tensor, weights: Option<&Tensor>) -> Tensor {
    const IGNORE_NONE: i64 = -100;
    log.g_nll_loss(labels, weights, Reduction::Mean, IGNORE_NONE)
}
