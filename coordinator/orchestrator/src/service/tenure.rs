//! What a run has to itself on its machine, and what it shares with another `ferry run` that was there first: the state
//! directory, with its server and its workers, and the run folder. A run that shares waits for the other one to end.

use std::time::Duration;

use shared::bus::Endpoint;

use crate::home::{Home, HomeError, HomeLock, Occupancy, OccupiedHome};
use crate::run_dir::{RunDir, RunDirLock};

/// How often to look whether the other run has left the run folder.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who has the state directory.
#[derive(Debug)]
pub(super) enum Tenure {
    /// This run, which starts the workers, and the server unless one is named.
    Own(HomeLock),
    /// Another ferry. This run uses its server and leaves the training to its workers.
    Guest { endpoint: Endpoint, home: OccupiedHome },
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
    /// Takes the state directory, or joins whoever has it. `server` is one elsewhere. If this has to wait, it `tell`s so.
    pub(super) async fn take(
        home: &Home,
        server: Option<&Endpoint>,
        tell: impl FnMut(&str),
    ) -> Result<Self, HomeError> {
        let Some(server) = server else {
            return Ok(match home.enter(tell).await? {
                Occupancy::Ours(lock) => Self::Own(lock),
                Occupancy::Theirs { endpoint, home } => Self::Guest { endpoint, home },
            });
        };
        match home.lock() {
            Ok(mut lock) => {
                lock.tell_server(server.url())?;
                Ok(Self::Own(lock))
            }
            Err(HomeError::Locked { .. } | HomeError::ServerElsewhere { .. }) => Ok(Self::Beside),
            Err(error) => Err(error),
        }
    }

    /// `None` if another ferry has the state directory.
    pub(super) fn lock(&self) -> Option<&HomeLock> {
        match self {
            Self::Own(lock) => Some(lock),
            Self::Guest { .. } | Self::Beside => None,
        }
    }

    /// True if another ferry's server and workers are used.
    pub(super) fn is_guest(&self) -> bool {
        match self {
            Self::Guest { .. } => true,
            Self::Own(_) | Self::Beside => false,
        }
    }

    /// Resolves when the ferry has ended whose server this run uses. Never if there is none.
    pub(super) async fn vacated(&self) -> Result<(), HomeError> {
        match self {
            Self::Guest { home, .. } => home.vacated().await,
            Self::Own(_) | Self::Beside => std::future::pending().await,
        }
    }
}

impl FolderTenure {
    /// Resolves when the run has ended that had the run folder. Never if there is none.
    pub(super) async fn vacated(&self, run_dir: &RunDir) {
        match self {
            Self::Watched => {
                while run_dir.lock().is_err() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
            Self::Own { .. } => std::future::pending().await,
        }
    }
}
