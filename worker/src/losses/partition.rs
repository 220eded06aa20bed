//! Partition loss: keeps the attention heads apart (yaoing/DAN; arXiv 2109.07270).
//!
//! loss = log(1 + K / (v + ε)), where v is the mean over batch and channels of the unbiased variance over the K heads.
//! A log-softmax over K does not change the loss, because it shifts all heads equally.

use tch::Tensor;

/// The partition loss of heads `[B, K, D]`. For a single head it is 0 and has no gradient.
pub fn partition(heads: &Tensor) -> Tensor {
    let count = heads.size()[1];
    if count == 1 {
        return Tensor::zeros([0i64; 0], (heads.kind(), heads.device()));
    }
    let variance = heads.var_dim([1i64].as_slice(), true, false).mean(None);
    ((variance + f64::EPSILON).reciprocal() * count as f64).log1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{close, deviation, fill, noise, number, store};
    use crate::models::Mode;
    use crate::models::dan::tests::Published;
    use tch::Kind;

    fn value(heads: &Tensor) -> f64 {
        partition(heads).double_value(&[])
    }

    #[test]
    fn value_equals_the_golden_one_before_and_after_a_log_softmax() {
        let heads = noise(100, &[3, 4, 5]) * 4.0;
        close("raw", value(&heads), number("partition_raw"), 1e-12);
        close("log-softmax", value(&heads.log_softmax(1, None)), number("partition_logsm"), 1e-12);
        let single = partition(&heads.to_kind(Kind::Float));
        assert!(deviation(&single, &partition(&heads)) < 1e-5);
    }

    #[test]
    fn value_equals_the_golden_one_on_the_heads_of_the_published_dan() {
        let mut store = store();
        let network = Published::new(&store);
        fill(&mut store);
        let (_, output) = network.forward(&(noise(201, &[2, 3, 64, 64]) * 4.0), Mode::TRAIN);
        close("partition", value(&output.heads), number("dan_train_partition"), 1e-9);
    }

    #[test]
    fn gradients_equal_finite_differences() {
        const STEP: f64 = 1e-6;
        let heads = (noise(100, &[2, 3, 4]) * 4.0).set_requires_grad(true);
        partition(&heads).backward();
        for index in 0..24 {
            let at = |offset: f64| {
                let moved = heads.detach().copy();
                let _ = moved.view(-1).get(index).g_add_scalar_(offset);
                value(&moved)
            };
            let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert!((heads.grad().view(-1).double_value(&[index]) - slope).abs() < 1e-8);
        }
    }

    #[test]
    fn one_head_costs_nothing_and_equal_heads_a_finite_amount() {
        let alone = noise(1, &[2, 1, 5]).set_requires_grad(true);
        assert_eq!(partition(&alone), Tensor::zeros([0i64; 0], (Kind::Double, tch::Device::Cpu)));
        assert!(!partition(&alone).requires_grad());
        let equal = noise(1, &[2, 1, 5]).repeat([1, 4, 1]);
        close("equal heads", value(&equal), (1.0 + 4.0 / f64::EPSILON).ln(), 1e-12);
        assert!((value(&equal) - 37.429_947_75).abs() < 1e-8);
    }
}
