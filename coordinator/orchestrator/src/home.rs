//! The state directory (`--home`): lock, server store, generated data, logs. It holds no absolute paths, so it can be
//! moved while no ferry runs on it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use fs4::FileExt;
use serde::{Deserialize, Serialize};
use shared::bus::Endpoint;
use shared::files::write_private;
use shared::version::{VersionError, Versions};

/// The default of `--home`.
pub const DEFAULT: &str = ".ferry";

/// Version of the layout of a state directory.
const VERSION: u32 = 1;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("{} cannot be used as the state directory: {source}; choose another with --home", path.display())]
    Unusable { path: PathBuf, source: std::io::Error },
    #[error(
        "{} is in use by another ferry (process {pid}): wait for it, stop it, or choose another directory with --home",
        path.display()
    )]
    Locked { path: PathBuf, pid: String },
    #[error("the state directory {} {source}, or choose another with --home", path.display())]
    Version { path: PathBuf, source: VersionError },
    #[error(
        "the state directory {} was deleted or moved while the sweep was running",
        path.display()
    )]
    Gone { path: PathBuf },
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
}

/// One state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// Whether a state directory has the layout of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    Current,
    /// Of an earlier version, or not made yet. Taking the lock brings it up to this version.
    Older,
}

/// Held while a ferry runs on this home; released by the kernel when the process ends, however it ends.
#[derive(Debug)]
pub struct HomeLock {
    root: PathBuf,
    file: File,
}

impl HomeLock {
    /// Whether the home is still where it was locked: people delete or move it while a sweep runs.
    ///
    /// # Errors
    /// [`HomeError::Gone`] when it is not, or one of the `needed` folders in it is missing. A file system that does not
    /// answer at the moment is no reason to give up.
    pub fn check(&self, needed: &[&str]) -> Result<(), HomeError> {
        let identity = |about: std::fs::Metadata| (about.dev(), about.ino());
        let missing = |name: &&str| {
            let about = std::fs::metadata(self.root.join(name));
            about.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        let here = std::fs::metadata(self.root.join("lock")).map(identity);
        let held = self.file.metadata().map(identity);
        let replaced = matches!((&here, &held), (Ok(here), Ok(held)) if here != held);
        let gone = replaced || missing(&"lock") || needed.iter().any(missing);
        if gone { Err(HomeError::Gone { path: self.root.clone() }) } else { Ok(()) }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct EndpointFile {
    url: String,
    token: String,
}

impl Home {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// True when no sweep has ever run here.
    pub fn is_empty(&self) -> bool {
        !self.root.join("nats").is_dir()
    }

    /// Takes the lock; a second ferry on the same home is refused.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let age = self.check_version()?;
        self.dir("")?;
        let path = self.root.join("lock");
        let unusable = |source| HomeError::Unusable { path: self.root.clone(), source };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(unusable)?;
        if FileExt::try_lock(&file).is_err() {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(unusable)?;
            return Err(HomeError::Locked { path: self.root.clone(), pid: pid.trim().to_owned() });
        }
        file.set_len(0).map_err(unusable)?;
        file.rewind().map_err(unusable)?;
        write!(file, "{}", std::process::id()).map_err(unusable)?;
        match age {
            Age::Current => {}
            Age::Older => self.raise()?,
        }
        Ok(HomeLock { root: self.root.clone(), file })
    }

    /// Refuses a directory of a newer version; nothing in it is touched. The server's store in it has a version of its
    /// own.
    pub fn check_version(&self) -> Result<Age, HomeError> {
        let path = self.version_path();
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let wrong = |source| HomeError::Version { path: self.root.clone(), source };
                let found = Versions::up_to(VERSION).check_text(&text).map_err(wrong)?;
                Ok(if found == u64::from(VERSION) { Age::Current } else { Age::Older })
            }
            // A new directory, or one from before directories had a version, whose layout is that of version 1.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Age::Older),
            Err(source) => Err(HomeError::Unreadable { path, source }),
        }
    }

    /// Brings an older directory up to this version.
    fn raise(&self) -> Result<(), HomeError> {
        let path = self.version_path();
        write_private(&path, format!("{VERSION}\n").as_bytes())
            .map_err(|source| HomeError::Unusable { path, source })
    }

    fn version_path(&self) -> PathBuf {
        self.root.join("version")
    }

    /// Folder of the server: configuration, log and store.
    pub fn broker_dir(&self) -> Result<PathBuf, HomeError> {
        self.dir("nats")
    }

    /// Folder of the workers' logs.
    pub fn logs(&self) -> Result<PathBuf, HomeError> {
        self.dir("logs")
    }

    /// Folder of generated packs.
    pub fn data(&self) -> Result<PathBuf, HomeError> {
        self.dir("data")
    }

    /// The server's access token, made on first use.
    pub fn token(&self) -> Result<String, HomeError> {
        let path = self.broker_dir()?.join("token");
        match std::fs::read_to_string(&path) {
            Ok(token) if !token.trim().is_empty() => Ok(token.trim().to_owned()),
            Ok(_) | Err(_) => {
                let token = uuid::Uuid::new_v4().simple().to_string();
                write_private(&path, token.as_bytes())
                    .map_err(|source| HomeError::Unusable { path, source })?;
                Ok(token)
            }
        }
    }

    /// Says where this home's server listens.
    pub fn write_endpoint(&self, url: &str, token: &str) -> Result<(), HomeError> {
        let file = EndpointFile { url: url.to_owned(), token: token.to_owned() };
        let path = self.endpoint_path();
        let text = serde_json::to_string(&file)
            .map_err(|error| HomeError::Unusable { path: path.clone(), source: error.into() })?;
        write_private(&path, text.as_bytes()).map_err(|source| HomeError::Unusable { path, source })
    }

    /// Where this home's server listens, if one is running.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let text = std::fs::read_to_string(self.endpoint_path()).ok()?;
        let file: EndpointFile = serde_json::from_str(&text).ok()?;
        Endpoint::parse(&file.url, Some(file.token)).ok()
    }

    /// The server that listens at `url` is gone. If another one has taken its place, that one stays known.
    pub fn forget_endpoint(&self, url: &str) {
        if self.endpoint().is_some_and(|known| known.url() != url) {
            return;
        }
        if let Err(error) = std::fs::remove_file(self.endpoint_path()) {
            tracing::debug!(%error, "the endpoint file was gone already");
        }
    }

    fn endpoint_path(&self) -> PathBuf {
        self.root.join("endpoint.json")
    }

    fn dir(&self, name: &str) -> Result<PathBuf, HomeError> {
        let path = if name.is_empty() { self.root.clone() } else { self.root.join(name) };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| HomeError::Unusable { path: path.clone(), source })?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_serves_one_ferry_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join("state"));
        let lock = home.lock().unwrap();
        let refused = home.lock().unwrap_err();
        assert!(matches!(&refused, HomeError::Locked { pid, .. } if *pid == std::process::id().to_string()));
        drop(lock);
        assert!(home.lock().is_ok());
    }

    /// Case 17: a home that is deleted, moved or replaced while a sweep runs is noticed.
    #[test]
    fn a_home_that_goes_away_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        let home = Home::new(&root);
        let locked = || {
            let lock = home.lock().unwrap();
            home.broker_dir().unwrap();
            lock.check(&["nats"]).unwrap();
            lock
        };
        let lock = locked();
        std::fs::remove_dir_all(root.join("nats")).unwrap();
        assert!(matches!(lock.check(&["nats"]), Err(HomeError::Gone { .. })), "only its store is gone");
        drop(lock);
        let lock = locked();
        std::fs::rename(&root, dir.path().join("elsewhere")).unwrap();
        assert!(matches!(lock.check(&["nats"]), Err(HomeError::Gone { .. })), "moved");
        let other = locked();
        assert!(matches!(lock.check(&["nats"]), Err(HomeError::Gone { .. })), "another home is in its place");
        std::fs::remove_dir_all(&root).unwrap();
        assert!(matches!(other.check(&["nats"]), Err(HomeError::Gone { .. })), "deleted");
    }

    #[test]
    fn a_newer_home_is_refused_untouched_and_an_older_one_is_raised() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        home.token().unwrap(); // From before there were versions.
        drop(home.lock().unwrap());
        let version = dir.path().join("version");
        assert_eq!(std::fs::read_to_string(&version).unwrap(), "1\n");
        std::fs::write(&version, "2\n").unwrap();
        let refused = home.lock().unwrap_err();
        assert!(
            matches!(refused, HomeError::Version { source: VersionError::Newer { found: 2, .. }, .. }),
            "{refused}"
        );
        assert_eq!(std::fs::read_to_string(&version).unwrap(), "2\n");
        std::fs::write(&version, "new").unwrap();
        assert!(matches!(
            home.lock(),
            Err(HomeError::Version { source: VersionError::NotANumber { .. }, .. })
        ));
    }

    #[test]
    fn the_token_stays_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let token = home.token().unwrap();
        assert_eq!(home.token().unwrap(), token);
        let mode = std::fs::metadata(home.broker_dir().unwrap().join("token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_endpoint_is_remembered_until_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        assert_eq!(home.endpoint(), None);
        home.write_endpoint("nats://127.0.0.1:4333", "t").unwrap();
        let endpoint = home.endpoint().unwrap();
        assert_eq!((endpoint.url(), endpoint.token()), ("nats://127.0.0.1:4333", Some("t")));
        home.forget_endpoint("nats://127.0.0.1:4222");
        assert!(home.endpoint().is_some(), "another server has taken its place");
        home.forget_endpoint("nats://127.0.0.1:4333");
        assert_eq!(home.endpoint(), None);
    }
}
