//! A server that is NATS JetStream: books in a key-value bucket, a work queue of hints, blobs in object stores.

mod blobs;
mod books;
pub(super) mod connect;
mod inventory;
mod layout;
mod live;
mod queue;
mod schema;

use nats::Client;
use nats::jetstream::Context;
use nats::jetstream::kv::Store;

use crate::protocol::subjects;

/// The bytes of one message of an object.
const CHUNK: usize = 512 * 1024;

/// One connection.
struct Nats {
    client: Client,
    jetstream: Context,
    /// Prefix of JetStream's API for this connection's role: see [`Nats::subject`].
    api: &'static str,
    books: Store,
    presence: Store,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").field("server", &self.client.server_info().server_id).finish_non_exhaustive()
    }
}

impl Nats {
    /// The subject to which this connection writes for a `subject` of the server's streams: workers and observers use a
    /// prefix.
    fn subject(&self, subject: String) -> String {
        if self.api == subjects::API { subject } else { format!("{}.{subject}", self.api) }
    }
}
