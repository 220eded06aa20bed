//! The options that say which server a command talks to.

use std::path::PathBuf;

use clap::Args;
use shared::bus::{BusError, Credential, Endpoint};

/// A server that somebody else runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// Use this NATS server instead of starting one: nats://[token@]host[:port] or tls://host[:port]; several servers of one
    /// cluster are separated by commas.
    #[arg(long, env = "FERRY_NATS", value_name = "URL")]
    pub nats: Option<String>,
    /// Access token of that server, if it is not in the URL.
    #[arg(long, env = "FERRY_TOKEN", hide_env_values = true, requires = "nats")]
    pub token: Option<String>,
    /// Credential for a server that was set up with `ferry cluster init`.
    #[arg(long, env = "FERRY_CREDS", value_name = "FILE", requires = "nats", conflicts_with = "token")]
    pub creds: Option<PathBuf>,
}

impl ServerArgs {
    /// The server, if one is named.
    ///
    /// # Errors
    /// When the address or the credential cannot be used.
    pub(crate) fn endpoint(&self) -> Result<Option<Endpoint>, BusError> {
        let Some(url) = &self.nats else { return Ok(None) };
        let credential = self.creds.as_deref().map(Credential::read).transpose()?;
        Ok(Some(Endpoint::parse(url, self.token.clone())?.with_credential(credential)))
    }
}

/// The addresses without the tokens in them.
pub(super) fn without_token(urls: &str) -> String {
    let one = |url: &str| {
        let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
    };
    urls.split(',').map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_tokens() {
        assert_eq!(without_token("nats://secret@head:4222"), "nats://head:4222");
        assert_eq!(without_token("secret@head,tls://b"), "head,tls://b");
    }
}
