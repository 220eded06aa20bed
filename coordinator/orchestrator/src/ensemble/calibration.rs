//! How far probabilities can be taken at their word: calibration error, and the temperature that corrects it. Pure.

use serde::Serialize;
use shared::confusion::argmax;

use super::combine::{Candidates, tempered};

/// The number of bins of a reliability diagram (as in Guo et al., On Calibration of Modern Neural Networks, 2017).
pub const BINS: usize = 15;

/// The temperature is looked for between one over this and this.
const WIDEST: f64 = 10.0;
/// Steps of the golden-section search: each leaves 62 % of the range.
const STEPS: usize = 20;
/// One number needs no more samples than this.
const MOST_SAMPLES: usize = 20_000;

/// Predictions of similar confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    pub samples: usize,
    /// Mean probability of the predicted class.
    pub confidence: f64,
    /// Share of these predictions that are right.
    pub accuracy: f64,
}

/// Calibration of one set of predictions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error: the mean distance between confidence and accuracy, between 0 and 1.
    pub ece: f64,
    /// The reliability diagram: bins of equal width by confidence, without the empty ones.
    pub bins: Vec<Bin>,
}

/// Calibration of `shares`, a row for each sample.
pub fn calibration(candidates: &Candidates<'_>, shares: &[f64]) -> Calibration {
    let mut bins = vec![(0_usize, 0.0, 0_usize); BINS];
    for (row, truth) in shares.chunks_exact(candidates.classes()).zip(candidates.truths()) {
        let predicted = argmax(row);
        let confidence = row[predicted];
        let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
        let (samples, confidences, hits) = &mut bins[bin];
        *samples += 1;
        *confidences += confidence;
        *hits += usize::from(predicted == *truth);
    }
    let bins: Vec<Bin> = bins
        .into_iter()
        .filter(|(samples, ..)| *samples > 0)
        .map(|(samples, confidences, hits)| Bin {
            samples,
            confidence: confidences / samples as f64,
            accuracy: hits as f64 / samples as f64,
        })
        .collect();
    let all: usize = bins.iter().map(|bin| bin.samples).sum();
    let distance = |bin: &Bin| (bin.confidence - bin.accuracy).abs() * bin.samples as f64;
    let ece = bins.iter().map(distance).sum::<f64>() / all.max(1) as f64;
    Calibration { ece, bins }
}

/// The temperature with which a candidate's probabilities are most likely, by golden-section search (its likelihood has
/// one maximum).
pub fn temperature(candidates: &Candidates<'_>, candidate: usize) -> f64 {
    let every = candidates.truths().len().div_ceil(MOST_SAMPLES).max(1);
    let mut scaled = vec![0.0; candidates.classes()];
    let mut loss = |log: f64| -> f64 {
        let rows = candidates.rows(candidate).zip(candidates.truths()).step_by(every);
        rows.map(|(row, &truth)| {
            tempered(row, Some(log.exp()), &mut scaled);
            -scaled[truth].max(f64::MIN_POSITIVE).ln()
        })
        .sum()
    };
    let ratio = (5_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (-WIDEST.ln(), WIDEST.ln());
    let inner = |low: f64, high: f64| (high - ratio * (high - low), low + ratio * (high - low));
    let (mut left, mut right) = inner(low, high);
    let (mut at_left, mut at_right) = (loss(left), loss(right));
    for _ in 0..STEPS {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = inner(low, high).0;
            at_left = loss(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = inner(low, high).1;
            at_right = loss(right);
        }
    }
    f64::midpoint(low, high).exp()
}

#[cfg(test)]
mod tests {
    use shared::predictions::{Matrix, SampleList};

    use super::super::combine::Combination;
    use super::*;

    /// 100 samples of class 0, of which `right` are predicted, all with this probability.
    fn sure(probability: f32, right: usize) -> (Matrix, SampleList) {
        let row = |n: usize| {
            if n < right { [probability, 1.0 - probability] } else { [1.0 - probability, probability] }
        };
        let rows: Vec<[f32; 2]> = (0..100).map(row).collect();
        let samples =
            SampleList { ids: (0..100).map(|n| n.to_string()).collect(), labels: vec![Some(0); 100] };
        (Matrix::from(rows.as_slice()), samples)
    }

    #[test]
    fn the_error_is_the_distance_between_confidence_and_accuracy() {
        for (probability, right, expected) in [(0.9, 90, 0.0), (0.9, 60, 0.3), (0.6, 80, 0.2)] {
            let (matrix, samples) = sure(probability, right);
            let candidates = Candidates::new(&[&matrix], &samples).unwrap();
            let found = calibration(&candidates, &candidates.vote(&Combination::soft(vec![1.0])));
            assert!((found.ece - expected).abs() < 1e-6, "{found:?}");
            assert_eq!(found.bins.iter().map(|bin| bin.samples).sum::<usize>(), 100);
        }
    }

    #[test]
    fn the_temperature_makes_the_confidence_true() {
        let (matrix, samples) = sure(0.9, 75);
        let candidates = Candidates::new(&[&matrix], &samples).unwrap();
        // The odds 9 to 1 become 3 to 1 when their logarithm is halved.
        let found = temperature(&candidates, 0);
        assert!((found - 2.0).abs() < 1e-3, "{found}");
    }
}
