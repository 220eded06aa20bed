//! Files of any size, stored in parts of one blob each: memory use is constant, and an interrupted transfer continues.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Bucket, Bus, BusError};
use crate::blob::BlobRef;
use crate::protocol::StoredFile;

/// Bytes of every part but the last.
const PART: usize = 64 << 20;

impl Bus {
    /// Stores a file part by part. Parts that are already stored, as after an interruption, are not sent again.
    ///
    /// # Errors
    /// When the file cannot be read, or is too large.
    pub async fn put_file(&self, bucket: Bucket, stem: &str, path: &Path) -> Result<StoredFile, BusError> {
        let io = |source| BusError::File { path: path.to_owned(), source };
        let mut file = std::fs::File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        if size > (PART * StoredFile::MOST_PARTS) as u64 {
            let reason = format!("it has {size} bytes; files above 256 GiB are not sent");
            return Err(BusError::Untrue { what: path.display().to_string(), reason });
        }
        let mut parts = Vec::new();
        loop {
            let (part, rest) = blocking(move || {
                let mut part = Vec::new();
                (&file).take(PART as u64).read_to_end(&mut part)?;
                Ok((part, file))
            })
            .await
            .map_err(io)?;
            file = rest;
            // An empty file has one part, which is empty.
            if part.is_empty() && !parts.is_empty() {
                return Ok(StoredFile { parts });
            }
            let last = part.len() < PART;
            parts.push(self.put_blob(bucket, &format!("{stem}.{}", parts.len()), part.into()).await?);
            if last {
                return Ok(StoredFile { parts });
            }
        }
    }

    /// Fetches a file to `path`. Whole parts that an earlier, interrupted call left there are checked and kept; every
    /// other part is checked as it arrives. `arrived` is called with the size of every kept or new part, in bytes.
    ///
    /// # Errors
    /// When the description cannot be right, a part cannot be fetched ([`Self::read_blob`]), or the disk fails.
    pub async fn get_file(
        &self,
        bucket: Bucket,
        stored: &StoredFile,
        path: &Path,
        arrived: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), BusError> {
        let untrue = |reason| BusError::Untrue { what: "a stored file".to_owned(), reason };
        stored.check(bucket.largest()).map_err(untrue)?;
        let io = |source| BusError::File { path: path.to_owned(), source };
        let open = std::fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let parts = stored.parts.clone();
        let file = open.map_err(io)?;
        let (kept, mut file) = blocking(move || keep_whole(file, &parts)).await.map_err(io)?;
        for (index, part) in stored.parts.iter().enumerate() {
            if index >= kept {
                self.read_blob(bucket, part, |chunk| file.write_all(chunk).map_err(io)).await?;
            }
            arrived(part.size);
        }
        blocking(move || file.sync_all()).await.map_err(io)
    }
}

/// Counts the whole parts at the start of a file, cuts off what follows, and moves to the end.
fn keep_whole(mut file: std::fs::File, parts: &[BlobRef]) -> std::io::Result<(usize, std::fs::File)> {
    let (mut kept, mut end) = (0, 0);
    for part in parts {
        let mut hash = Sha256::new();
        let read = std::io::copy(&mut (&file).take(part.size), &mut Hashing(&mut hash))?;
        if read < part.size || hex::encode(hash.finalize()) != part.sha256 {
            break;
        }
        (kept, end) = (kept + 1, end + part.size);
    }
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok((kept, file))
}

struct Hashing<'a>(&'a mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs blocking work away from the thread that sends heartbeats.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(bytes: &[u8]) -> BlobRef {
        BlobRef { name: "b".into(), sha256: hex::encode(Sha256::digest(bytes)), size: bytes.len() as u64 }
    }

    #[test]
    fn an_interrupted_file_keeps_its_whole_parts_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let parts = [blob(b"abc"), blob(b"defg")];
        for (left, kept) in [("", 0), ("ab", 0), ("abc", 1), ("abcd", 1), ("abXdefg", 0), ("abcdefgh", 2)] {
            std::fs::write(&path, left).unwrap();
            let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
            assert_eq!(keep_whole(file, &parts).unwrap().0, kept, "{left}");
            let end = parts[..kept].iter().map(|part| part.size).sum::<u64>();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), end, "{left}");
        }
    }
}
