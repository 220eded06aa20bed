//! Where the bytes of a file are on a server: in one blob, or in several parts.

use serde::{Deserialize, Serialize};

use crate::blob::BlobRef;

/// Where the bytes of a file are: its parts in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Layout")]
pub struct StoredFile {
    pub parts: Vec<BlobRef>,
}

/// The layouts on a server: earlier versions stored every file as one blob.
#[derive(Deserialize)]
#[serde(untagged)]
enum Layout {
    Parts { parts: Vec<BlobRef> },
    Whole(BlobRef),
}

impl From<Layout> for StoredFile {
    fn from(stored: Layout) -> Self {
        match stored {
            Layout::Parts { parts } => Self { parts },
            Layout::Whole(blob) => Self { parts: vec![blob] },
        }
    }
}

impl StoredFile {
    /// The most parts that a file may have. The list of them must fit into one value of the books.
    pub const MOST_PARTS: usize = 4096;

    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.size))
    }

    /// Checks a description that was received.
    ///
    /// # Errors
    /// When there are too many parts, or a part is larger than `largest` or cannot be right.
    pub fn check(&self, largest: u64) -> Result<(), String> {
        if self.parts.len() > Self::MOST_PARTS {
            return Err(format!("it has {} parts, more than {}", self.parts.len(), Self::MOST_PARTS));
        }
        self.parts.iter().try_for_each(|part| part.check(largest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_versions_stored_is_read() {
        let blob = BlobRef { name: "b".into(), sha256: "a".repeat(64), size: 3 };
        let one = serde_json::to_string(&blob).unwrap();
        let stored: StoredFile = serde_json::from_str(&one).unwrap();
        assert_eq!(stored.parts, [blob]);
        let again: StoredFile = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
        assert_eq!(again, stored);
    }
}
