//! Values of the books: JSON under keys, with a version that is checked before anything else is read.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::server::{Entry, ServerError};
use super::{Bus, BusError};
use crate::protocol::subjects;
use crate::version::{DecodeError, Versions};

/// How a server's store answers a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    Writable,
    /// It is full or switched off, as the server's own message says.
    Refuses(String),
    /// No answer: the server is away or slow, or part of its store is broken.
    Silent,
}

/// Written to see whether the store accepts writes.
#[derive(Serialize)]
struct Trial {
    v: u32,
}

impl Bus {
    /// Reads a value of the books.
    ///
    /// # Errors
    /// When the server does not answer, or the value is missing, damaged or of a version above `known`.
    pub async fn read<T: DeserializeOwned>(&self, key: &str, known: u32) -> Result<T, BusError> {
        let entry = self.entry(key).await?.ok_or_else(|| BusError::Missing { what: key.to_owned() })?;
        decode(key, &entry.value, known)
    }

    /// A value of the books and its revision, if there is one.
    ///
    /// # Errors
    /// When the server does not answer, or the value is damaged or of a version above `known`.
    pub async fn read_entry<T: DeserializeOwned>(
        &self,
        key: &str,
        known: u32,
    ) -> Result<Option<(T, u64)>, BusError> {
        let Some(entry) = self.entry(key).await? else { return Ok(None) };
        Ok(Some((decode(key, &entry.value, known)?, entry.revision)))
    }

    /// Changes a value that has this revision (0: that is not there). False when somebody else changed it first.
    ///
    /// # Errors
    /// When the server refuses or does not answer. The value may have been written all the same.
    pub async fn write_entry<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<bool, BusError> {
        Ok(self.changed(key, value, revision).await?.is_some())
    }

    /// Writes a value that has only one writer.
    ///
    /// # Errors
    /// When the server refuses or does not answer. The value may have been written all the same.
    pub async fn write<T: Serialize>(&self, key: &str, value: &T) -> Result<(), BusError> {
        self.server.put(key, encode(value)).await.map_err(|e| BusError::failed(format!("write {key}"), e))
    }

    /// Deletes a value, if it exists. Only the coordinator may do this.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn delete(&self, key: &str) -> Result<(), BusError> {
        self.server.delete(key).await.map_err(|e| BusError::failed(format!("delete {key}"), e))
    }

    /// Server time at which a value was written, in nanoseconds since the Unix epoch; `None` if there is no value.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn written_at(&self, key: &str) -> Result<Option<i128>, BusError> {
        Ok(self.entry(key).await?.map(|entry| entry.written_nanos))
    }

    /// Like [`Self::write`], but returns the server time of the write, in nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_at<T: Serialize>(&self, key: &str, value: &T) -> Result<i128, BusError> {
        self.write(key, value).await?;
        self.written_at(key).await?.ok_or_else(|| BusError::Missing { what: key.to_owned() })
    }

    /// Tries whether the server's store accepts writes.
    pub async fn try_store(&self) -> Store {
        match self.server.put(subjects::TRIAL_KEY, encode(&Trial { v: 1 })).await {
            Ok(()) => Store::Writable,
            Err(ServerError::Refused(why)) => Store::Refuses(why),
            Err(
                ServerError::Revision
                | ServerError::Missing
                | ServerError::Damaged
                | ServerError::TooLarge
                | ServerError::Doubt(_),
            ) => Store::Silent,
        }
    }

    /// Keys of the books that match `pattern` (such as `sweep.*`), in no particular order.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn keys(&self, pattern: &str) -> Result<Vec<String>, BusError> {
        let prefix = pattern.trim_end_matches('*');
        self.server.keys(prefix).await.map_err(|error| BusError::failed("list the keys of the store", error))
    }

    /// Changes a value that has `revision`, and returns the new revision; `None` when it has another one by now.
    pub(super) async fn changed<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<Option<u64>, BusError> {
        match self.server.update(key, encode(value), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(ServerError::Revision) => Ok(None),
            Err(error) => Err(BusError::failed(format!("write {key}"), error)),
        }
    }

    pub(super) async fn entry(&self, key: &str) -> Result<Option<Entry>, BusError> {
        let entry = self.server.entry(key).await.map_err(|e| BusError::failed(format!("read {key}"), e))?;
        if let Some(entry) = &entry {
            self.clock.heard(entry.written_nanos);
        }
        Ok(entry)
    }

    /// False when something is there already.
    pub(super) async fn create(&self, key: &str, value: Bytes) -> Result<bool, BusError> {
        match self.server.update(key, value, 0).await {
            Ok(_) => Ok(true),
            Err(ServerError::Revision) => Ok(false),
            Err(error) => Err(BusError::failed(format!("write {key}"), error)),
        }
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes.into(),
        Err(error) => unreachable!("plain data always becomes JSON: {error}"),
    }
}

/// The largest value in the books, in bytes. By default nats-server itself accepts 1 MiB.
const LARGEST: usize = 8 << 20;

/// Decodes a value of the books. Its version is checked first, so that another layout is refused and never misread.
pub(super) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8], newest: u32) -> Result<T, BusError> {
    let what = || what.to_owned();
    if bytes.len() > LARGEST {
        let reason = format!("it has {} bytes, more than {LARGEST}", bytes.len());
        return Err(BusError::Untrue { what: what(), reason });
    }
    Versions::up_to(newest).decode(bytes).map_err(|error| match error {
        DecodeError::Version(source) => BusError::Version { what: what(), source },
        DecodeError::Json(source) => BusError::Decode { what: what(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::JobRecord;

    #[test]
    fn a_newer_layout_is_refused_before_it_is_read() {
        let newer = br#"{"v":2,"state":"levitating"}"#;
        assert!(matches!(decode::<JobRecord>("job.x", newer, 1), Err(BusError::Version { .. })));
        assert!(matches!(decode::<JobRecord>("job.x", b"{\"v\":1}", 1), Err(BusError::Decode { .. })));
        let long = vec![b' '; LARGEST + 1];
        assert!(matches!(decode::<JobRecord>("job.x", &long, 1), Err(BusError::Untrue { .. })));
        let deep = [b"{\"v\":1,\"x\":".as_slice(), &vec![b'['; 100_000]].concat();
        assert!(matches!(decode::<JobRecord>("job.x", &deep, 1), Err(BusError::Decode { .. })));
        let pending = JobRecord::pending();
        assert_eq!(decode::<JobRecord>("job.x", &encode(&pending), JobRecord::VERSION).unwrap(), pending);
    }
}
