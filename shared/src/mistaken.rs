//! Files that are often mistaken for weights: failed downloads, web pages, archives.

use std::fmt;

/// How many bytes are looked at to tell whether a file is text.
const HEAD: usize = 1024;
/// How many characters of a text are quoted.
const QUOTED: usize = 60;
/// Compressed formats and the bytes that they begin with.
const COMPRESSED: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
];

/// A file that does not hold weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistaken {
    Empty,
    /// A download that reserved its space and was interrupted.
    Zeros,
    WebPage,
    Xml,
    GitLfs,
    Json,
    /// Any other text, with its first line.
    Text(String),
    /// A compressed file, with the name of its format.
    Compressed(&'static str),
    Hdf5,
}

impl Mistaken {
    /// What `file` is, if it is one of these. Call this only for a file in none of the formats that can be read.
    pub fn recognise(file: &[u8]) -> Option<Self> {
        if file.is_empty() {
            return Some(Self::Empty);
        }
        if file.iter().all(|&byte| byte == 0) {
            return Some(Self::Zeros);
        }
        if file.starts_with(b"\x89HDF\r\n\x1a\n") {
            return Some(Self::Hdf5);
        }
        if let Some((_, format)) = COMPRESSED.into_iter().find(|(magic, _)| file.starts_with(magic)) {
            return Some(Self::Compressed(format));
        }
        let text = head_of_text(file)?;
        Some(match text.chars().next() {
            None => Self::Empty, // Only white space.
            Some('<') if is_html(text) => Self::WebPage,
            Some('<') => Self::Xml,
            Some('{' | '[') => Self::Json,
            Some(_) if is_pointer(text) => Self::GitLfs,
            Some(_) => {
                let line = text.lines().next().unwrap_or_default().trim_end();
                Self::Text(line.chars().take(QUOTED).collect())
            }
        })
    }
}

/// The beginning of a text file, without a byte order mark and leading white space.
fn head_of_text(file: &[u8]) -> Option<&str> {
    let head = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let head = &head[..head.len().min(HEAD)];
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The cut went through a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_text = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(is_text).then(|| text.trim_start())
}

fn is_html(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| text.contains(tag))
}

fn is_pointer(text: &str) -> bool {
    ["version https://git-lfs.github.com/spec/", "version https://hawser.github.com/spec/"]
        .iter()
        .any(|first| text.starts_with(first))
}

impl fmt::Display for Mistaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty file: download or copy it again"),
            Self::Zeros => f.write_str("a file of zero bytes only, as a broken download leaves it: download it again"),
            Self::WebPage => f.write_str(
                "a web page, not weights: the link led to a login, a confirmation or an error; open it in a browser and \
                 download the file itself",
            ),
            Self::Xml => f.write_str(
                "an XML document, not weights, perhaps a server's error message: download the file itself",
            ),
            Self::GitLfs => f.write_str(
                "a Git LFS pointer, not the weights themselves: run `git lfs pull` in the repository that it is from",
            ),
            Self::Json => f.write_str(
                "a JSON document, not weights; if it is the index of a model in several files, name one of these",
            ),
            Self::Text(line) => write!(f, "a text file, not weights; it begins with {line:?}"),
            Self::Compressed(format) => write!(f, "compressed ({format}): unpack it first"),
            Self::Hdf5 => f.write_str(
                "an HDF5 file, as Keras saves it: load it in Python and save its arrays with numpy.savez",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 10: what a failed download leaves is recognised.
    #[test]
    fn each_mistake_is_told_apart() {
        let page =
            b"\xef\xbb\xbf\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning".as_slice();
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102534\n";
        let cut = ["€".repeat(400).as_bytes(), b"\xff"].concat(); // A character lies across the cut.
        let of =
            |file: &[u8]| Mistaken::recognise(file).map(|mistaken| mistaken.to_string()).unwrap_or_default();
        for (file, words) in [
            (&b""[..], "an empty file"),
            (b" \r\n", "an empty file"),
            (&[0; 600], "a file of zero bytes only"),
            (page, "a web page"),
            (b"<html>\n", "a web page"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
            (pointer, "a Git LFS pointer"),
            (b"{\"metadata\": {}, \"weight_map\": {}}", "a JSON document"),
            (b"404: Not Found", "a text file, not weights; it begins with \"404: Not Found\""),
            (&cut, "a text file"),
            (b"\x1f\x8b\x08\x00", "compressed (gzip)"),
            (b"\x89HDF\r\n\x1a\n\x00", "an HDF5 file"),
        ] {
            let said = of(file);
            assert!(said.starts_with(words), "{:?}: {said}", String::from_utf8_lossy(file));
        }
        for unknown in [&b"GIF89a\x00\x01"[..], b"\x80\x02}q\x00.", b"\xff\xfe<\x00"] {
            assert_eq!(Mistaken::recognise(unknown), None);
        }
    }
}
