//! Lists folders, without what file managers and other programs leave there.

use std::fs;
use std::io;
use std::path::Path;

use shared::image::is_clutter;

use super::names::is_of_image;

/// The entries of one folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Sorted by name.
    pub(super) entries: Vec<Entry>,
    /// Names that are not UTF-8, as far as they can be shown, sorted.
    pub(super) not_utf8: Vec<String>,
}

/// A file or folder, or a link to one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) is_folder: bool,
}

/// Lists `folder`, without hidden entries and clutter.
pub(super) fn list(folder: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let is_folder = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
        match entry.file_name().into_string() {
            Ok(name) if is_clutter(&name) => {}
            Ok(name) => listing.entries.push(Entry { name, is_folder }),
            Err(name) => listing.not_utf8.push(name.to_string_lossy().into_owned()),
        }
    }
    listing.entries.sort();
    listing.not_utf8.sort();
    Ok(listing)
}

/// The number of files below `folder` with an image's extension. Links to folders, which may form a circle, and folders
/// that cannot be read do not count.
pub(super) fn images_below(folder: &Path) -> u64 {
    let mut images = 0;
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in list(&folder).unwrap_or_default().entries {
            let path = folder.join(&entry.name);
            if !entry.is_folder {
                images += u64::from(is_of_image(&entry.name));
            } else if !path.is_symlink() {
                waiting.push(path);
            }
        }
    }
    images
}
