//! Finding the dataset by its digest: on this machine, in the cache, or on the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::bus::{Bucket, Bus, BusError};
use shared::pack::{Pack, PackError};
use shared::protocol::{PackManifest, subjects};

use super::incoming::{Arrival, Incoming};

/// Why the dataset of a job is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum PacksError {
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(
        "dataset {digest} is neither on this machine nor on the server: give its folder with --data ({source})"
    )]
    Nowhere { digest: String, source: BusError },
    #[error("dataset {digest} cannot be fetched: {source}")]
    Fetch { digest: String, source: BusError },
    #[error("{} cannot be written: {source}; choose another cache with --cache", path.display())]
    Cache { path: PathBuf, source: std::io::Error },
    #[error("the server's file list of dataset {digest} is not to be believed: {reason}")]
    Manifest { digest: String, reason: String },
    #[error("the dataset fetched as {digest} is {found}; the server's copy is damaged")]
    Wrong { digest: String, found: String },
}

/// The datasets this worker can use, the last one kept open.
#[derive(Debug)]
pub struct PackStore {
    folders: Vec<PathBuf>,
    cache: PathBuf,
    open: Option<Arc<Pack>>,
}

impl PackStore {
    pub(super) fn new(folders: Vec<PathBuf>, cache: &Path) -> Self {
        Self { folders, cache: cache.join("packs"), open: None }
    }

    /// A store that has `pack` open already.
    #[must_use]
    pub fn holding(pack: Arc<Pack>) -> Self {
        Self { open: Some(pack), ..Self::new(Vec::new(), &user_cache()) }
    }

    /// The pack with this digest, which must be one: it becomes the name of a folder.
    pub(super) async fn get(&mut self, bus: &Bus, digest: &str) -> Result<Arc<Pack>, PacksError> {
        if let Some(pack) = self.open.as_ref().filter(|pack| pack.digest() == digest) {
            return Ok(pack.clone());
        }
        if !shared::result::is_digest(digest) {
            let reason = "that is no SHA-256 digest".to_owned();
            return Err(PacksError::Manifest { digest: digest.escape_debug().to_string(), reason });
        }
        let pack = match self.local(digest) {
            Some(pack) => pack,
            None => fetch(bus, digest, &self.cache).await?,
        };
        let pack = Arc::new(pack);
        self.open = Some(pack.clone());
        Ok(pack)
    }

    fn local(&self, digest: &str) -> Option<Pack> {
        let children = |folder: &PathBuf| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let named =
            self.folders.iter().flat_map(|folder| std::iter::once(folder.clone()).chain(children(folder)));
        named
            .chain(std::iter::once(self.cache.join(digest)))
            .filter_map(|folder| Pack::open(&folder).ok())
            .find(|pack| pack.digest() == digest)
    }
}

/// Fetches a pack beside its final place, checks every part and the content's digest, then renames it into place. What
/// an interrupted fetch left is gone on with.
async fn fetch(bus: &Bus, digest: &str, cache: &Path) -> Result<Pack, PacksError> {
    let manifest: PackManifest = match bus.read(&subjects::pack_key(digest), PackManifest::VERSION).await {
        Ok(manifest) => manifest,
        Err(source) => return Err(PacksError::Nowhere { digest: digest.to_owned(), source }),
    };
    manifest.check(digest).map_err(|reason| PacksError::Manifest { digest: digest.to_owned(), reason })?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| PacksError::Cache { path, source }
    };
    std::fs::create_dir_all(cache).map_err(io(cache))?;
    let partial = Incoming::claim(cache, digest).map_err(io(cache))?;
    std::fs::create_dir_all(partial.path()).map_err(io(partial.path()))?;
    let mut arrival = Arrival::announce(&format!("dataset {}", &digest[..12]), manifest.size());
    for (name, file) in &manifest.files {
        let mut arrived = |bytes| arrival.add(bytes);
        bus.get_file(Bucket::Packs, file, &partial.path().join(name), &mut arrived)
            .await
            .map_err(|source| PacksError::Fetch { digest: digest.to_owned(), source })?;
    }
    if let Err(error) = verified(partial.path().to_owned(), digest).await {
        partial.discard(); // Each part was what the server says: going on with them would end here again.
        return Err(error);
    }
    let place = cache.join(digest);
    // Another worker of this machine may have been faster: its copy is as good.
    if let Err(source) = std::fs::rename(partial.path(), &place)
        && !place.is_dir()
    {
        return Err(PacksError::Cache { path: place, source });
    }
    partial.discard();
    Ok(Pack::open(&place)?)
}

/// Reads every byte, away from the thread that keeps the lease.
async fn verified(dir: PathBuf, digest: &str) -> Result<(), PacksError> {
    let check = move || {
        let pack = Pack::open(&dir)?;
        pack.verify()?;
        Ok::<_, PackError>(pack.digest().to_owned())
    };
    let found = match tokio::task::spawn_blocking(check).await {
        Ok(found) => found?,
        Err(error) => std::panic::resume_unwind(error.into_panic()), // It is never cancelled.
    };
    if found == digest { Ok(()) } else { Err(PacksError::Wrong { digest: digest.to_owned(), found }) }
}

/// Where fetched files are kept when the user names no folder.
pub(super) fn user_cache() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("XDG_CACHE_HOME")
        .or_else(|| var("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("ferry")
}
