//! How coordinator and workers reach each other: doubts settled, versions and digests checked, on any [`Server`].
//!
//! Only `nats/` names the messaging client. Tests run it on the crate `memory-server`, a server in their own process.

mod blobs;
mod books;
pub mod credential;
mod files;
mod key_watch;
mod live;
mod nats;
mod queue;
pub mod server;
mod standings;
mod timing;

use std::sync::Arc;
use std::time::Duration;

use crate::ids::JobId;
use crate::protocol::TimingError;
use crate::retry::Backoff;
use crate::version::VersionError;

pub use blobs::Bucket;
pub use books::{BookEntry, RecordWatch, Store};
pub use credential::{Credential, CredentialError, Role};
pub use live::Hints;
pub use nats::connect::Endpoint;
pub use queue::{Delivery, Jobs};
use server::{Failure, Server};
pub use server::{Inventory, Queued, Stored, Upload};
pub use standings::StandingWatch;

/// Between two tries of a write that must get through.
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(50), Duration::from_secs(2));

/// One connection to a server. Clones share it.
#[derive(Debug, Clone)]
pub struct Bus {
    server: Arc<dyn Server>,
}

impl Bus {
    /// The bus over a connection to any kind of server.
    pub fn over(server: impl Server) -> Self {
        Self { server: Arc::new(server) }
    }
}

/// What can go wrong on the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("cannot connect to {url}: {source}")]
    Connect { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("`{url}` is not a NATS address such as nats://host:4222: {problem}")]
    Address { url: String, problem: String },
    #[error("the server at {url} refused the credential: {help}")]
    Refused { url: String, help: String },
    #[error("the server at {url} cannot be trusted: {problem}")]
    Untrusted { url: String, problem: String },
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("{} is the {role}'s credential: use the {needed}'s here", path.display())]
    Role { path: std::path::PathBuf, role: Role, needed: Role },
    #[error(
        "the server at {url} has no JetStream: start nats-server with a `jetstream` block in its configuration"
    )]
    NoJetStream { url: String },
    #[error("the books hold no {what}")]
    Missing { what: String },
    /// Somebody else moved the record first. Nothing was written.
    #[error("the record of job {job} was moved by somebody else")]
    Conflict { job: JobId },
    #[error("cannot {action}: {source}")]
    Transport { action: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{what} cannot be read: {source}; it was written by another version or is damaged")]
    Decode { what: String, source: serde_json::Error },
    #[error("{what} {source}")]
    Version { what: String, source: VersionError },
    /// Only a coordinator may bring the store of a server up to date.
    #[error(
        "the store of this server has version {found}, and this program needs version {needed}: start `ferry run` of \
         this version on it, which updates the store, or use the programs that wrote it"
    )]
    OldStore { found: u64, needed: u32 },
    /// Something that came over the bus contradicts itself or what it must be.
    #[error("{what} is not to be believed: {reason}")]
    Untrue { what: String, reason: String },
    #[error("{} cannot be used: {source}", path.display())]
    File { path: std::path::PathBuf, source: std::io::Error },
    #[error("the books hold a lease that cannot work: {source}; set one with `ferry run --lease`")]
    Timing { source: TimingError },
    /// The server knows the blob and does not send its bytes: it is going away, or has lost them.
    #[error("the bytes of blob {name} do not come")]
    Stalled { name: String },
    #[error("blob {name} is damaged: expected {expected}, got {found}")]
    Damaged { name: String, expected: String, found: String },
}

impl BusError {
    /// True when the same call may succeed later without anything else changing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Transport { .. } | Self::Stalled { .. } => true,
            Self::Address { .. }
            | Self::Refused { .. }
            | Self::Untrusted { .. }
            | Self::Credential(_)
            | Self::Role { .. }
            | Self::NoJetStream { .. }
            | Self::Untrue { .. }
            | Self::File { .. }
            | Self::Missing { .. }
            | Self::Conflict { .. }
            | Self::Decode { .. }
            | Self::Version { .. }
            | Self::OldStore { .. }
            | Self::Timing { .. }
            | Self::Damaged { .. } => false,
        }
    }

    /// True when the caller named the wrong server or credential, or one of another version.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Address { .. }
            | Self::Refused { .. }
            | Self::Untrusted { .. }
            | Self::Credential(_)
            | Self::Role { .. }
            | Self::NoJetStream { .. }
            | Self::Version { .. }
            | Self::OldStore { .. } => true,
            Self::Connect { .. }
            | Self::Missing { .. }
            | Self::Conflict { .. }
            | Self::Transport { .. }
            | Self::Decode { .. }
            | Self::Untrue { .. }
            | Self::File { .. }
            | Self::Timing { .. }
            | Self::Stalled { .. }
            | Self::Damaged { .. } => false,
        }
    }

    fn transport(
        action: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Transport { action: action.into(), source: source.into() }
    }

    /// A failed request as an error of this action; what is `Missing` or `Damaged` was handled before.
    fn failed(action: impl Into<String>, failure: Failure) -> Self {
        match failure {
            Failure::Doubt(source) => Self::transport(action, source),
            other @ (Failure::Revision | Failure::Missing | Failure::Damaged | Failure::Refused(_)) => {
                Self::transport(action, other)
            }
        }
    }
}
