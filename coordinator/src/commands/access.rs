//! Getting at the books for a moment: of a home where nothing runs, of one where a ferry runs, or of a server.

use std::path::PathBuf;

use clap::Args;
use shared::bus::{Bus, Role};

use super::server::ServerArgs;
use crate::broker::{self, Broker};
use crate::home::{self, Home, HomeError, HomeLock};

/// Whose books.
#[derive(Debug, Args)]
pub struct BooksArgs {
    /// State directory to look into.
    #[arg(long, env = "FERRY_HOME", default_value = home::DEFAULT)]
    pub home: PathBuf,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Open books.
#[derive(Debug)]
pub(super) struct Access {
    pub bus: Bus,
    /// Started for this moment only, with the home locked.
    own: Option<(Broker, HomeLock)>,
}

impl Access {
    /// As [`Self::open`], for what the coordinator alone may do.
    pub(super) async fn open_as_coordinator(args: &BooksArgs, name: &str) -> anyhow::Result<Option<Self>> {
        if let Some(endpoint) = args.server.endpoint()? {
            endpoint.require(&[Role::Coordinator])?;
        }
        Self::open(args, name).await
    }

    /// True when these are the books of a home that this process has locked: nobody can be running a sweep on them.
    pub(super) fn is_alone(&self) -> bool {
        self.own.is_some()
    }

    /// Opens the books; `None` when nothing has ever run in the home. `name` is how the server knows this connection.
    pub(super) async fn open(args: &BooksArgs, name: &str) -> anyhow::Result<Option<Self>> {
        if let Some(endpoint) = args.server.endpoint()? {
            let bus = Bus::connect(&endpoint, name).await?;
            return Ok(Some(Self { bus, own: None }));
        }
        let home = Home::new(&args.home);
        if home.is_empty() {
            return Ok(None);
        }
        match home.lock() {
            // Nothing runs: its server is started for a moment to read the books.
            Ok(lock) => {
                let broker = Broker::start(&home).await?;
                let bus = broker::connect(&broker.endpoint()?, name).await?;
                Ok(Some(Self { bus, own: Some((broker, lock)) }))
            }
            Err(HomeError::Locked { .. }) => {
                let endpoint = home.endpoint().ok_or_else(|| {
                    anyhow::anyhow!(
                        "a ferry runs on {} with a server given by --nats: ask that one",
                        home.root().display()
                    )
                })?;
                Ok(Some(Self { bus: Bus::connect(&endpoint, name).await?, own: None }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Closes them, and ends a server that was started for this.
    pub(super) async fn close(self) {
        drop(self.bus); // Else the end of its server is news to it.
        if let Some((broker, _lock)) = self.own {
            broker.stop().await;
        }
    }
}
