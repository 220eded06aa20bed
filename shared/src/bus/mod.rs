//! How coordinator and workers reach each other, on any [`Server`]: settles doubts, checks versions and digests.
//!
//! Only `nats/` names the messaging client. Tests use the crate `memory-server`, a server in their own process.

mod blobs;
mod books;
mod clock;
pub mod credential;
mod drains;
mod error;
mod feed;
mod files;
mod group;
mod live;
mod nats;
mod orders;
mod priorities;
mod queue;
mod requests;
mod scoreboards;
pub mod server;
mod snapshot;
mod standings;
mod timing;
mod values;

use std::sync::Arc;
use std::time::Duration;

use crate::retry::Backoff;
use clock::ServerClock;

pub use blobs::Bucket;
pub use books::BookEntry;
pub use credential::{Credential, CredentialError, Role};
pub use error::BusError;
pub use feed::{Change, Fed, Feed};
use group::Group;
pub use live::Hints;
pub use nats::connect::Endpoint;
pub use orders::{Known, OrderEntry, Planned};
pub use queue::{Delivery, Jobs};
pub use requests::RequestEntry;
use server::Server;
pub use server::{Inventory, Queued, Stored, Upload};
pub use values::Store;

/// The pauses between two tries of a write that must get through.
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(50), Duration::from_secs(2));

/// One connection to a server. Clones share it.
#[derive(Debug, Clone)]
pub struct Bus {
    server: Arc<dyn Server>,
    group: Arc<Group>,
    clock: Arc<ServerClock>,
}

impl Bus {
    /// The bus over a connection to any kind of server.
    pub fn over(server: impl Server) -> Self {
        let server: Arc<dyn Server> = Arc::new(server);
        Self { group: Arc::new(Group::new(server.clone())), clock: Arc::default(), server }
    }
}
