//! Finds a dataset by its digest: on this machine, in the cache, or on the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::bus::{Bucket, Bus, BusError};
use shared::disk;
use shared::pack::{Pack, PackError};
use shared::protocol::{PackManifest, subjects};

use super::incoming::{Arrival, Incoming};

/// Why the dataset of a job is not available.
#[derive(Debug, thiserror::Error)]
pub enum PacksError {
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(
        "dataset {digest} is neither on this machine nor on the server ({source}): name its folder with --data"
    )]
    Nowhere { digest: String, source: BusError },
    #[error("cannot download dataset {digest}: {source}")]
    Fetch { digest: String, source: BusError },
    #[error("{} cannot be written: {source}; choose another cache with --cache", path.display())]
    Cache { path: PathBuf, source: std::io::Error },
    #[error("the server's file list of dataset {digest} is not valid: {reason}")]
    Manifest { digest: String, reason: String },
    #[error("the dataset downloaded as {digest} has digest {found}: the server's copy is damaged")]
    Wrong { digest: String, found: String },
}

impl PacksError {
    /// True if a retry may succeed soon.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Nowhere { source, .. } => {
                source.is_transient() || matches!(source, BusError::Missing { .. })
            }
            // A copy that was damaged on the way may be intact the next time.
            Self::Fetch { source, .. } => source.is_transient() || matches!(source, BusError::Damaged { .. }),
            Self::Pack(_) | Self::Cache { .. } | Self::Manifest { .. } | Self::Wrong { .. } => false,
        }
    }

    /// The file that cannot be written, if its disk is full or read-only.
    pub(super) fn unwritable(&self) -> Option<&Path> {
        match self {
            Self::Cache { path, source } => disk::is_lack_of_room(source).then_some(path),
            Self::Pack(_)
            | Self::Nowhere { .. }
            | Self::Fetch { .. }
            | Self::Manifest { .. }
            | Self::Wrong { .. } => None,
        }
    }
}

/// The datasets that this worker can use. The last one is kept open.
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

    /// A store with `pack` already open.
    #[must_use]
    pub fn holding(pack: Arc<Pack>) -> Self {
        Self { open: Some(pack), ..Self::new(Vec::new(), &user_cache()) }
    }

    /// The pack with this digest: an intact copy on this machine, or else the server's. The digest is checked first,
    /// because it becomes the name of a folder.
    pub(super) async fn get(&mut self, bus: &Bus, digest: &str) -> Result<Arc<Pack>, PacksError> {
        if let Some(pack) = self.open.as_ref().filter(|pack| pack.digest() == digest) {
            return Ok(pack.clone());
        }
        if !shared::result::is_digest(digest) {
            let reason = "that is not a SHA-256 digest".to_owned();
            return Err(PacksError::Manifest { digest: digest.escape_debug().to_string(), reason });
        }
        let (folders, place) = (self.folders.clone(), self.cache.join(digest));
        let wanted = digest.to_owned();
        let pack = match on_blocking_thread(move || local(&folders, &place, &wanted)).await {
            Some(pack) => pack,
            None => fetch(bus, digest, &self.cache).await?,
        };
        let pack = Arc::new(pack);
        self.open = Some(pack.clone());
        Ok(pack)
    }
}

/// Runs slow work, such as reading every byte of a dataset, on another thread, so that it does not delay the heartbeat.
async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()), // It is never cancelled.
    }
}

/// An intact copy on this machine. Every byte is verified before the first training on it. A damaged copy in the user's
/// folders is skipped; a damaged copy in the cache is removed, so that it is fetched again.
fn local(folders: &[PathBuf], cached: &Path, digest: &str) -> Option<Pack> {
    let children = |folder: &PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut named = folders.iter().flat_map(|folder| std::iter::once(folder.clone()).chain(children(folder)));
    if let Some(pack) = named.find_map(|folder| whole(&folder, digest)) {
        return Some(pack);
    }
    let pack = whole(cached, digest);
    if pack.is_none() && cached.exists() {
        tracing::warn!("the dataset in {} is damaged and is fetched again", cached.display());
        if let Err(error) = std::fs::remove_dir_all(cached) {
            tracing::warn!("cannot remove {}: {error}", cached.display());
        }
    }
    pack
}

/// The pack in `folder`, if it has this digest and no byte of it is damaged.
fn whole(folder: &Path, digest: &str) -> Option<Pack> {
    let pack = Pack::open(folder).ok().filter(|pack| pack.digest() == digest)?;
    match pack.verify() {
        Ok(()) => Some(pack),
        Err(error) => {
            tracing::warn!("{error}; this copy is not used");
            None
        }
    }
}

/// Downloads a pack next to its final path, verifies every part and the digest of the content, then renames it.
/// Continues an interrupted download.
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
    if let Err(error) = receive(bus, &manifest, partial.path()).await {
        if error.unwritable().is_some() {
            partial.discard(); // Otherwise it would keep the disk full.
        }
        return Err(error);
    }
    if let Err(error) = verified(partial.path().to_owned(), digest).await {
        partial.discard(); // Its parts equal the server's, so continuing with them would fail again.
        return Err(error);
    }
    let place = cache.join(digest);
    if let Err(source) = std::fs::rename(partial.path(), &place) {
        partial.discard();
        // Another worker on this machine may have been faster. Its copy can be used if it is intact.
        let (folder, wanted) = (place.clone(), digest.to_owned());
        let other = on_blocking_thread(move || whole(&folder, &wanted)).await;
        return other.ok_or(PacksError::Cache { path: place, source });
    }
    partial.discard();
    Ok(Pack::open(&place)?)
}

async fn receive(bus: &Bus, manifest: &PackManifest, folder: &Path) -> Result<(), PacksError> {
    std::fs::create_dir_all(folder)
        .map_err(|source| PacksError::Cache { path: folder.to_owned(), source })?;
    let digest = &manifest.digest;
    let mut arrival = Arrival::announce(&format!("dataset {}", &digest[..12]), manifest.size());
    for (name, file) in &manifest.files {
        let mut arrived = |bytes| arrival.add(bytes);
        match bus.get_file(Bucket::Packs, file, &folder.join(name), &mut arrived).await {
            Ok(()) => {}
            Err(BusError::File { path, source }) => return Err(PacksError::Cache { path, source }),
            Err(source) => return Err(PacksError::Fetch { digest: digest.clone(), source }),
        }
    }
    Ok(())
}

/// Verifies every byte, on another thread than the heartbeat's.
async fn verified(dir: PathBuf, digest: &str) -> Result<(), PacksError> {
    let check = move || {
        let pack = Pack::open(&dir)?;
        pack.verify()?;
        Ok::<_, PackError>(pack.digest().to_owned())
    };
    let found = on_blocking_thread(check).await?;
    if found == digest { Ok(()) } else { Err(PacksError::Wrong { digest: digest.to_owned(), found }) }
}

/// The folder for downloaded files if the user names none.
pub(super) fn user_cache() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("XDG_CACHE_HOME")
        .or_else(|| var("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("ferry")
}
