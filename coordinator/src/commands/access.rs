//! Access to the records of sweeps: in a home where nothing runs, in a home where a ferry runs, or on a server.

use std::path::PathBuf;

use clap::Args;
use shared::bus::{Bus, Role};

use super::server::{ServerArgs, without_token};
use orchestrator::broker::{self, Broker};
use orchestrator::home::{self, Home, HomeError, HomeLock};

/// Where the records are.
#[derive(Debug, Clone, Args)]
pub(crate) struct BooksArgs {
    /// State directory of the sweeps.
    #[arg(long, env = "FERRY_HOME", default_value = home::DEFAULT)]
    pub home: PathBuf,
    #[command(flatten)]
    pub server: ServerArgs,
}

impl BooksArgs {
    /// Where no sweep was found, and where else to look.
    pub(super) fn no_sweep(&self) -> String {
        if let Some(url) = &self.server.nats {
            return format!("no sweep has run on {} yet", without_token(url));
        }
        let home = std::path::absolute(&self.home).unwrap_or_else(|_| self.home.clone());
        let home = home.display();
        if self.home.is_dir() {
            format!("no sweep has run in {home} yet; --home names another state directory, --nats a server")
        } else {
            format!("there is no state directory {home}; name one with --home, or a server with --nats")
        }
    }
}

/// An open connection to the records.
#[derive(Debug)]
pub(super) struct Access {
    pub bus: Bus,
    /// A server that was started only for this, with the lock of the home.
    own: Option<(Broker, HomeLock)>,
}

impl Access {
    /// Like [`Self::open`], for what only the coordinator may do.
    pub(super) async fn open_as_coordinator(args: &BooksArgs, name: &str) -> anyhow::Result<Option<Self>> {
        if let Some(endpoint) = args.server.endpoint()? {
            endpoint.require(&[Role::Coordinator])?;
        }
        Self::open(args, name).await
    }

    /// True if these are the books of a home that this process has locked, so that nobody can be running a sweep on
    /// them.
    pub(super) fn is_alone(&self) -> bool {
        self.own.is_some()
    }

    /// Connects; `None` when no sweep has ever run in the home. `name` is the name of this connection on the server.
    ///
    /// # Errors
    /// When the server cannot be reached or started, or refuses the credential.
    pub(super) async fn open(args: &BooksArgs, name: &str) -> anyhow::Result<Option<Self>> {
        if let Some(endpoint) = args.server.endpoint()? {
            // With another role's credential, requests would wait for an answer that never comes.
            endpoint.require(&[Role::Observer, Role::Coordinator])?;
            let bus = Bus::connect(&endpoint, name).await?;
            return Ok(Some(Self { bus, own: None }));
        }
        let home = Home::new(&args.home);
        if home.is_empty() {
            return Ok(None);
        }
        match home.lock() {
            // No ferry runs here, so start the server for this command.
            Ok(lock) => {
                let broker = Broker::start(&home).await?;
                let bus = broker::connect(&broker.endpoint()?, name).await?;
                Ok(Some(Self { bus, own: Some((broker, lock)) }))
            }
            Err(HomeError::Locked { .. }) => {
                let endpoint = home.endpoint().ok_or_else(|| {
                    anyhow::anyhow!(
                        "the ferry that runs on {} uses a server given by --nats: give the same --nats here",
                        home.root().display()
                    )
                })?;
                Ok(Some(Self { bus: Bus::connect(&endpoint, name).await?, own: None }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Disconnects, and stops a server that was started for this.
    pub(super) async fn close(self) {
        drop(self.bus); // First, because otherwise the connection would report that its server is gone.
        if let Some((broker, _lock)) = self.own {
            broker.stop().await;
        }
    }
}
