//! The digest inside a safetensors file. It covers a JSON object of facts and all tensors, so that every reader of the
//! file notices damage, wherever the file comes from.

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::mistaken::Mistaken;

/// What a file says of itself besides its tensors.
pub type Facts = Map<String, Value>;

/// Metadata key of the facts. It is the only key, because the order of several would differ from run to run.
pub const FACTS: &str = "ferry";
/// The fact that is the digest.
const DIGEST: &str = "sha256";

/// Why a file cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("not a whole safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    #[error("{0}")]
    Mistaken(Mistaken),
    #[error("no `{FACTS}` with a `{DIGEST}` in its metadata: the file was not written by this program")]
    Unsealed,
    #[error("its content has digest {found}, its metadata says {expected}: the bytes are damaged")]
    Damaged { found: String, expected: String },
}

impl SealError {
    /// The error of a file that is not safetensors.
    fn of(file: &[u8], error: safetensors::SafeTensorError) -> Self {
        Mistaken::recognise(file).map_or(Self::Format(error), Self::Mistaken)
    }
}

/// The tensors and the facts of a file.
///
/// # Errors
/// When the file is not whole safetensors, has no seal, or its content does not match its digest.
pub fn open(file: &[u8]) -> Result<(SafeTensors<'_>, Facts), SealError> {
    let (_, header) = SafeTensors::read_metadata(file).map_err(|error| SealError::of(file, error))?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(FACTS));
    let mut facts: Facts =
        text.and_then(|text| serde_json::from_str(text).ok()).ok_or(SealError::Unsealed)?;
    let Some(Value::String(expected)) = facts.remove(DIGEST) else { return Err(SealError::Unsealed) };
    let tensors = SafeTensors::deserialize(file)?;
    let views: BTreeMap<_, _> = tensors.iter().collect();
    let found = digest(&facts, views.iter().map(|(name, view)| (*name, view.data())));
    if found != expected {
        return Err(SealError::Damaged { found, expected });
    }
    Ok((tensors, facts))
}

/// The metadata of a file with these facts and tensors. The tensors must come in the order of their names.
pub fn metadata<'a>(
    mut facts: Facts,
    tensors: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> (String, String) {
    let digest = digest(&facts, tensors);
    facts.insert(DIGEST.to_owned(), digest.into());
    (FACTS.to_owned(), Value::Object(facts).to_string())
}

fn digest<'a>(facts: &Facts, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    for (name, fact) in facts {
        hash.update(name);
        hash.update([0]);
        hash.update(fact.to_string());
        hash.update([0]);
    }
    for (name, bytes) in tensors {
        hash.update([0]);
        hash.update(name);
        hash.update([0]);
        hash.update(bytes);
    }
    hex::encode(hash.finalize())
}
