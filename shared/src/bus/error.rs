//! Errors on the bus: each message says what is wrong, and what to do if a person can do something.

use std::path::PathBuf;

use super::credential::{CredentialError, Role};
use super::server::ServerError;
use crate::ids::JobId;
use crate::protocol::TimingError;
use crate::version::VersionError;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Why something could not be done on the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("cannot connect to {url}: {source}")]
    Connect { url: String, source: AnyError },
    #[error("`{url}` is not a NATS address such as nats://host:4222: {problem}")]
    Address { url: String, problem: String },
    #[error("the server at {url} refused the credential: {help}")]
    Refused { url: String, help: String },
    #[error("the server at {url} cannot be trusted: {problem}")]
    Untrusted { url: String, problem: String },
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("{} is the {role}'s credential: use the {needed}'s here", path.display())]
    Role { path: PathBuf, role: Role, needed: Role },
    #[error(
        "the server at {url} has no JetStream: add a `jetstream` block to its configuration and restart it"
    )]
    NoJetStream { url: String },
    #[error("the server has no {what}")]
    Missing { what: String },
    /// A swap found another revision. Nothing was written.
    #[error("the record of job {job} was changed by somebody else meanwhile")]
    Conflict { job: JobId },
    #[error("cannot {action}: {source}")]
    Transport { action: String, source: AnyError },
    #[error("cannot read {what}: {source}; it is damaged, or was written by another version of Ferry")]
    Decode { what: String, source: serde_json::Error },
    #[error("{what} {source}")]
    Version { what: String, source: VersionError },
    /// Only a coordinator may update the store of a server.
    #[error(
        "the store of this server has version {found}, but this program needs version {needed}: start `ferry run` of this \
         version on it, which updates the store, or use the programs that wrote it"
    )]
    OldStore { found: u64, needed: u32 },
    /// Something that came over the bus contradicts itself or its name.
    #[error("{what} was refused because it cannot be right: {reason}")]
    Untrue { what: String, reason: String },
    #[error("cannot use {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "the lease that is stored on the server cannot work: {source}; set another with `ferry run --lease`"
    )]
    Timing { source: TimingError },
    /// It never succeeds, unlike what the server refuses while its store is full.
    #[error("cannot {action}: it is larger than the server accepts (`max_payload` in its configuration)")]
    TooLarge { action: String },
    /// The server knows the blob but does not send its bytes: it is shutting down, or has lost them.
    #[error("the server does not send the bytes of blob {name}")]
    Stalled { name: String },
    #[error("blob {name} is damaged: it should have digest {expected}, but has {found}")]
    Damaged { name: String, expected: String, found: String },
}

impl BusError {
    /// True if the same call may succeed later by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Transport { .. } | Self::Stalled { .. } => true,
            Self::Address { .. }
            | Self::Refused { .. }
            | Self::Untrusted { .. }
            | Self::Credential(_)
            | Self::Role { .. }
            | Self::NoJetStream { .. }
            | Self::Missing { .. }
            | Self::Conflict { .. }
            | Self::Decode { .. }
            | Self::Version { .. }
            | Self::OldStore { .. }
            | Self::Untrue { .. }
            | Self::File { .. }
            | Self::Timing { .. }
            | Self::TooLarge { .. }
            | Self::Damaged { .. } => false,
        }
    }

    /// True if the caller named the wrong server or credential, or one of another version.
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
            | Self::TooLarge { .. }
            | Self::Stalled { .. }
            | Self::Damaged { .. } => false,
        }
    }

    pub(super) fn transport(action: impl Into<String>, source: impl Into<AnyError>) -> Self {
        Self::Transport { action: action.into(), source: source.into() }
    }

    /// The error of a request that failed during `action`. Callers handle `Missing` and `Damaged` themselves first.
    pub(super) fn failed(action: impl Into<String>, failure: ServerError) -> Self {
        match failure {
            ServerError::Doubt(source) => Self::transport(action, source),
            ServerError::TooLarge => Self::TooLarge { action: action.into() },
            other @ (ServerError::Revision
            | ServerError::Missing
            | ServerError::Damaged
            | ServerError::Refused(_)) => Self::transport(action, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::Timing;

    #[test]
    fn messages_are_plain_sentences_that_say_what_to_do() {
        let path = || PathBuf::from("worker.creds");
        let url = || "tls://head:4222".to_owned();
        let timing = Timing::new(Duration::from_secs(2), Some(Duration::from_secs(1))).unwrap_err();
        let version = VersionError::Newer { found: 3, newest: 2 };
        let errors = [
            BusError::Connect { url: url(), source: "connection refused".into() },
            BusError::Role { path: path(), role: Role::Worker, needed: Role::Coordinator },
            BusError::NoJetStream { url: url() },
            BusError::Missing { what: "blob plan.x".into() },
            BusError::failed("list the keys", ServerError::Refused("maximum bytes exceeded".into())),
            BusError::failed("write job.x", ServerError::TooLarge),
            BusError::Version { what: "the store of this server".into(), source: version },
            BusError::OldStore { found: 1, needed: 2 },
            BusError::Untrue { what: "result.x".into(), reason: "it belongs to job y".into() },
            BusError::Timing { source: timing },
            BusError::Stalled { name: "x".into() },
            BusError::Damaged { name: "x".into(), expected: "aa".into(), found: "bb".into() },
        ];
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        cannot connect to tls://head:4222: connection refused
        worker.creds is the worker's credential: use the coordinator's here
        the server at tls://head:4222 has no JetStream: add a `jetstream` block to its configuration and restart it
        the server has no blob plan.x
        cannot list the keys: the server refuses: maximum bytes exceeded
        cannot write job.x: it is larger than the server accepts (`max_payload` in its configuration)
        the store of this server has version 3, but this program reads versions up to 2 only: update Ferry
        the store of this server has version 1, but this program needs version 2: start `ferry run` of this version on it, which updates the store, or use the programs that wrote it
        result.x was refused because it cannot be right: it belongs to job y
        the lease that is stored on the server cannot work: a heartbeat every 1s does not suit a lease of 2s: it must be between 100ms and a third of the lease; set another with `ferry run --lease`
        the server does not send the bytes of blob x
        blob x is damaged: it should have digest aa, but has bb
        ");
    }
}
