//! Two servers that must behave in the same way: a real nats-server, and the one in memory.

use std::time::Duration;

use memory_server::MemoryServer;
use shared::bus::Bus;

use crate::server::Server;

/// Makes two tests of each function, which takes a [`Backend`]: one for each server. The server in memory uses a clock
/// that does not wait.
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
    /// A nats-server for this test alone.
    ///
    /// # Errors
    ///
    /// nats-server is missing or does not start.
    pub fn nats() -> anyhow::Result<Self> {
        Ok(Self::Nats(Server::start()?))
    }

    /// A server in memory, on the clock of this runtime. Never fails.
    pub fn memory() -> anyhow::Result<Self> {
        Ok(Self::Memory(MemoryServer::start(0, None, None)))
    }

    /// A new connection.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub async fn bus(&self) -> anyhow::Result<Bus> {
        match self {
            Self::Nats(server) => server.bus().await,
            Self::Memory(server) => Ok(server.connect("test").0),
        }
    }

    /// Restarts the server as after a power cut. Everything that it has confirmed is on its disk.
    ///
    /// # Errors
    ///
    /// nats-server cannot be killed or started.
    pub async fn crash_and_restart(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Nats(server) => server.crash_and_restart(),
            Self::Memory(server) => {
                server.crash();
                // A real server is away for a moment, too.
                tokio::time::sleep(Duration::from_millis(300)).await;
                server.restart();
                Ok(())
            }
        }
    }
}
