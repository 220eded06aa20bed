//! Partition loss: keeps the attention heads apart (yaoing/DAN; arXiv 2109.07270, section 3.3).
//!
//! loss = log(1 + K / (v + ε)), v the mean over batch and channels of the unbiased variance over the K heads. The
//! same for heads before and after a log-softmax over K, which only shifts them all.

use tch::Tensor;

/// Of heads `[B, K, D]`; 0, without gradient, for a single head.
pub fn partition(heads: &Tensor) -> Tensor {
    let count = heads.size()[1];
    if count == 1 {
        return Tensor::zeros([0i64; 0], (heads.kind(), heads.device()));
    }
    let variance = heads.var_dim([1i64].as_slice(), true, false).mean(None);
    ((variance + f64::EPSILON).reciprocal() * count as f64).log1p()
}
