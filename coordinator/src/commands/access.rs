//! Access to the records of sweeps: in a home where nothing runs, in a home where a ferry runs, or on a server.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use shared::bus::{Bus, BusError, Endpoint, Role};
use shared::stdio;
use tokio::time::Instant;

use super::server::{ServerArgs, without_token};
use orchestrator::broker::{self, Broker};
use orchestrator::home::{self, Home, HomeLock, Occupancy, OccupiedHome};

/// How long the server of another ferry may be away, which may just be ending, and how often to look.
const ENDING: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);

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
    /// Where they are.
    pub endpoint: Endpoint,
    place: Place,
}

/// Whose server it is.
#[derive(Debug)]
enum Place {
    /// It was named.
    Named,
    /// It was started only for this, with the lock of the home.
    Own(Box<Broker>, HomeLock),
    /// That of another ferry, which has the home.
    Shared(OccupiedHome),
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
        match self.place {
            Place::Own(..) => true,
            Place::Named | Place::Shared(_) => false,
        }
    }

    /// True if the ferry has ended that had the home, and with it the server. Of a server that was named, nobody knows.
    pub(super) fn has_ended(&self) -> bool {
        match &self.place {
            Place::Shared(home) => home.is_free().unwrap_or(true),
            Place::Named | Place::Own(..) => false,
        }
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
            return Ok(Some(Self { bus, endpoint, place: Place::Named }));
        }
        let home = Home::new(&args.home);
        if home.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        loop {
            match home.enter(stdio::remark).await? {
                // No ferry runs here, so start the server for this command.
                Occupancy::Ours(lock) => {
                    let broker = Broker::start(&home).await?;
                    let endpoint = broker.endpoint()?;
                    let bus = broker::connect(&endpoint, name).await?;
                    return Ok(Some(Self { bus, endpoint, place: Place::Own(Box::new(broker), lock) }));
                }
                Occupancy::Theirs { endpoint, home } => match Bus::connect(&endpoint, name).await {
                    Ok(bus) => return Ok(Some(Self { bus, endpoint, place: Place::Shared(home) })),
                    Err(BusError::Connect { .. }) if begun.elapsed() < ENDING => {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    /// Disconnects, and stops a server that was started for this.
    pub(super) async fn close(self) {
        drop(self.bus); // First, because otherwise the connection would report that its server is gone.
        match self.place {
            Place::Own(broker, _lock) => broker.stop().await,
            Place::Named | Place::Shared(_) => {}
        }
    }
}
