//! The two servers that must behave alike: a real nats-server, and the one in memory.

use std::time::Duration;

use memory_server::MemoryServer;
use shared::bus::Bus;

use crate::server::Server;

/// Each of these functions, which take a [`Backend`], as a test of its own on both servers. The one in memory runs on a
/// clock that does not wait.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod nats {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(super::Backend::nats()?).await
            })*
        }
        mod memory {
            $(#[tokio::test(start_paused = true)]
            async fn $name() -> anyhow::Result<()> {
                super::$name(super::Backend::memory()?).await
            })*
        }
    };
}

/// A server under test.
#[derive(Debug)]
pub enum Backend {
    Nats(Server),
    Memory(MemoryServer),
}

impl Backend {
    /// A nats-server of this test's own.
    pub fn nats() -> anyhow::Result<Self> {
        Ok(Self::Nats(Server::start()?))
    }

    /// A server in memory on this runtime's clock.
    pub fn memory() -> anyhow::Result<Self> {
        Ok(Self::Memory(MemoryServer::start(0, None, None)))
    }

    /// A connection of its own.
    pub async fn bus(&self) -> anyhow::Result<Bus> {
        match self {
            Self::Nats(server) => server.bus().await,
            Self::Memory(server) => Ok(server.connect("test").0),
        }
    }

    /// As a power cut does, with everything confirmed on disk.
    pub async fn crash_and_restart(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Nats(server) => server.crash_and_restart(),
            Self::Memory(server) => {
                server.crash();
                // A real one is away for a moment, too: time that passes for its clients, not a guess at theirs.
                tokio::time::sleep(Duration::from_millis(300)).await;
                server.restart();
                Ok(())
            }
        }
    }
}
