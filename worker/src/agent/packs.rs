//! Finding the dataset by its digest: on this machine, in the cache, or on the server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::bus::{Bucket, Bus, BusError};
use shared::pack::{Pack, PackError};
use shared::protocol::{PackManifest, subjects};

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
    #[error("the server's file list of dataset {digest} names `{name}`, which is no plain file name")]
    FileName { digest: String, name: String },
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

    /// The pack with this digest.
    pub(super) async fn get(&mut self, bus: &Bus, digest: &str) -> Result<Arc<Pack>, PacksError> {
        if let Some(pack) = self.open.as_ref().filter(|pack| pack.digest() == digest) {
            return Ok(pack.clone());
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

/// Fetches a pack beside its final place, checks every file and the content's digest, then renames it into place.
async fn fetch(bus: &Bus, digest: &str, cache: &Path) -> Result<Pack, PacksError> {
    let manifest: PackManifest = match bus.read(&subjects::pack_key(digest), PackManifest::VERSION).await {
        Ok(manifest) => manifest,
        Err(source) => return Err(PacksError::Nowhere { digest: digest.to_owned(), source }),
    };
    let size: u64 = manifest.files.iter().map(|(_, blob)| blob.size).sum();
    tracing::info!(digest, "fetching the dataset, {:.1} MB", size as f64 / 1e6);
    let partial = cache.join(format!("{digest}.partial-{}", std::process::id()));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| PacksError::Cache { path, source }
    };
    std::fs::create_dir_all(&partial).map_err(io(&partial))?;
    for (name, blob) in &manifest.files {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
            return Err(PacksError::FileName { digest: digest.to_owned(), name: name.clone() });
        }
        let path = partial.join(name);
        let mut file = std::fs::File::create(&path).map_err(io(&path))?;
        bus.read_blob(Bucket::Packs, blob, |chunk| file.write_all(chunk))
            .await
            .map_err(|source| PacksError::Fetch { digest: digest.to_owned(), source })?;
    }
    let pack = Pack::open(&partial)?;
    pack.verify()?;
    if pack.digest() != digest {
        return Err(PacksError::Wrong { digest: digest.to_owned(), found: pack.digest().to_owned() });
    }
    let place = cache.join(digest);
    // Another worker of this machine may have been faster: its copy is as good.
    if let Err(source) = std::fs::rename(&partial, &place)
        && !place.is_dir()
    {
        return Err(PacksError::Cache { path: place, source });
    }
    let _leftover = std::fs::remove_dir_all(&partial);
    Ok(Pack::open(&place)?)
}

/// Where fetched files are kept when the user names no folder.
pub(super) fn user_cache() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("XDG_CACHE_HOME")
        .or_else(|| var("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("ferry")
}
