//! One ferry at a time has a state directory. Others find its server, and see when it ends.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use fs4::FileExt;
use shared::bus::Endpoint;
use tokio::time::Instant;

use super::{Age, Home, HomeError};

/// How often to look whether the ferry that has a home has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often, and for how long, to look where the server of a home listens, which may just be starting or ending; and
/// after how long to say so.
const POLL: Duration = Duration::from_millis(100);
const STARTING: Duration = Duration::from_secs(20);
const NOTICEABLE: Duration = Duration::from_secs(1);

/// The lock file of a home, as it was opened.
#[derive(Debug)]
struct LockFile {
    root: PathBuf,
    file: File,
}

/// Held while a ferry runs on this home; released by the kernel when the process ends, however it ends.
#[derive(Debug)]
pub struct HomeLock(LockFile);

/// A home that another ferry has.
#[derive(Debug)]
pub struct OccupiedHome(LockFile);

/// Who has a home.
#[derive(Debug)]
pub enum Occupancy {
    /// This process.
    Ours(HomeLock),
    /// Another ferry, whose server listens there.
    Theirs { endpoint: Endpoint, home: OccupiedHome },
}

impl LockFile {
    /// Whether the home is still where it was, with the `needed` folders in it: people delete or move it while a sweep
    /// runs. A file system that does not answer at the moment is no reason to give up.
    fn check(&self, needed: &[&str]) -> Result<(), HomeError> {
        let identity = |about: std::fs::Metadata| (about.dev(), about.ino());
        let missing = |name: &&str| {
            let about = std::fs::metadata(self.root.join(name));
            about.is_err_and(|error| error.kind() == ErrorKind::NotFound)
        };
        let here = std::fs::metadata(self.root.join("lock")).map(identity);
        let opened = self.file.metadata().map(identity);
        let replaced = matches!((&here, &opened), (Ok(here), Ok(opened)) if here != opened);
        let gone = replaced || missing(&"lock") || needed.iter().any(missing);
        if gone { Err(HomeError::Gone { path: self.root.clone() }) } else { Ok(()) }
    }
}

impl HomeLock {
    /// Whether the home is still where it was locked.
    ///
    /// # Errors
    /// [`HomeError::Gone`] when it is not, or one of the `needed` folders in it is missing.
    pub fn check(&self, needed: &[&str]) -> Result<(), HomeError> {
        self.0.check(needed)
    }

    /// Tells other ferries that this one uses a server at `url`, which is not the home's.
    ///
    /// # Errors
    /// [`HomeError::Unusable`] when the lock file cannot be written.
    pub fn tell_server(&mut self, url: &str) -> Result<(), HomeError> {
        let LockFile { root, file } = &mut self.0;
        file.write_all(format!("\n{url}").as_bytes())
            .map_err(|source| HomeError::Unusable { path: root.clone(), source })
    }
}

impl OccupiedHome {
    /// Whether the ferry that had the home has ended. Changes nothing.
    ///
    /// # Errors
    /// [`HomeError::Gone`] when the home was deleted or moved.
    pub fn is_free(&self) -> Result<bool, HomeError> {
        self.0.check(&[])?;
        let is_free = FileExt::try_lock(&self.0.file).is_ok();
        if is_free && let Err(error) = FileExt::unlock(&self.0.file) {
            tracing::debug!(%error, "cannot unlock the state directory");
        }
        Ok(is_free)
    }

    /// Resolves when the ferry that had the home has ended.
    ///
    /// # Errors
    /// As [`Self::is_free`].
    pub async fn vacated(&self) -> Result<(), HomeError> {
        while !self.is_free()? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

impl Home {
    /// Takes the lock; a second ferry on the same home is refused.
    ///
    /// # Errors
    /// [`HomeError::Locked`] or [`HomeError::ServerElsewhere`] when another ferry has it, and when it cannot be used.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let age = self.check_version()?;
        self.dir("")?;
        let unusable = |source| HomeError::Unusable { path: self.root.clone(), source };
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let mut file = options.open(self.lock_path()).map_err(unusable)?;
        if FileExt::try_lock(&file).is_err() {
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(unusable)?;
            let (path, mut lines) = (self.root.clone(), text.lines());
            let pid = lines.next().unwrap_or_default().trim().to_owned();
            return Err(match lines.next() {
                None => HomeError::Locked { path, pid },
                Some(url) => HomeError::ServerElsewhere { path, pid, url: url.to_owned() },
            });
        }
        file.set_len(0).map_err(unusable)?;
        file.rewind().map_err(unusable)?;
        write!(file, "{}", std::process::id()).map_err(unusable)?;
        self.forget_any_endpoint(); // Whoever had the home before was killed, and its server with it.
        match age {
            Age::Current => {}
            Age::Older => self.raise()?,
        }
        Ok(HomeLock(LockFile { root: self.root.clone(), file }))
    }

    /// Takes the lock, or finds the server of whoever has it. If there is neither, for instance because the server is
    /// just starting, waits a while, and `tell`s that once.
    ///
    /// # Errors
    /// As [`Self::lock`], if there is still neither.
    pub async fn enter(&self, mut tell: impl FnMut(&str)) -> Result<Occupancy, HomeError> {
        let (begun, mut is_told) = (Instant::now(), false);
        loop {
            let refused = match self.lock() {
                Ok(lock) => return Ok(Occupancy::Ours(lock)),
                Err(refused @ HomeError::Locked { .. }) => refused,
                Err(error) => return Err(error),
            };
            if let Some(endpoint) = self.endpoint() {
                return Ok(Occupancy::Theirs { endpoint, home: self.occupied()? });
            }
            let waited = begun.elapsed();
            if waited >= STARTING {
                return Err(refused);
            }
            if waited >= NOTICEABLE && !std::mem::replace(&mut is_told, true) {
                tell(&format!(
                    "another ferry has {}, and its server does not listen yet; waiting for it",
                    self.root.display()
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// This home, which another ferry has.
    fn occupied(&self) -> Result<OccupiedHome, HomeError> {
        let path = self.root.clone();
        let file = File::open(self.lock_path()).map_err(|source| {
            if source.kind() == ErrorKind::NotFound {
                HomeError::Gone { path }
            } else {
                HomeError::Unusable { path, source }
            }
        })?;
        Ok(OccupiedHome(LockFile { root: self.root.clone(), file }))
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
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

    /// A home that is gone is not made again by whoever waits for it.
    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_home_sees_that_it_is_free_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        let home = Home::new(&root);
        let lock = home.lock().unwrap();
        home.write_endpoint("nats://127.0.0.1:4333", "t").unwrap();
        let entered = || async {
            match home.enter(|text| panic!("{text}")).await.unwrap() {
                Occupancy::Theirs { endpoint, home } => (endpoint, home),
                Occupancy::Ours(_) => panic!("two have the home"),
            }
        };
        let (endpoint, occupied) = entered().await;
        assert_eq!(endpoint.url(), "nats://127.0.0.1:4333");
        assert!(!occupied.is_free().unwrap());
        drop(lock);
        assert!(occupied.is_free().unwrap());
        occupied.vacated().await.unwrap();
        let lock = home.lock().unwrap();
        assert_eq!(home.endpoint(), None, "the server of whoever was killed is not there any more");
        assert!(!occupied.is_free().unwrap(), "another one has it now");
        home.write_endpoint("nats://127.0.0.1:4333", "t").unwrap();
        let (_, occupied) = entered().await;
        std::fs::remove_dir_all(&root).unwrap();
        assert!(matches!(occupied.vacated().await, Err(HomeError::Gone { .. })));
        assert!(!root.exists());
        drop(lock);
    }

    /// Nobody waits for a server that will never be there; for one that may be starting, everybody does, and says so.
    #[tokio::test(start_paused = true)]
    async fn a_server_elsewhere_is_named_and_one_that_starts_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let mut lock = home.lock().unwrap();
        let mut told = Vec::new();
        let refused = home.enter(|text| told.push(text.to_owned())).await.unwrap_err();
        assert!(matches!(refused, HomeError::Locked { .. }), "{refused}");
        assert_eq!(told.len(), 1, "{told:?}");
        lock.tell_server("nats://head:4222").unwrap();
        let refused = home.enter(|text| panic!("{text}")).await.unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            refused.contains(&format!("(process {pid}), whose server is nats://head:4222:")),
            "{refused}"
        );
        drop(lock);
        assert!(matches!(home.enter(|text| panic!("{text}")).await, Ok(Occupancy::Ours(_))));
    }
}
