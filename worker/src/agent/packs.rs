//! Finds a dataset by its digest: on this machine, in the cache, or on the server.

use std::path::{Path, PathBuf};

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
    #[error(
        "dataset {digest} is not on this machine: name its folder with --data, or a server that has it with --nats"
    )]
    Absent { digest: String },
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
            Self::Pack(_)
            | Self::Absent { .. }
            | Self::Cache { .. }
            | Self::Manifest { .. }
            | Self::Wrong { .. } => false,
        }
    }

    /// The file that cannot be written, if its disk is full or read-only.
    pub(super) fn unwritable(&self) -> Option<&Path> {
        match self {
            Self::Cache { path, source } => disk::is_lack_of_room(source).then_some(path),
            Self::Pack(_)
            | Self::Nowhere { .. }
            | Self::Absent { .. }
            | Self::Fetch { .. }
            | Self::Manifest { .. }
            | Self::Wrong { .. } => None,
        }
    }
}

/// The datasets that this worker can use.
#[derive(Debug)]
pub struct PackStore {
    folders: Vec<PathBuf>,
    cache: PathBuf,
    /// Digest and folder of the last one, every byte of which was verified.
    last: Option<(String, PathBuf)>,
}

impl PackStore {
    /// A store that looks for packs in `folders`, and keeps downloaded ones below `cache`.
    pub fn new(folders: Vec<PathBuf>, cache: &Path) -> Self {
        Self { folders, cache: cache.join("packs"), last: None }
    }

    /// The folder of the pack with this digest: an intact copy on this machine, or else the server's.
    pub(super) async fn get(&mut self, bus: &Bus, digest: &str) -> Result<PathBuf, PacksError> {
        self.find(Some(bus), digest).await
    }

    /// The same where there may be no server. The digest is checked first, because it becomes the name of a folder.
    pub(super) async fn find(&mut self, bus: Option<&Bus>, digest: &str) -> Result<PathBuf, PacksError> {
        if let Some((_, folder)) =
            self.last.as_ref().filter(|(last, folder)| last == digest && folder.is_dir())
        {
            return Ok(folder.clone());
        }
        if !shared::blob::is_digest(digest) {
            let reason = "that is not a SHA-256 digest".to_owned();
            return Err(PacksError::Manifest { digest: digest.escape_debug().to_string(), reason });
        }
        let (folders, place) = (self.folders.clone(), self.cache.join(digest));
        let wanted = digest.to_owned();
        let folder = if let Some(folder) = on_blocking_thread(move || local(&folders, &place, &wanted)).await
        {
            folder
        } else {
            let absent = || PacksError::Absent { digest: digest.to_owned() };
            fetch(bus.ok_or_else(absent)?, digest, &self.cache).await?
        };
        self.last = Some((digest.to_owned(), folder.clone()));
        Ok(folder)
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
fn local(folders: &[PathBuf], cached: &Path, digest: &str) -> Option<PathBuf> {
    let children = |folder: &PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut named = folders.iter().flat_map(|folder| std::iter::once(folder.clone()).chain(children(folder)));
    if let Some(folder) = named.find(|folder| is_whole(folder, digest)) {
        return Some(folder);
    }
    if is_whole(cached, digest) {
        return Some(cached.to_owned());
    }
    if cached.exists() {
        tracing::warn!("the dataset in {} is damaged and is fetched again", cached.display());
        if let Err(error) = std::fs::remove_dir_all(cached) {
            tracing::warn!("cannot remove {}: {error}", cached.display());
        }
    }
    None
}

/// True if the pack in `folder` has this digest and no byte of it is damaged.
fn is_whole(folder: &Path, digest: &str) -> bool {
    let Some(pack) = Pack::open(folder).ok().filter(|pack| pack.digest() == digest) else { return false };
    pack.verify().inspect_err(|error| tracing::warn!("{error}; this copy is not used")).is_ok()
}

/// Downloads a pack next to its final path, verifies every part and the digest of the content, then renames it.
/// Continues an interrupted download.
async fn fetch(bus: &Bus, digest: &str, cache: &Path) -> Result<PathBuf, PacksError> {
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
        let usable = on_blocking_thread(move || is_whole(&folder, &wanted)).await;
        return if usable { Ok(place) } else { Err(PacksError::Cache { path: place, source }) };
    }
    partial.discard();
    Ok(place)
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
pub fn user_cache() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("XDG_CACHE_HOME")
        .or_else(|| var("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("ferry")
}

#[cfg(test)]
mod tests {
    use memory_server::MemoryServer;
    use serde_json::Value;
    use shared::expression::LANDMARKS;
    use shared::pack::{PackWriter, Sample, Split};

    use super::*;

    /// A pack of one sample, and its digest.
    fn pack(folder: &Path, colour: u8) -> String {
        let mut writer = PackWriter::create(folder, 16, Value::Null).unwrap();
        let sample = Sample {
            split: Split::Train,
            id: "a.png",
            label: Some(0),
            landmarks: Some(&[[0.0, 0.0]; LANDMARKS]),
            pixels: &[colour; 16 * 16 * 3],
        };
        writer.add(&sample).unwrap();
        writer.finish().unwrap();
        Pack::open(folder).unwrap().digest().to_owned()
    }

    #[tokio::test]
    async fn a_dataset_is_verified_once_and_again_after_another() {
        let bus = MemoryServer::start(0, None, None).connect("test").0;
        let root = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| root.path().join("data").join(name));
        let digests = [pack(&one, 1), pack(&two, 2)];
        let mut store = PackStore::new(vec![root.path().join("data")], &root.path().join("cache"));
        assert_eq!(store.get(&bus, &digests[0]).await.unwrap(), one);
        std::fs::write(one.join("pixels.bin"), [9; 16 * 16 * 3]).unwrap();
        assert_eq!(store.get(&bus, &digests[0]).await.unwrap(), one, "it is not read again");
        assert_eq!(store.get(&bus, &digests[1]).await.unwrap(), two);
        let damaged = store.get(&bus, &digests[0]).await.unwrap_err();
        assert!(matches!(damaged, PacksError::Nowhere { .. }), "{damaged}");
        std::fs::remove_dir_all(&two).unwrap();
        assert!(store.get(&bus, &digests[1]).await.is_err(), "it is gone");
        assert!(matches!(store.get(&bus, "../x").await, Err(PacksError::Manifest { .. })));
    }
}
