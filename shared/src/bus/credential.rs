//! Credentials: the file that lets a program use a protected server.
//!
//! ```text
//! # comment
//! version: 1
//! role: worker
//! seed: SUA…                      Ed25519 seed of a NATS user, secret
//! replicas: 1                     copies the server keeps of each stream (coordinator only)
//! -----BEGIN CERTIFICATE-----     the authority that signed the server's certificate
//! …
//! -----END CERTIFICATE-----
//! ```
//!
//! The server knows only the public key. The file is read again for each connection, because of its certificate.

use std::fmt;
use std::path::{Path, PathBuf};

use nkeys::{KeyPair, KeyPairType};

use crate::version::{VersionError, Versions};

const VERSION: u32 = 1;
/// A larger file is not a credential.
const LARGEST: u64 = 64 << 10;
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// What a credential lets its holder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May do everything that Ferry does on a server.
    Coordinator,
    /// May take jobs, change their records and hand in their results.
    Worker,
    /// May only read.
    Observer,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Coordinator, Self::Worker, Self::Observer];

    /// The name in files and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Observer => "observer",
        }
    }

    /// Prefix of the subjects on which replies arrive: each role may only listen to its own.
    pub fn inbox(self) -> String {
        format!("_INBOX_{}", self.name())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a credential file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("cannot read the credential {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not a credential made by `ferry cluster init`: {reason}", path.display())]
    Format { path: PathBuf, reason: String },
    #[error("the credential {} {source}", path.display())]
    Version { path: PathBuf, source: VersionError },
}

/// A credential, read from its file.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    path: PathBuf,
    role: Role,
    seed: String,
    replicas: usize,
}

/// Without the seed, which must not appear in logs.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("path", &self.path)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// Reads and checks a credential file.
    ///
    /// # Errors
    /// When the file cannot be read, is not a credential, or has a newer version.
    pub fn read(path: &Path) -> Result<Self, CredentialError> {
        let unreadable = |source| CredentialError::Read { path: path.to_owned(), source };
        // Absolute, because it is passed on to the programs that this one starts.
        let path = std::path::absolute(path).map_err(unreadable)?;
        if std::fs::metadata(&path).map_err(unreadable)?.len() > LARGEST {
            return Err(CredentialError::Format { path, reason: "it is far too large".to_owned() });
        }
        let text = std::fs::read(&path).map_err(unreadable)?;
        Self::parse(&path, &String::from_utf8_lossy(&text))
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CredentialError> {
        let wrong =
            |reason: &str| CredentialError::Format { path: path.to_owned(), reason: reason.to_owned() };
        let head = text.split(CERTIFICATE).next().unwrap_or_default();
        let field = |name: &str| {
            head.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        let number = |name: &str| field(name).and_then(|value| value.parse::<u32>().ok());
        let version = field("version").ok_or_else(|| wrong("it gives no version"))?;
        Versions::up_to(VERSION)
            .check_text(version)
            .map_err(|source| CredentialError::Version { path: path.to_owned(), source })?;
        let role = field("role").and_then(|name| Role::ALL.into_iter().find(|role| role.name() == name));
        let role = role.ok_or_else(|| wrong("it gives no role"))?;
        let seed = field("seed").ok_or_else(|| wrong("it gives no seed"))?;
        let pair = KeyPair::from_seed(seed).map_err(|_| wrong("its seed is damaged"))?;
        if !matches!(pair.key_pair_type(), KeyPairType::User) {
            return Err(wrong("its seed is not a user's"));
        }
        if !text.contains(CERTIFICATE) {
            return Err(wrong("it holds no certificate"));
        }
        let replicas = number("replicas").unwrap_or(1).clamp(1, 5) as usize;
        Ok(Self { path: path.to_owned(), role, seed: seed.to_owned(), replicas })
    }

    /// The path of its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The role that it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How many copies of each stream the servers of this cluster keep.
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    pub(super) fn seed(&self) -> &str {
        &self.seed
    }
}

/// A user's new key pair.
pub struct NewUser {
    pair: KeyPair,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NewUser").field(&self.public_key()).finish()
    }
}

impl NewUser {
    /// Draws a key pair from the system's source of randomness.
    pub fn draw() -> Self {
        Self { pair: KeyPair::new_user() }
    }

    /// The public key, which the server's configuration lists.
    pub fn public_key(&self) -> String {
        self.pair.public_key()
    }

    /// The text of this user's credential file; `authority` is the certificate (PEM) that signed the server's.
    ///
    /// # Errors
    /// When the key pair has no seed.
    pub fn credential(
        &self,
        role: Role,
        replicas: usize,
        authority: &str,
    ) -> Result<String, nkeys::error::Error> {
        let seed = self.pair.seed()?;
        Ok(format!(
            "# Lets a {role} into a Ferry server. Whoever has this file has the rights of a {role}: keep it \
             secret.\nversion: {VERSION}\nrole: {role}\nseed: {seed}\nreplicas: {replicas}\n{authority}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn parse(text: &str) -> Result<Credential, CredentialError> {
        Credential::parse(Path::new("c.creds"), text)
    }

    #[test]
    fn a_credential_is_read_as_it_was_written() {
        for role in Role::ALL {
            let user = NewUser::draw();
            let read = parse(&user.credential(role, 3, PEM).unwrap()).unwrap();
            assert_eq!((read.role(), read.replicas()), (role, 3));
            assert_eq!(KeyPair::from_seed(read.seed()).unwrap().public_key(), user.public_key());
            assert!(!format!("{read:?}").contains(read.seed()), "a seed must not reach a log");
        }
    }

    #[test]
    fn a_file_that_is_not_a_credential_is_refused_with_the_reason() {
        let good = NewUser::draw().credential(Role::Worker, 1, PEM).unwrap();
        let account = format!("seed: {}", KeyPair::new_account().seed().unwrap());
        let seed = good.lines().find(|line| line.starts_with("seed")).unwrap();
        for (bad, why) in [
            (String::new(), "version"),
            (good.replace("role: worker", "role: king"), "role"),
            (good.replace(seed, ""), "seed"),
            (good.replace(seed, "seed: SUAAA"), "damaged"),
            (good.replace(seed, &account), "user"),
            (good.replace("CERTIFICATE", "KEY"), "certificate"),
            (good.replace("version: 1", "version: 2"), "version 2"),
        ] {
            let error = parse(&bad).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("c.creds"), "{why}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_far_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.creds");
        std::fs::File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(matches!(Credential::read(&path), Err(CredentialError::Format { .. })));
        assert!(matches!(
            Credential::read(dir.path().join("none").as_path()),
            Err(CredentialError::Read { .. })
        ));
    }
}
