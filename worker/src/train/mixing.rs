//! The random draws of mix-up (Zhang et al., arXiv 1710.09412): one share and one permutation per batch.

use serde::Deserialize;
use shared::rng::{Purpose, Stream};

/// How one batch is mixed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Mixing {
    /// Share of each image itself, in [0, 1]. Values below one half are kept, not replaced by `1 - lambda`.
    pub lambda: f64,
    /// The partner of each sample: a permutation, in which a sample may be its own partner.
    pub partners: Vec<i64>,
}

impl Mixing {
    /// Draws for batch `batch` of `epoch`, which has `size` samples. An `alpha` of 0 mixes nothing.
    pub fn draw(seed: u64, epoch: u32, batch: usize, size: usize, alpha: f64) -> Self {
        let mut stream = Stream::new(seed, Purpose::Mixing, &[u64::from(epoch), batch as u64]);
        let lambda = symmetric_beta(alpha, &mut stream);
        let mut partners: Vec<i64> = (0..size as i64).collect();
        stream.shuffle(&mut partners);
        Self { lambda, partners }
    }
}

/// A Beta(alpha, alpha) variate as a ratio of two gamma variates. It uses their logarithms, because both often
/// underflow for small alpha.
fn symmetric_beta(alpha: f64, stream: &mut Stream) -> f64 {
    if alpha <= 0.0 {
        return 1.0;
    }
    let [first, second] = [(); 2].map(|()| log_gamma_variate(alpha, stream));
    1.0 / (1.0 + (second - first).exp())
}

/// The logarithm of a Gamma(shape, 1) variate: Marsaglia & Tsang (2000) for shape + 1, then
/// G(shape) = G(shape + 1) · U^(1/shape).
fn log_gamma_variate(shape: f64, stream: &mut Stream) -> f64 {
    let d = shape + 1.0 - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = (1.0 + c * x).powi(3);
        let log_uniform = (1.0 - stream.uniform()).ln();
        if v > 0.0 && log_uniform < 0.5 * x * x + d * (1.0 - v + v.ln()) {
            return (d * v).ln() + (1.0 - stream.uniform()).ln() / shape;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "without mixing the share is exactly 1")]

    use super::*;

    const DRAWS: usize = 100_000;

    fn lambdas(alpha: f64) -> Vec<f64> {
        (0..DRAWS).map(|batch| Mixing::draw(7, 1, batch, 2, alpha).lambda).collect()
    }

    fn share(lambdas: &[f64], low: f64, high: f64) -> f64 {
        lambdas.iter().filter(|&&l| low < l && l < high).count() as f64 / DRAWS as f64
    }

    #[test]
    fn a_tenth_gives_the_papers_distribution() {
        let lambdas = lambdas(0.1);
        assert!(lambdas.iter().all(|l| (0.0..=1.0).contains(l)));
        let mean = lambdas.iter().sum::<f64>() / DRAWS as f64;
        let variance = lambdas.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / DRAWS as f64;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        assert!((variance - 0.2083).abs() < 0.003, "{variance}");
        assert!((share(&lambdas, 0.1, 0.9) - 0.187).abs() < 0.005);
        assert!((share(&lambdas, 0.01, 0.99) - 0.359).abs() < 0.005);
        assert!((share(&lambdas, -1.0, 0.01) - share(&lambdas, 0.99, 2.0)).abs() < 0.01);
    }

    #[test]
    fn one_is_uniform_and_extremes_are_numbers() {
        let uniform = lambdas(1.0);
        assert!((share(&uniform, 0.25, 0.5) - 0.25).abs() < 0.005);
        for alpha in [1e-9, 100.0] {
            assert!(lambdas(alpha).iter().all(|l| (0.0..=1.0).contains(l)), "{alpha}");
        }
        assert!(lambdas(0.0).iter().all(|&l| l == 1.0));
    }

    #[test]
    fn partners_are_a_permutation_that_repeats() {
        let mixing = Mixing::draw(1, 2, 3, 40, 0.1);
        let mut sorted = mixing.partners.clone();
        assert_ne!(sorted, (0..40).collect::<Vec<_>>());
        sorted.sort_unstable();
        assert_eq!(sorted, (0..40).collect::<Vec<_>>());
        assert_eq!(mixing, Mixing::draw(1, 2, 3, 40, 0.1));
        assert_ne!(mixing, Mixing::draw(1, 2, 4, 40, 0.1));
    }
}
