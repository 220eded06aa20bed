//! Versions of stored layouts: which ones this program can read, and what to do about others.
//!
//! The version is checked before anything else is read, because another layout may have other fields.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a stored version cannot be read. The message continues a sentence, such as "order.1 has version 9 …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    #[error("has version {found}, but this program reads versions up to {newest} only: update Ferry")]
    Newer { found: u64, newest: u32 },
    #[error(
        "has version {found}, but this program reads version {oldest} and later only: use the version of Ferry that \
         wrote it"
    )]
    Older { found: u64, oldest: u32 },
    #[error("gives `{found}` as its version, which is not a whole number: it is damaged, or not Ferry's")]
    NotANumber { found: String },
}

/// Why stored JSON cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Version(#[from] VersionError),
    /// It is damaged, or another kind of record.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The versions of one kind of record that this program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    field: Field,
    oldest: u32,
    newest: u32,
}

/// The JSON field that holds the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    V,
    Version,
}

impl Versions {
    /// Every version up to `newest`, in the field `v`.
    pub const fn up_to(newest: u32) -> Self {
        Self { field: Field::V, oldest: 1, newest }
    }

    /// The same, in the field `version`.
    #[must_use]
    pub const fn spelled_out(self) -> Self {
        Self { field: Field::Version, ..self }
    }

    /// No version before `oldest`.
    #[must_use]
    pub const fn since(self, oldest: u32) -> Self {
        Self { oldest, ..self }
    }

    /// Checks a version.
    ///
    /// # Errors
    /// When it is newer or older than this program reads.
    pub fn check(self, found: u64) -> Result<(), VersionError> {
        if found > u64::from(self.newest) {
            return Err(VersionError::Newer { found, newest: self.newest });
        }
        if found < u64::from(self.oldest) {
            return Err(VersionError::Older { found, oldest: self.oldest });
        }
        Ok(())
    }

    /// Parses a version and checks it.
    ///
    /// # Errors
    /// As [`Self::check`], and when it is not a number.
    pub fn check_text(self, text: &str) -> Result<u64, VersionError> {
        let text = text.trim();
        let found = text.parse().map_err(|_| VersionError::NotANumber { found: brief(text) })?;
        self.check(found)?;
        Ok(found)
    }

    /// Reads JSON after checking its version.
    ///
    /// # Errors
    /// When the version is not one that this program reads, or the JSON is not a `T`.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, DecodeError> {
        #[derive(Deserialize)]
        struct Short {
            v: Value,
        }
        #[derive(Deserialize)]
        struct Long {
            version: Value,
        }
        let found = match self.field {
            Field::V => serde_json::from_slice::<Short>(bytes)?.v,
            Field::Version => serde_json::from_slice::<Long>(bytes)?.version,
        };
        let number =
            found.as_u64().ok_or_else(|| VersionError::NotANumber { found: brief(&found.to_string()) })?;
        self.check(number)?;
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// Text from elsewhere may be long; messages quote only its beginning.
fn brief(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Record {
        v: u32,
    }

    fn refusal(versions: Versions, json: &str) -> String {
        versions.decode::<Value>(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn newer_older_and_unknown_versions_are_told_apart() {
        let versions = Versions::up_to(3).since(2);
        assert_eq!(versions.decode::<Record>(br#"{"v":2}"#).unwrap(), Record { v: 2 });
        insta::assert_snapshot!(refusal(versions, r#"{"v":4,"state":"new"}"#), @"has version 4, but this program reads versions up to 3 only: update Ferry");
        insta::assert_snapshot!(refusal(versions, r#"{"v":1}"#), @"has version 1, but this program reads version 2 and later only: use the version of Ferry that wrote it");
        insta::assert_snapshot!(refusal(versions, r#"{"v":"soon"}"#), @r#"gives `"soon"` as its version, which is not a whole number: it is damaged, or not Ferry's"#);
        insta::assert_snapshot!(refusal(versions, r#"{"v":-1}"#), @"gives `-1` as its version, which is not a whole number: it is damaged, or not Ferry's");
        insta::assert_snapshot!(refusal(versions, "{}"), @"missing field `v` at line 1 column 2");
        assert!(matches!(
            versions.decode::<Record>(br#"{"v":18446744073709551616}"#),
            Err(DecodeError::Version(_))
        ));
    }

    #[test]
    fn versions_are_read_from_either_field_and_from_text() {
        let spelled_out = Versions::up_to(1).spelled_out();
        assert!(spelled_out.decode::<Value>(br#"{"version":1,"v":9}"#).is_ok());
        assert!(spelled_out.decode::<Value>(br#"{"v":1}"#).is_err());
        assert_eq!(Versions::up_to(2).check_text(" 2\n"), Ok(2));
        assert_eq!(Versions::up_to(2).check_text("3"), Err(VersionError::Newer { found: 3, newest: 2 }));
        let text = Versions::up_to(2).check_text(&"x".repeat(100)).unwrap_err().to_string();
        assert!(text.len() < 140, "{text}");
    }
}
