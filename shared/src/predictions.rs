//! Class probabilities by sample: the only thing ensembles need. Stored as NumPy `.npy`, shape [N, 6], little-endian f32.

use sha2::{Digest, Sha256};

use crate::expression::CLASSES;

/// Samples of one split in their stored order: the row order of every probability matrix over that split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SampleList {
    pub ids: Vec<String>,
    /// Class index, or `None` where the label is not known (an unlabelled test set).
    pub labels: Vec<Option<u8>>,
}

impl SampleList {
    /// SHA-256 over ids and labels in order, in hexadecimal. Only predictions over equal lists may be voted together.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (id, label) in self.ids.iter().zip(&self.labels) {
            hash.update(id.as_bytes());
            hash.update([0, label.map_or(u8::MAX, |class| class)]);
        }
        hex::encode(hash.finalize())
    }

    /// `id,label` lines under a header, the label empty where unknown.
    pub fn to_csv(&self) -> String {
        let mut csv = String::from("id,label\n");
        for (id, label) in self.ids.iter().zip(&self.labels) {
            csv.push_str(id);
            csv.push(',');
            if let Some(class) = label {
                csv.push_str(&class.to_string());
            }
            csv.push('\n');
        }
        csv
    }

    /// Reads what [`Self::to_csv`] wrote. The label is what follows the last comma.
    ///
    /// # Errors
    /// When a line has no comma, or its label is not empty and not a class index.
    pub fn from_csv(text: &str) -> Result<Self, PredictionsError> {
        let mut list = Self::default();
        for (number, line) in text.lines().enumerate().skip(1) {
            let bad = || PredictionsError::SampleLine { line: number + 1, text: line.to_owned() };
            let (id, label) = line.rsplit_once(',').ok_or_else(bad)?;
            let label = match label {
                "" => None,
                class => {
                    Some(class.parse::<u8>().ok().filter(|&c| usize::from(c) < CLASSES).ok_or_else(bad)?)
                }
            };
            list.ids.push(id.to_owned());
            list.labels.push(label);
        }
        Ok(list)
    }
}

/// What is wrong with a stored probability matrix or sample list.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PredictionsError {
    #[error("not a .npy file of shape [N, {CLASSES}], little-endian f32: {0}")]
    Npy(String),
    #[error("line {line} of a sample list is not `id,class`: {text:?}")]
    SampleLine { line: usize, text: String },
}

/// Encodes an [N, 6] matrix as `.npy` version 1.0; NumPy's `load` reads it.
pub fn to_npy(probabilities: &[[f32; CLASSES]]) -> Vec<u8> {
    let mut header = header_text(probabilities.len());
    let unpadded = MAGIC.len() + 2 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(probabilities.iter().flatten().flat_map(|p| p.to_le_bytes()));
    bytes
}

/// Decodes an [N, 6] little-endian f32 `.npy` file; anything else is refused, and so are values that are no
/// probabilities (NaN, infinite).
pub fn from_npy(bytes: &[u8]) -> Result<Vec<[f32; CLASSES]>, PredictionsError> {
    let wrong = |what: &str| PredictionsError::Npy(what.to_owned());
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| wrong("wrong magic or version"))?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(|| wrong("truncated header"))?;
    let (header, data) = rest
        .split_at_checked(usize::from(u16::from_le_bytes(*length)))
        .ok_or_else(|| wrong("truncated header"))?;
    let row = CLASSES * size_of::<f32>();
    if header.trim_ascii_end() != header_text(data.len() / row).as_bytes() || data.len() % row != 0 {
        return Err(wrong(&String::from_utf8_lossy(header)));
    }
    let values: Vec<f32> =
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    if values.iter().any(|v| !v.is_finite()) {
        return Err(wrong("a value is not finite"));
    }
    Ok(values.chunks_exact(CLASSES).map(|row| std::array::from_fn(|class| row[class])).collect())
}

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

fn header_text(rows: usize) -> String {
    format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {CLASSES}), }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npy_round_trips_and_is_aligned() {
        let rows: Vec<[f32; CLASSES]> =
            (0..5).map(|i| std::array::from_fn(|c| (i * 6 + c) as f32 / 30.0)).collect();
        let bytes = to_npy(&rows);
        assert_eq!((bytes.len() - rows.len() * 24) % 64, 0);
        assert_eq!(from_npy(&bytes).unwrap(), rows);
        assert_eq!(from_npy(&to_npy(&[])).unwrap(), Vec::<[f32; CLASSES]>::new());
    }

    #[test]
    fn damaged_npy_is_refused() {
        let good = to_npy(&[[0.5; CLASSES]; 3]);
        for cut in [0, 5, 9, 40, good.len() - 1, good.len() - 24] {
            assert!(from_npy(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(from_npy(&to_npy(&[[f32::NAN; CLASSES]])).is_err());
    }

    #[test]
    fn sample_lists_round_trip_and_their_digest_sees_order_and_labels() {
        let list = SampleList { ids: vec!["a,b.jpg".into(), "c".into()], labels: vec![Some(3), None] };
        assert_eq!(SampleList::from_csv(&list.to_csv()).unwrap(), list);
        let swapped = SampleList { ids: vec!["c".into(), "a,b.jpg".into()], labels: vec![None, Some(3)] };
        let relabelled = SampleList { labels: vec![Some(2), None], ..list.clone() };
        assert_ne!(list.digest(), swapped.digest());
        assert_ne!(list.digest(), relabelled.digest());
        assert!(SampleList::from_csv("id,label\nx,9\n").is_err());
    }
}
