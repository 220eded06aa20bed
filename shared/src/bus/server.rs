//! What Ferry needs from a server, request by request: the interface between the bus and a messaging system.
//!
//! One call is one request: nothing here retries, settles a doubt, reads a version or checks a digest. The bus does all
//! that above this interface, and so it is the same on a real server and on the one in memory.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::blob::BlobRef;

/// The future answer to a request.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, ServerError>>;

/// A stream of what a server sends by itself. After an error it continues without loss. When it ends, it must be opened
/// again.
pub type Flow<T> = BoxStream<'static, Result<T, ServerError>>;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The key has another revision than the one named. Nothing was written.
    #[error("the key has another revision")]
    Revision,
    #[error("it is not there")]
    Missing,
    /// The server's own check of the bytes failed.
    #[error("the stored bytes are damaged")]
    Damaged,
    /// The server takes no message that large, so nothing was sent.
    #[error("it is larger than the server accepts (`max_payload`)")]
    TooLarge,
    /// The server refuses, and says why.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// No answer, or an unreadable one. The request may have been carried out, or may still be.
    #[error(transparent)]
    Doubt(AnyError),
}

impl ServerError {
    /// The error of a request whose outcome is unknown.
    pub fn doubt(source: impl Into<AnyError>) -> Self {
        Self::Doubt(source.into())
    }
}

/// A server with everything that Ferry uses.
pub trait Server: fmt::Debug + Books + Queue + Blobs + Live + 'static {}

impl<T: fmt::Debug + Books + Queue + Blobs + Live + 'static> Server for T {}

/// A value of the books at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Bytes,
    /// The revision that the next compare-and-swap must name.
    pub revision: u64,
    /// Server time of the write, in nanoseconds since the Unix epoch.
    pub written_nanos: i128,
}

/// One part of an atomic batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    /// Revision that the key must have; 0 means that it must not exist, `None` that any will do.
    pub expected: Option<u64>,
    pub value: Bytes,
}

/// A key-value bucket with revisions.
pub trait Books: Send + Sync {
    fn entry<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Entry>>;
    /// Writes `value` if `key` has revision `expected` (0: if it does not exist), and returns the new revision.
    fn update<'a>(&'a self, key: &'a str, value: Bytes, expected: u64) -> Reply<'a, u64>;
    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> Reply<'a, ()>;
    /// Deletes a key with its history, if it exists. Only the coordinator may do this.
    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, ()>;
    /// All writes or none. They get revisions without a gap, of which the last is returned.
    fn batch<'a>(&'a self, writes: &'a [Write]) -> Reply<'a, u64>;
    /// Every key that begins with `prefix`, such as `sweep.`; it is empty or ends with a dot.
    fn keys<'a>(&'a self, prefix: &'a str) -> Reply<'a, Vec<String>>;
    /// Revision of the newest write under `keys` (such as `job.*`), 0 if there is none.
    fn newest<'a>(&'a self, keys: &'a str) -> Reply<'a, u64>;
    /// Every current value under `keys` (each such as `job.*`) with a revision above `after`, then every change, in the
    /// order of the revisions.
    fn watch(&self, keys: &'static [&'static str], after: u64) -> Reply<'_, Flow<Entry>>;
}

/// The outcome of queueing a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    Now,
    /// It is already queued or handed out.
    Already,
}

/// A receiver's answer to a message. The server accepts it from anybody who ever held the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// Take it out of the queue, and confirm.
    Done,
    /// Hand it out again after this time.
    Back(Duration),
    /// Still at work: restart the deadline.
    Working,
}

/// One message handed out by the queue.
pub trait Message: Send + Sync {
    fn subject(&self) -> &str;
    fn answer(&self, ack: Ack) -> Reply<'_, ()>;
}

/// A work queue that holds one message per subject.
pub trait Queue: Send + Sync {
    fn publish<'a>(&'a self, subject: &'a str) -> Reply<'a, Queued>;
    /// Publishes all of these at once. False if none was published, because one of them is queued or handed out, or the
    /// server does not do that.
    fn publish_all<'a>(&'a self, subjects: &'a [String]) -> Reply<'a, bool>;
    fn purge(&self) -> Reply<'_, ()>;
    /// Removes the message with this subject, if there is one, even if it is handed out. Only the coordinator may do this.
    fn withdraw<'a>(&'a self, subject: &'a str) -> Reply<'a, ()>;
    /// Sets after what time without an answer a message is handed out again.
    fn set_deadline(&self, deadline: Duration) -> Reply<'_, ()>;
    /// Messages one at a time, each handed out when it is polled for.
    fn pull(&self) -> Reply<'_, Flow<Box<dyn Message>>>;
}

/// Object stores of immutable bytes.
pub trait Blobs: Send + Sync {
    fn holds<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, bool>;
    /// Stores a blob. Fails if its bytes are discarded as an unfinished upload in the meantime.
    fn store<'a>(&'a self, bucket: &'a str, blob: &'a BlobRef, bytes: &'a Bytes) -> Reply<'a, ()>;
    /// The bytes in pieces. A server may never send a piece that it has lost.
    fn open<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, Flow<Bytes>>;
    fn remove<'a>(&'a self, bucket: &'a str, name: &'a str) -> Reply<'a, ()>;
    /// Everything in a bucket, whole or not.
    fn inventory<'a>(&'a self, bucket: &'a str) -> Reply<'a, Inventory>;
    /// Removes the bytes of an unfinished upload, unless it has become an object in the meantime. If its uploader is
    /// still alive, it has to start over.
    fn discard<'a>(&'a self, bucket: &'a str, upload: &'a str) -> Reply<'a, ()>;
}

/// What a bucket holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Bytes on the server's disk, by the server's count.
    pub bytes: u64,
    pub objects: Vec<Stored>,
    /// Uploads without a description: still in progress, or abandoned.
    pub uploads: Vec<Upload>,
}

/// A whole object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub name: String,
    pub size: u64,
    /// Server time of its description, in nanoseconds since the Unix epoch.
    pub written_nanos: i128,
}

/// Bytes that belong to no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    pub id: String,
    /// Its size on the server, estimated from the number of its chunks.
    pub size: u64,
    /// Server time of its newest bytes, in nanoseconds since the Unix epoch.
    pub written_nanos: i128,
}

/// Presence, whose entries expire by themselves, and hints, which are lost if nobody listens.
pub trait Live: Send + Sync {
    /// Renews an entry and returns the server's time in nanoseconds since the Unix epoch.
    fn appear<'a>(&'a self, key: &'a str, value: Bytes) -> Reply<'a, i128>;
    fn present(&self) -> Reply<'_, Vec<Bytes>>;
    fn disappear<'a>(&'a self, key: &'a str) -> Reply<'a, ()>;
    fn hint<'a>(&'a self, subject: &'a str, payload: Bytes) -> Reply<'a, ()>;
    fn hints<'a>(&'a self, subjects: &'a str) -> Reply<'a, Flow<Bytes>>;
}
