//! What an error of a disk means.

use std::io::{Error, ErrorKind};

/// True for a disk that is full, read-only or over its quota: somebody mends that, and other errors do not pass by
/// waiting.
pub fn is_lack_of_room(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::ReadOnlyFilesystem | ErrorKind::QuotaExceeded)
}
