//! Ids of jobs, workers and attempts, each a type of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A job's identity: UUIDv5 over everything that changes its result (see [`crate::mtl::MtlSpec::id`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// The id with this UUID.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The first eight hexadecimal digits: enough for a person to tell the jobs of one sweep apart.
    pub fn short(self) -> String {
        self.0.simple().to_string()[..8].to_owned()
    }

    /// True when the id begins with `prefix`, ignoring hyphens and case.
    pub fn begins_with(self, prefix: &str) -> bool {
        self.0.simple().to_string().starts_with(&prefix.replace('-', "").to_lowercase())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A request to change a sweep while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(Uuid);

impl RequestId {
    /// The id with this UUID.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RequestId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// One worker process: its display name and a nonce, so that a restarted worker is a different owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerId(String);

impl TryFrom<String> for WorkerId {
    type Error = String;

    /// Names arrive in messages and become subjects, keys and lines on a terminal, so they must be one plain token.
    fn try_from(name: String) -> Result<Self, Self::Error> {
        if is_plain(&name) {
            return Ok(Self(name));
        }
        Err(format!("{:?} is not a worker's name", name.chars().take(80).collect::<String>()))
    }
}

/// True for a valid worker's name; it becomes part of keys and of file names.
pub fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

impl From<WorkerId> for String {
    fn from(worker: WorkerId) -> Self {
        worker.0
    }
}

impl WorkerId {
    /// `name` is reduced to the characters of a NATS subject token; `nonce` makes this process unique.
    pub fn new(name: &str, nonce: Uuid) -> Self {
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '-' })
            .take(48)
            .collect();
        Self(format!("{name}-{}", &nonce.simple().to_string()[..8]))
    }

    /// The token used in subjects and keys.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The worker's name without the nonce: the same after a restart.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('-').map_or(&self.0, |(name, _)| name)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How often a job has been claimed, from 1. Together with the owner it is the fencing token of every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_ids_are_subject_tokens() {
        let id = WorkerId::new("GPU 0.host", Uuid::nil());
        assert_eq!(id.as_str(), "gpu-0-host-00000000");
        assert_eq!(id.name(), "gpu-0-host");
    }

    #[test]
    fn names_from_messages_are_plain_tokens() {
        for bad in ["", "a.b", "a b", "../x", "\u{1b}[2J", "w*", &"a".repeat(65)] {
            let json = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<WorkerId>(&json).is_err(), "{bad:?}");
        }
        let id = WorkerId::new("GPU 0.host", Uuid::nil());
        assert_eq!(serde_json::from_str::<WorkerId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn job_ids_round_trip_through_text() {
        let id = JobId::new(Uuid::from_u128(7));
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
    }

    #[test]
    fn job_ids_are_found_by_their_prefix() {
        let id = JobId::new(Uuid::from_u128(0x12ab_34cd_56ef << 80));
        assert!(
            id.begins_with(&id.short()) && id.begins_with(&id.to_string()) && id.begins_with("12AB34CD-5")
        );
        assert!(!id.begins_with("12ac"));
    }
}
