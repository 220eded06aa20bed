//! The manifest of a backup: entries of the books, and the blobs they point to.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::blob::BlobRef;
use shared::bus::Bucket;

/// Everything but the blobs' bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub v: u32,
    /// Version of the program that wrote it, for people.
    pub program: String,
    pub entries: Vec<Entry>,
    pub blobs: Vec<Stored>,
}

/// One value of the books.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub key: String,
    pub value: Value,
}

/// A blob and the object store that it belongs to; its bytes are in the file of its digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Stored {
    pub store: Store,
    #[serde(flatten)]
    pub blob: BlobRef,
}

/// The object stores, by names that outlive those on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Store {
    Checkpoints,
    Results,
    Packs,
    Weights,
}

impl Manifest {
    /// Version of this layout.
    pub(super) const VERSION: u32 = 1;
}

impl Store {
    pub(super) fn bucket(self) -> Bucket {
        match self {
            Self::Checkpoints => Bucket::Checkpoints,
            Self::Results => Bucket::Results,
            Self::Packs => Bucket::Packs,
            Self::Weights => Bucket::Weights,
        }
    }
}

impl Stored {
    /// The name without the digest that every stored blob's ends in. `None` of one that was named by somebody else, or
    /// whose digest is none: it must not become the name of a file.
    pub(super) fn stem(&self) -> Option<&str> {
        let digest = &self.blob.sha256;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let start = digest.get(..16).filter(|_| is_digest)?;
        self.blob.name.strip_suffix(start)?.strip_suffix('.')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_end_in_their_digest_are_known() {
        let digest = "ab".repeat(32);
        let stored = |name: &str, sha256: &str| Stored {
            store: Store::Results,
            blob: BlobRef { name: name.to_owned(), sha256: sha256.to_owned(), size: 1 },
        };
        let name = format!("plan.demo.{}", &digest[..16]);
        assert_eq!(stored(&name, &digest).stem(), Some("plan.demo"));
        assert_eq!(stored("plan.demo", &digest).stem(), None);
        assert_eq!(stored("../../x", "../../x").stem(), None);
    }
}
