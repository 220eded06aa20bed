//! The state directory (`--home`): lock, server store, generated data, logs. Holds no absolute paths, so it may be moved.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fs4::FileExt;
use serde::{Deserialize, Serialize};
use shared::bus::Endpoint;
use shared::files::write_private;

/// The default of `--home`.
pub const DEFAULT: &str = ".ferry";

/// Version of the layout of a state directory.
const VERSION: u32 = 1;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("{} cannot be used as state directory: {source}; choose another with --home", path.display())]
    Unusable { path: PathBuf, source: std::io::Error },
    #[error(
        "{} is in use by another ferry (process {pid}): wait for it, stop it, or choose another directory with --home",
        path.display()
    )]
    Locked { path: PathBuf, pid: String },
    #[error(
        "{} was written by a newer ferry (version {found}, this program knows {VERSION}): update this program, or \
         choose another directory with --home",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{} does not hold a version: it is damaged, or not ferry's", path.display())]
    NoVersion { path: PathBuf },
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
}

/// One state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// How old a state directory's layout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    Current,
    /// Of an earlier version, or not made yet: it is raised by whoever locks it.
    Older,
}

/// Held while a ferry runs this home; released by the kernel when the process ends, however it ends.
#[derive(Debug)]
pub struct HomeLock {
    _file: File,
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

    /// True when nothing has ever run here.
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
        Ok(HomeLock { _file: file })
    }

    /// Refuses a directory of a newer version; nothing in it is touched. What the server's store in it holds has a
    /// version of its own, on the server.
    pub fn check_version(&self) -> Result<Age, HomeError> {
        let path = self.version_path();
        match std::fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse::<u32>() {
                Ok(VERSION) => Ok(Age::Current),
                Ok(found) if found > VERSION => Err(HomeError::Newer { path: self.root.clone(), found }),
                Ok(_) => Ok(Age::Older),
                Err(_) => Err(HomeError::NoVersion { path }),
            },
            // A new directory, or one from before directories had a version, whose layout is that of version 1.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Age::Older),
            Err(source) => Err(HomeError::Unreadable { path, source }),
        }
    }

    /// Makes an older directory one of this version.
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

    /// Where this home's server listens, if one was left running.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let text = std::fs::read_to_string(self.endpoint_path()).ok()?;
        let file: EndpointFile = serde_json::from_str(&text).ok()?;
        Endpoint::parse(&file.url, Some(file.token)).ok()
    }

    /// The server is gone.
    pub fn forget_endpoint(&self) {
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
        assert!(matches!(refused, HomeError::Newer { found: 2, .. }), "{refused}");
        assert_eq!(std::fs::read_to_string(&version).unwrap(), "2\n");
        std::fs::write(&version, "new").unwrap();
        assert!(matches!(home.lock(), Err(HomeError::NoVersion { .. })));
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
        home.forget_endpoint();
        assert_eq!(home.endpoint(), None);
    }
}
