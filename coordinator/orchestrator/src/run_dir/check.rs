//! Checks a result's matrices against its record and the sample lists, before they are stored and when they are read.

use sha2::{Digest, Sha256};
use shared::predictions::{Matrix, SampleList, from_npy};
use shared::result::Predictions;
use shared::vote::score;

/// F1 values computed twice from the same counts differ only by rounding.
const SCORE_TOLERANCE: f64 = 1e-9;

/// A sample list and its digest, which takes as long to compute as the list is.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    pub(super) list: SampleList,
    pub(super) digest: String,
}

impl From<SampleList> for Samples {
    fn from(list: SampleList) -> Self {
        Self { digest: list.digest(), list }
    }
}

/// Checks a matrix against its record and the run's samples. Returns the matrix, or what is wrong.
pub(super) fn check_matrix(record: &Predictions, bytes: &[u8], samples: &Samples) -> Result<Matrix, String> {
    let digest = sha256(bytes);
    if digest != record.probabilities.sha256 {
        return Err(format!(
            "the probabilities have SHA-256 {digest}, the record says {}",
            record.probabilities.sha256
        ));
    }
    let matrix = from_npy(bytes).map_err(|error| error.to_string())?;
    let Samples { list, digest } = samples;
    if matrix.len() != list.ids.len() {
        return Err(format!(
            "the probabilities have {} rows, the sample list has {}",
            matrix.len(),
            list.ids.len()
        ));
    }
    if record.samples_digest != *digest {
        return Err(OTHER_ORDER.to_owned());
    }
    let classes = matrix.classes();
    if let Some(label) = list.labels.iter().flatten().find(|&&label| label as usize >= classes) {
        return Err(format!("the sample list has label {label}, the probabilities are of {classes} classes"));
    }
    let recomputed = score(&matrix, list).map(|score| score.macro_f1);
    let recorded = record.macro_f1;
    match (recomputed, recorded) {
        (None, None) => Ok(matrix),
        (Some(a), Some(b)) if (a - b).abs() <= SCORE_TOLERANCE => Ok(matrix),
        _ => Err(format!("the record's macro F1 is {recorded:?}, its probabilities give {recomputed:?}")),
    }
}

/// Why a result with another sample list is refused.
pub(super) const OTHER_ORDER: &str = "the probabilities are in the order of another sample list than those of the results before \
    it; jobs that predict other samples, or other labels, belong in another sweep";

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
