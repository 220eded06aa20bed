//! The state directory (`--home`): lock, server store, generated data, logs. It holds no absolute paths, so it can be
//! moved while no ferry runs on it.

mod lock;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shared::bus::Endpoint;
use shared::files::write_private;
use shared::version::{VersionError, Versions};

pub use lock::{HomeLock, Occupancy, OccupiedHome};

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
    #[error(
        "{} is in use by another ferry (process {pid}), whose server is {url}: give the same --nats, or choose another \
         directory with --home",
        path.display()
    )]
    ServerElsewhere { path: PathBuf, pid: String, url: String },
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
        self.forget_any_endpoint();
    }

    fn forget_any_endpoint(&self) {
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
