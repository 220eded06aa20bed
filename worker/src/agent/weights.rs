//! Finds weights by their digest: on this machine, in the cache, or on the server.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::bus::{Bucket, Bus, BusError};
use shared::disk;
use shared::protocol::{WeightsManifest, subjects};

use super::incoming::{Arrival, Incoming};

/// Why the weights of a job are not available.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error(
        "weights {digest} are not on this machine: name their folder with --data, or a server that has them with --nats"
    )]
    Absent { digest: String },
    #[error("cannot download weights {digest}: {source}")]
    Fetch { digest: String, source: BusError },
    #[error("the weights downloaded as {digest} have digest {found}: the server's copy is damaged")]
    Wrong { digest: String, found: String },
    #[error("the job names weights by {:?}, which is not a SHA-256 digest", .0)]
    Name(String),
    #[error("{} cannot be written: {source}; choose another cache with --cache", path.display())]
    Cache { path: PathBuf, source: std::io::Error },
}

impl WeightsError {
    /// True if a retry may succeed soon.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Fetch { source, .. } => source.is_transient() || matches!(source, BusError::Missing { .. }),
            Self::Absent { .. } | Self::Wrong { .. } | Self::Name(_) | Self::Cache { .. } => false,
        }
    }

    /// The file that cannot be written, if its disk is full or read-only.
    pub(super) fn unwritable(&self) -> Option<&Path> {
        match self {
            Self::Cache { path, source } => disk::is_lack_of_room(source).then_some(path),
            Self::Absent { .. } | Self::Fetch { .. } | Self::Wrong { .. } | Self::Name(_) => None,
        }
    }
}

/// The weights that this worker has or can fetch.
#[derive(Debug)]
pub struct WeightsStore {
    folders: Vec<PathBuf>,
    cache: PathBuf,
}

impl WeightsStore {
    /// A store that looks for files in `folders`, and keeps downloaded ones below `cache`.
    pub fn new(folders: Vec<PathBuf>, cache: &Path) -> Self {
        Self { folders, cache: cache.join("weights") }
    }

    /// The verified content of the file with this digest.
    pub(super) async fn get(&self, bus: &Bus, digest: &str) -> Result<Bytes, WeightsError> {
        self.find(Some(bus), digest).await
    }

    /// The same where there may be no server. The digest is checked first, because it becomes the name of a file.
    pub(super) async fn find(&self, bus: Option<&Bus>, digest: &str) -> Result<Bytes, WeightsError> {
        if !shared::blob::is_digest(digest) {
            return Err(WeightsError::Name(digest.to_owned()));
        }
        let place = self.cache.join(format!("{digest}.safetensors"));
        match tokio::fs::read(&place).await {
            Ok(bytes) if is(&bytes, digest) => return Ok(bytes.into()),
            Ok(_) => tracing::warn!("{} is damaged and is fetched again", place.display()),
            Err(_) => {} // Not downloaded yet. If the cache cannot be used, writing to it reports that.
        }
        let Some(bus) = bus else {
            let found = local(&self.folders, digest, None).await;
            return found.ok_or_else(|| WeightsError::Absent { digest: digest.to_owned() });
        };
        let fail = |source| WeightsError::Fetch { digest: digest.to_owned(), source };
        let key = subjects::weights_key(digest);
        let manifest: WeightsManifest = bus.read(&key, WeightsManifest::VERSION).await.map_err(fail)?;
        if let Some(bytes) = local(&self.folders, digest, Some(manifest.file.size())).await {
            return Ok(bytes);
        }
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| WeightsError::Cache { path, source }
        };
        std::fs::create_dir_all(&self.cache).map_err(io(&self.cache))?;
        let partial = Incoming::claim(&self.cache, digest).map_err(io(&self.cache))?;
        let mut arrival = Arrival::announce(&format!("weights {}", &digest[..12]), manifest.file.size());
        let mut arrived = |bytes| arrival.add(bytes);
        match bus.get_file(Bucket::Weights, &manifest.file, partial.path(), &mut arrived).await {
            Ok(()) => {}
            Err(BusError::File { path, source }) => {
                let error = WeightsError::Cache { path, source };
                if error.unwritable().is_some() {
                    partial.discard(); // Otherwise it would keep the disk full.
                }
                return Err(error);
            }
            Err(source) => return Err(fail(source)),
        }
        let bytes = tokio::fs::read(partial.path()).await.map_err(io(partial.path()))?;
        if !is(&bytes, digest) {
            partial.discard();
            let found = hex::encode(Sha256::digest(&bytes));
            return Err(WeightsError::Wrong { digest: digest.to_owned(), found });
        }
        std::fs::rename(partial.path(), &place).map_err(io(&place))?;
        partial.discard();
        Ok(bytes.into())
    }
}

fn is(bytes: &[u8], digest: &str) -> bool {
    hex::encode(Sha256::digest(bytes)) == digest
}

/// A copy in the folders that the user named. Only files of the right length are read; where that is not known, those
/// whose name is that of a file of weights.
async fn local(folders: &[PathBuf], digest: &str, size: Option<u64>) -> Option<Bytes> {
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    for entry in files {
        let is_named = entry.path().extension().is_some_and(|ending| ending == "safetensors");
        let may_be = |length: u64| size.map_or(is_named, |size| length == size);
        if entry.metadata().is_ok_and(|meta| meta.is_file() && may_be(meta.len()))
            && let Ok(bytes) = tokio::fs::read(entry.path()).await
            && is(&bytes, digest)
        {
            return Some(bytes.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use memory_server::MemoryServer;

    use super::*;

    #[tokio::test]
    async fn weights_are_found_locally_or_on_the_server_and_always_verified() {
        let server = MemoryServer::start(0, None, None);
        let bus = server.connect("test").0;
        let dir = tempfile::tempdir().unwrap();
        let (data, cache) = (dir.path().join("data"), dir.path().join("cache"));
        std::fs::create_dir(&data).unwrap();
        let from = data.join("mine.safetensors");
        std::fs::write(&from, b"weights").unwrap();
        let digest = hex::encode(Sha256::digest(b"weights"));
        let file = bus.put_file(Bucket::Weights, "w", &from).await.unwrap();
        let manifest = WeightsManifest { v: WeightsManifest::VERSION, file };
        bus.write(&subjects::weights_key(&digest), &manifest).await.unwrap();

        let near = WeightsStore::new(vec![data], &cache);
        assert_eq!(near.get(&bus, &digest).await.unwrap(), "weights");
        assert!(!cache.exists(), "the local copy was used");

        let alone = near.find(None, &digest).await.unwrap();
        assert_eq!(alone, "weights", "without a server");
        let absent = near.find(None, &"a".repeat(64)).await;
        assert!(matches!(absent, Err(WeightsError::Absent { .. })), "{absent:?}");

        let far = WeightsStore::new(Vec::new(), &cache);
        assert_eq!(far.get(&bus, &digest).await.unwrap(), "weights");
        let kept = std::fs::read_dir(cache.join("weights")).unwrap().count();
        assert_eq!(kept, 1, "the file and nothing else");
        assert!(matches!(far.get(&bus, "../../x").await, Err(WeightsError::Name(_))));

        // A file whose content has another digest than its name.
        let lie = hex::encode(Sha256::digest(b"other"));
        bus.write(&subjects::weights_key(&lie), &manifest).await.unwrap();
        assert!(matches!(far.get(&bus, &lie).await, Err(WeightsError::Wrong { .. })));
        assert_eq!(std::fs::read_dir(cache.join("weights")).unwrap().count(), 1);
    }
}
