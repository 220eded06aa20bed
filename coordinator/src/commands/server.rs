//! Which server a verb talks to: the options that all such verbs share.

use std::path::PathBuf;

use clap::Args;
use shared::bus::{BusError, Credential, Endpoint};

/// A server other than one of our own.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Use this NATS server instead of one of our own: nats://[token@]host[:port], or tls://host[:port]; several of one
    /// cluster are parted by commas.
    #[arg(long, env = "FERRY_NATS", value_name = "URL")]
    pub nats: Option<String>,
    /// Access token of that server, when it is not in the URL.
    #[arg(long, env = "FERRY_TOKEN", hide_env_values = true, requires = "nats")]
    pub token: Option<String>,
    /// Credential for a server made by `ferry init --cluster`.
    #[arg(long, env = "FERRY_CREDS", value_name = "FILE", requires = "nats", conflicts_with = "token")]
    pub creds: Option<PathBuf>,
}

impl ServerArgs {
    /// The server, if one is named.
    pub fn endpoint(&self) -> Result<Option<Endpoint>, BusError> {
        let Some(url) = &self.nats else { return Ok(None) };
        let credential = self.creds.as_deref().map(Credential::read).transpose()?;
        Ok(Some(Endpoint::parse(url, self.token.clone())?.with_credential(credential)))
    }
}
