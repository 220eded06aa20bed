//! What a disk's error means.

use std::io::{Error, ErrorKind};

/// True if the disk is full, read-only or over its quota. Waiting helps, because somebody may fix that; other errors do
/// not go away by waiting.
pub fn is_lack_of_room(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::ReadOnlyFilesystem | ErrorKind::QuotaExceeded)
}
