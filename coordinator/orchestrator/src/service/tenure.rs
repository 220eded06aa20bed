//! What a run has to itself on its machine, and what it shares with another `ferry run` that was there first: the state
//! directory, with its server and its workers, and the run folder. A run that shares waits for the other one to end.

use std::time::Duration;

use shared::bus::Endpoint;
use tokio::time::Instant;

use crate::home::{Home, HomeError, HomeLock};
use crate::run_dir::{RunDir, RunDirLock};

/// How often to look whether the other run is gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often, and for how long, to look where the server of a home listens, which may just be starting.
const POLL: Duration = Duration::from_millis(100);
const STARTING: Duration = Duration::from_secs(20);

/// Who has the state directory.
#[derive(Debug)]
pub(super) enum Tenure {
    /// This run, which starts the workers, and the server unless one is named.
    Own(HomeLock),
    /// Another ferry. This run uses its server and leaves the training to its workers.
    Guest(Endpoint),
    /// Another ferry. This run uses a server elsewhere, and has workers of its own.
    Beside,
}

/// Who has the run folder.
#[derive(Debug)]
pub(super) enum FolderTenure {
    Own {
        _lock: RunDirLock,
    },
    /// Another run of the same sweep, which stores the results and writes the report. This one only watches.
    Watched,
}

impl Tenure {
    /// Takes the state directory, or joins whoever has it. With `has_server`, the run has a server elsewhere.
    pub(super) async fn take(home: &Home, has_server: bool) -> Result<Self, HomeError> {
        let begun = Instant::now();
        loop {
            let refused = match home.lock() {
                Ok(lock) => return Ok(Self::Own(lock)),
                Err(refused @ HomeError::Locked { .. }) => refused,
                Err(error) => return Err(error),
            };
            if has_server {
                return Ok(Self::Beside);
            }
            if let Some(endpoint) = home.endpoint() {
                return Ok(Self::Guest(endpoint));
            }
            if begun.elapsed() >= STARTING {
                return Err(refused); // It uses a server elsewhere.
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// `None` if another ferry has the state directory.
    pub(super) fn lock(&self) -> Option<&HomeLock> {
        match self {
            Self::Own(lock) => Some(lock),
            Self::Guest(_) | Self::Beside => None,
        }
    }

    /// The state directory that this run will have when the other ferry ends.
    fn awaited<'a>(&self, home: &'a Home) -> Option<&'a Home> {
        match self {
            Self::Guest(_) => Some(home),
            Self::Own(_) | Self::Beside => None,
        }
    }
}

impl FolderTenure {
    fn awaited<'a>(&self, folder: &'a RunDir) -> Option<&'a RunDir> {
        match self {
            Self::Watched => Some(folder),
            Self::Own { .. } => None,
        }
    }
}

/// Resolves when something is free that another run had before. Never if this run has everything.
pub(super) async fn vacated((tenure, home): (&Tenure, &Home), (folder, run_dir): (&FolderTenure, &RunDir)) {
    let (home, run_dir) = (tenure.awaited(home), folder.awaited(run_dir));
    if home.is_none() && run_dir.is_none() {
        return std::future::pending().await;
    }
    let is_free = || {
        home.is_some_and(|home| home.lock().is_ok()) || run_dir.is_some_and(|run_dir| run_dir.lock().is_ok())
    };
    while !is_free() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
