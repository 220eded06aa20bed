//! Mix-up (Zhang et al., arXiv 1710.09412) and mix-augment (Psaroudakis & Kollias, arXiv 2205.04442).
//!
//! A mixed sample keeps both labels. With class weights, each of its two cross-entropies is divided by the sum of its
//! labels' weights, so their mix differs from a cross-entropy with soft labels. Without weights the two are equal.

use tch::{Reduction, Tensor};

/// Batch-norm momentum of mix-augment's real pass: one update with 1 − 0.9² moves the running statistics as far as two
/// updates with 0.1.
pub const TWICE_MOMENTUM: f64 = 0.19;

/// λ · images + (1 − λ) · images of their partners, for `images [B, …]` and a permutation `partners [B]` (i64).
pub fn mix(images: &Tensor, partners: &Tensor, lambda: f64) -> Tensor {
    images.lerp(&images.index_select(0, partners), 1.0 - lambda)
}

/// The cross-entropy of logits `[B, C]` with labels `[B]` (i64): the mean of the labels' negative log-softmax, weighted
/// by `weights [C]`.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, weights: Option<&Tensor>) -> Tensor {
    negative_log(&logits.log_softmax(-1, None), labels, weights)
}

/// Mix-up's loss: λ · cross-entropy with labels `first` + (1 − λ) · cross-entropy with labels `second`. Shapes as in
/// [`cross_entropy`].
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

/// Mix-augment's loss: mix-up's loss plus the cross-entropies of the real images and of their partners.
///
/// The partners are the same images in another order, so their cross-entropy equals that of the real images. So two
/// passes (virtual first, then real with [`TWICE_MOMENTUM`]) replace three.
pub fn mix_augment_cross_entropy(
    mixed: &Tensor,
    real: &Tensor,
    [labels, partners]: [&Tensor; 2],
    lambda: f64,
    weights: Option<&Tensor>,
) -> Tensor {
    pair_cross_entropy(mixed, labels, partners, lambda, weights) + cross_entropy(real, labels, weights) * 2.0
}

/// Class weights 1 − n_c / N (Yeonggi-hong/ECCV2022-ABAW-competition), from the number of training samples per class.
pub fn inverse_share<const C: usize>(counts: [usize; C]) -> [f64; C] {
    let total: usize = counts.iter().sum();
    counts.map(|count| 1.0 - count as f64 / total as f64)
}

fn negative_log(log: &Tensor, labels: &Tensor, weights: Option<&Tensor>) -> Tensor {
    const IGNORE_NONE: i64 = -100;
    log.g_nll_loss(labels, weights, Reduction::Mean, IGNORE_NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{close, deviation, noise, number};
    use tch::Kind;

    const LAMBDA: f64 = 0.8;

    fn example() -> (Tensor, Tensor, Tensor) {
        let logits = (noise(103, &[4, 6]) * 6.0).set_requires_grad(true);
        (logits, Tensor::from_slice(&[0i64, 3, 4, 5]), Tensor::from_slice(&[4i64, 0, 5, 3]))
    }

    fn weights() -> Tensor {
        Tensor::from_slice(&inverse_share([18_286, 15_150, 10_923, 73_285, 144_631, 14_976]))
    }

    fn soft_labels(first: &Tensor, second: &Tensor) -> Tensor {
        let one_hot = |labels: &Tensor| labels.one_hot(6).to_kind(Kind::Double);
        one_hot(first) * LAMBDA + one_hot(second) * (1.0 - LAMBDA)
    }

    #[test]
    fn values_equal_the_golden_ones_with_and_without_weights() {
        let (logits, first, second) = example();
        let pair = |weights| pair_cross_entropy(&logits, &first, &second, LAMBDA, weights).double_value(&[]);
        close("plain", pair(None), number("mixup_ce_plain"), 1e-12);
        close("weighted", pair(Some(&weights())), number("mixup_ce_weighted"), 1e-12);
    }

    #[test]
    fn a_pair_is_a_soft_label_only_without_weights() {
        let (logits, first, second) = example();
        let pair = |weights| pair_cross_entropy(&logits, &first, &second, LAMBDA, weights).double_value(&[]);
        let terms = soft_labels(&first, &second) * logits.log_softmax(-1, None);
        let soft = |terms: Tensor| -terms.sum(None).double_value(&[]) / 4.0;
        close("plain", pair(None), soft(terms.shallow_clone()), 1e-12);
        let weighted = soft(terms * weights());
        close("weighted", weighted, number("mixup_ce_soft_weighted_torch"), 1e-12);
        assert!((pair(Some(&weights())) - weighted).abs() > 0.3);
    }

    #[test]
    fn gradient_is_softmax_minus_soft_label() {
        let (logits, first, second) = example();
        pair_cross_entropy(&logits, &first, &second, LAMBDA, None).backward();
        let expected = (logits.detach().softmax(-1, None) - soft_labels(&first, &second)) / 4.0;
        assert!(deviation(&logits.grad(), &expected) < 1e-12);
    }

    #[test]
    fn lambda_one_is_plain_and_zero_is_permuted() {
        let (logits, first, second) = example();
        for (lambda, labels) in [(1.0, &first), (0.0, &second)] {
            let pair = pair_cross_entropy(&logits, &first, &second, lambda, None).double_value(&[]);
            close("loss", pair, cross_entropy(&logits, labels, None).double_value(&[]), 1e-12);
        }
        let images = noise(9, &[3, 2, 4, 4]);
        let partners = Tensor::from_slice(&[2i64, 0, 1]);
        assert_eq!(mix(&images, &partners, 1.0), images);
        assert_eq!(mix(&images, &partners, 0.0), images.index_select(0, &partners));
        let mixed = &images * 0.3 + images.index_select(0, &partners) * 0.7;
        assert!(deviation(&mix(&images, &partners, 0.3), &mixed) < 1e-12);
    }

    #[test]
    fn weights_are_the_published_ones() {
        let expected = [0.934_045_32, 0.945_356_37, 0.960_602_49, 0.735_672_73, 0.478_339_12, 0.945_983_96];
        let seen = Vec::<f64>::try_from(weights()).unwrap();
        assert!(seen.iter().zip(expected).all(|(seen, expected)| (seen - expected).abs() < 5e-9));
    }
}
