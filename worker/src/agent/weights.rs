//! Finding weights by their digest: in the cache, or on the server.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::bus::{Bucket, Bus, BusError};
use shared::protocol::{WeightsManifest, subjects};

/// Why the weights of a job are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("weights {digest} cannot be fetched: {source}")]
    Fetch { digest: String, source: BusError },
    #[error("the server has {found} under the name of weights {digest}")]
    Wrong { digest: String, found: String },
    #[error("{} cannot be written: {source}; choose another cache with --cache", path.display())]
    Cache { path: PathBuf, source: std::io::Error },
}

/// The weights that this worker has fetched.
#[derive(Debug)]
pub struct WeightsStore {
    cache: PathBuf,
}

impl WeightsStore {
    /// Keeps its files below `cache`.
    pub fn new(cache: &Path) -> Self {
        Self { cache: cache.join("weights") }
    }

    /// The file with this digest, verified.
    pub(super) async fn get(&self, bus: &Bus, digest: &str) -> Result<Bytes, WeightsError> {
        let place = self.cache.join(format!("{digest}.safetensors"));
        match tokio::fs::read(&place).await {
            Ok(bytes) if hex::encode(Sha256::digest(&bytes)) == digest => return Ok(bytes.into()),
            Ok(_) => tracing::warn!("{} is damaged and is fetched again", place.display()),
            Err(_) => {} // Not fetched yet; a cache that cannot be used says so when it is written.
        }
        let fail = |source| WeightsError::Fetch { digest: digest.to_owned(), source };
        let key = subjects::weights_key(digest);
        let manifest: WeightsManifest = bus.read(&key, WeightsManifest::VERSION).await.map_err(fail)?;
        if manifest.blob.sha256 != digest {
            return Err(WeightsError::Wrong { digest: digest.to_owned(), found: manifest.blob.sha256 });
        }
        tracing::info!(digest, "fetching weights, {:.1} MB", manifest.blob.size as f64 / 1e6);
        let bytes = bus.get_blob(Bucket::Weights, &manifest.blob).await.map_err(fail)?;
        keep(&place, &bytes).map_err(|source| WeightsError::Cache { path: place, source })?;
        Ok(bytes)
    }
}

/// Beside its place, then renamed: another worker of this machine finds a whole file or none.
fn keep(place: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.persist(place).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_whole_and_alone() {
        let cache = tempfile::tempdir().unwrap();
        let place = cache.path().join("weights").join("d.safetensors");
        keep(&place, b"old").unwrap();
        keep(&place, b"new").unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
    }
}
