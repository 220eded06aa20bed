//! A server that is NATS JetStream: books in a key-value bucket, a work queue of hints, blobs in object stores.

mod blobs;
mod books;
pub(super) mod connect;
mod layout;
mod live;
mod queue;

use nats::Client;
use nats::jetstream::Context;
use nats::jetstream::kv::Store;

/// One connection.
struct Nats {
    client: Client,
    jetstream: Context,
    books: Store,
    presence: Store,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").field("server", &self.client.server_info().server_id).finish_non_exhaustive()
    }
}
