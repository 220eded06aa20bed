//! The bus on NATS JetStream: books in a key-value bucket, a work queue of hints, blobs in object stores.

pub(super) mod blobs;
pub(super) mod books;
pub(super) mod connect;
mod layout;
pub(super) mod live;
pub(super) mod queue;

use nats::Client;
use nats::jetstream::Context;
use nats::jetstream::kv::Store;

/// One connection to the bus. Clones share it.
#[derive(Clone)]
pub struct Bus {
    client: Client,
    jetstream: Context,
    books: Store,
    presence: Store,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("server", &self.client.server_info().server_id).finish_non_exhaustive()
    }
}
