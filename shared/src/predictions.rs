//! Class probabilities by sample: the only thing ensembles need. Stored as NumPy `.npy`, shape [N, C], little-endian f32.

use sha2::{Digest, Sha256};

/// The most classes that a matrix may have.
pub const MOST_CLASSES: usize = 65_536;

/// A value for each class of each sample, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix<T = f32> {
    classes: usize,
    values: Vec<T>,
}

impl<T> Matrix<T> {
    /// The matrix with these values, row by row. `None` unless they fill whole rows of 1 to [`MOST_CLASSES`] classes.
    pub fn new(classes: usize, values: Vec<T>) -> Option<Self> {
        let whole = (1..=MOST_CLASSES).contains(&classes) && values.len().is_multiple_of(classes);
        whole.then_some(Self { classes, values })
    }

    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.values.len() / self.classes
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All values, row by row.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// One row for each sample.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, T> {
        self.values.chunks_exact(self.classes)
    }
}

impl<T: Clone, const CLASSES: usize> From<&[[T; CLASSES]]> for Matrix<T> {
    /// `CLASSES` must be between 1 and [`MOST_CLASSES`].
    fn from(rows: &[[T; CLASSES]]) -> Self {
        const { assert!(CLASSES >= 1 && CLASSES <= MOST_CLASSES) };
        Self { classes: CLASSES, values: rows.as_flattened().to_vec() }
    }
}

/// Samples of one split in their stored order: the row order of every probability matrix over that split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SampleList {
    pub ids: Vec<String>,
    /// Class index, or `None` where the label is not known (an unlabelled test set).
    pub labels: Vec<Option<u32>>,
}

impl SampleList {
    /// SHA-256 over ids and labels in order, in hexadecimal. Only predictions over equal lists may be voted together.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (id, label) in self.ids.iter().zip(&self.labels) {
            hash.update(id.as_bytes());
            // One byte for the first classes, so that lists have the digests that they had when there were six.
            match label.map(u8::try_from) {
                None => hash.update([0, u8::MAX]),
                Some(Ok(class)) if class < u8::MAX => hash.update([0, class]),
                Some(_) => hash.update([&[1][..], &label.unwrap_or_default().to_le_bytes()].concat()),
            }
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
                    Some(class.parse().ok().filter(|&class| class < MOST_CLASSES as u32).ok_or_else(bad)?)
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
    #[error("not a .npy file of shape [N, C], little-endian f32: {0}")]
    Npy(String),
    #[error("line {line} of a sample list is not `id,class`: {text:?}")]
    SampleLine { line: usize, text: String },
}

/// Encodes a matrix as `.npy` version 1.0; NumPy's `load` reads it.
pub fn to_npy(probabilities: &Matrix) -> Vec<u8> {
    let mut header = header_text(probabilities.len(), probabilities.classes);
    let unpadded = MAGIC.len() + 2 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(probabilities.values.iter().flat_map(|p| p.to_le_bytes()));
    bytes
}

/// Decodes an [N, C] little-endian f32 `.npy` file; anything else is refused, and so are values that are no
/// probabilities (NaN, infinite).
///
/// # Errors
/// When the bytes are not such a file.
pub fn from_npy(bytes: &[u8]) -> Result<Matrix, PredictionsError> {
    let wrong = |what: &str| PredictionsError::Npy(what.to_owned());
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| wrong("wrong magic or version"))?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(|| wrong("truncated header"))?;
    let (header, data) = rest
        .split_at_checked(usize::from(u16::from_le_bytes(*length)))
        .ok_or_else(|| wrong("truncated header"))?;
    let header = String::from_utf8_lossy(header.trim_ascii_end());
    let (rows, classes) = shape(&header).ok_or_else(|| wrong(&header))?;
    let values: Vec<f32> =
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    if header != header_text(rows, classes) || Some(data.len()) != (rows * classes).checked_mul(4) {
        return Err(wrong(&header));
    }
    if values.iter().any(|v| !v.is_finite()) {
        return Err(wrong("a value is not finite"));
    }
    Matrix::new(classes, values).ok_or_else(|| wrong(&header))
}

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

fn header_text(rows: usize, classes: usize) -> String {
    format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {classes}), }}")
}

/// Rows and classes in a header. The caller compares the whole text.
fn shape(header: &str) -> Option<(usize, usize)> {
    let (rows, classes) = header.split_once('(')?.1.split_once(')')?.0.split_once(", ")?;
    let (rows, classes): (u32, u32) = (rows.parse().ok()?, classes.parse().ok()?);
    (classes as usize <= MOST_CLASSES).then_some((rows as usize, classes as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npy_round_trips_and_is_aligned() {
        for classes in [1, 2, 6, 1000] {
            let matrix = Matrix::new(classes, (0..5 * classes).map(|n| n as f32 / 30.0).collect()).unwrap();
            let bytes = to_npy(&matrix);
            assert_eq!((bytes.len() - 5 * classes * 4) % 64, 0);
            assert_eq!(from_npy(&bytes).unwrap(), matrix);
            let empty = Matrix::new(classes, Vec::new()).unwrap();
            assert_eq!(from_npy(&to_npy(&empty)).unwrap(), empty);
        }
        assert_eq!(Matrix::new(3, vec![0.0; 4]), None);
        assert_eq!(Matrix::<f32>::new(0, Vec::new()), None);
    }

    #[test]
    fn damaged_npy_is_refused() {
        let good = to_npy(&Matrix::from(&[[0.5; 6]; 3][..]));
        for cut in [0, 5, 9, 40, good.len() - 1, good.len() - 24] {
            assert!(from_npy(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(from_npy(&to_npy(&Matrix::from(&[[f32::NAN; 6]][..]))).is_err());
        let text = String::from_utf8_lossy(&good).replace("(3, 6)", "(2, 9)");
        assert!(from_npy(text.as_bytes()).is_err());
    }

    #[test]
    fn sample_lists_round_trip_and_their_digest_sees_order_and_labels() {
        let list = SampleList { ids: vec!["a,b.jpg".into(), "c".into()], labels: vec![Some(3), None] };
        assert_eq!(SampleList::from_csv(&list.to_csv()).unwrap(), list);
        let swapped = SampleList { ids: vec!["c".into(), "a,b.jpg".into()], labels: vec![None, Some(3)] };
        let relabelled = SampleList { labels: vec![Some(2), None], ..list.clone() };
        assert_ne!(list.digest(), swapped.digest());
        assert_ne!(list.digest(), relabelled.digest());
        assert!(SampleList::from_csv("id,label\nx,70000\n").is_err());
        let many = |class| SampleList { ids: vec!["a".into()], labels: vec![Some(class)] };
        assert_ne!(many(254).digest(), many(255).digest());
        assert_ne!(many(300).digest(), many(301).digest());
    }
}
