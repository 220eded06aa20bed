//! Pointers to immutable bytes in an object store, named by their digest.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A pointer to immutable bytes in the object store: never the bytes themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// Object name within its bucket.
    pub name: String,
    /// SHA-256 of the bytes in hexadecimal.
    pub sha256: String,
    pub size: u64,
}

impl BlobRef {
    /// The pointer to `bytes`, under a name that ends in their digest.
    pub fn of(stem: &str, bytes: &[u8]) -> Self {
        let sha256 = hex::encode(Sha256::digest(bytes));
        Self { name: format!("{stem}.{}", &sha256[..16]), sha256, size: bytes.len() as u64 }
    }

    /// Checks a pointer that came in a message.
    ///
    /// # Errors
    /// When the name has other characters than Ferry's own names, the digest is not one, or the size is above
    /// `largest`.
    pub fn check(&self, largest: u64) -> Result<(), String> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        if self.name.is_empty() || self.name.len() > 256 || !self.name.bytes().all(plain) {
            return Err(format!("{:?} is not a blob name", self.name.chars().take(80).collect::<String>()));
        }
        if !is_digest(&self.sha256) {
            return Err(format!("blob {} has no SHA-256 digest", self.name));
        }
        if self.size > largest {
            return Err(format!(
                "blob {} claims {} bytes, but at most {largest} are allowed here",
                self.name, self.size
            ));
        }
        Ok(())
    }
}

/// True for 64 lower-case hexadecimal digits, the only form in which a digest may become part of a path or key.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

/// The digest in `sha256:…`.
pub fn digest(name: &str) -> Option<&str> {
    let digits = name.strip_prefix("sha256:")?;
    is_digest(digits).then_some(digits)
}

/// For display: the first twelve digits if `text` is `sha256:` and a digest, else all of it.
pub fn shortened(text: &str) -> &str {
    digest(text).map_or(text, |digits| &digits[..12])
}
