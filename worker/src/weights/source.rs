//! A file of tensors in any supported format, with its digest and its tensors by name.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use shared::mistaken::Mistaken;
use shared::weights::Provenance;

use super::content::{Content, Format, SourceError, Tensors};
use super::{containers, numpy};

/// The largest file that is read. The whole file is held in memory.
const MAX_FILE: u64 = 8 << 30;

/// A readable file.
#[derive(Debug)]
pub struct Source {
    pub format: Format,
    /// SHA-256 of the whole file.
    pub sha256: String,
    pub size: u64,
    pub tensors: Tensors,
    /// Values that are not tensors, as `name: kind`.
    pub others: Vec<String>,
    /// The description that Ferry wrote into the file, if it did.
    pub provenance: Option<Provenance>,
}

impl Source {
    /// Reads the file at `path`. Nothing in it is executed.
    ///
    /// # Errors
    ///
    /// The file cannot be read, has an unknown format, is damaged, or contains no tensors.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let io = |source| SourceError::Io { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        if size > MAX_FILE {
            return Err(SourceError::TooLarge(size));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(io)?;
        Self::of(path, bytes)
    }

    fn of(path: &Path, file: Vec<u8>) -> Result<Self, SourceError> {
        let sha256 = hex::encode(Sha256::digest(&file));
        let size = file.len() as u64;
        let content = match recognise(&file)? {
            Format::Safetensors => containers::safetensors(file)?,
            Format::Npz => containers::npz(file)?,
            format @ (Format::TorchZip | Format::TorchLegacy | Format::TorchTar) => {
                containers::torch(path, format)?
            }
            Format::NumpyPickle => {
                let file = Arc::new(file);
                let (tensors, others) = numpy::read_pickle(&file).map_err(|error| no_pickle(&file, error))?;
                Content { format: Format::NumpyPickle, tensors, others, provenance: None }
            }
        };
        let Content { format, tensors, others, provenance } = content;
        if tensors.is_empty() {
            return Err(SourceError::Empty(others));
        }
        Ok(Self { format, sha256, size, tensors, others, provenance })
    }
}

/// The magic number at the start of files of torch.save before 1.6.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

fn recognise(file: &[u8]) -> Result<Format, SourceError> {
    let start = &file[..file.len().min(64)];
    if start.starts_with(b"PK\x03\x04") {
        return containers::kind_of_zip(file);
    }
    if start.starts_with(b"\x93NUMPY") {
        return Err(SourceError::Nameless);
    }
    if file.get(8) == Some(&b'{')
        && file[..8].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)) < 1 << 32
    {
        return Ok(Format::Safetensors);
    }
    if file.get(257..262) == Some(b"ustar") {
        return Ok(Format::TorchTar);
    }
    if start.windows(LEGACY_MAGIC.len()).any(|window| window == LEGACY_MAGIC) {
        return Ok(Format::TorchLegacy);
    }
    match start.first() {
        // A pickle of protocol 2 or later, or the first instruction of an older pickle that creates a dictionary.
        Some(0x80 | b'(' | b'}' | b'c') => Ok(Format::NumpyPickle),
        _ => Err(Mistaken::recognise(file).map_or(SourceError::Unknown, SourceError::Mistaken)),
    }
}

/// Pickles of protocol 0 are text, so another text file may have been mistaken for one.
fn no_pickle(file: &[u8], error: SourceError) -> SourceError {
    match error {
        SourceError::Pickle(_) => Mistaken::recognise(file).map_or(error, SourceError::Mistaken),
        other => other,
    }
}
