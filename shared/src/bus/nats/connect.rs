//! Connecting: addresses, credentials, time-outs.

use std::time::Duration;

use nats::jetstream;
use nats::{ConnectErrorKind, ConnectOptions};

use super::super::{Bus, BusError};
use super::{Nats, layout};

/// Where the server is and how to get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `nats://host:port` without credentials: fit for logs.
    url: String,
    token: Option<String>,
}

impl Endpoint {
    /// Reads `nats://[token@]host[:port]`. A separate token wins over one in the address.
    pub fn parse(address: &str, token: Option<String>) -> Result<Self, BusError> {
        let (scheme, rest) = address.split_once("://").unwrap_or(("nats", address));
        let (inner, host) = rest.rsplit_once('@').map_or((None, rest), |(inner, host)| (Some(inner), host));
        let url = format!("{scheme}://{host}");
        let wrong = |problem: &str| BusError::Address { url: url.clone(), problem: problem.to_owned() };
        if !["nats", "tls", "ws", "wss"].contains(&scheme) {
            return Err(wrong("the scheme must be nats, tls, ws or wss"));
        }
        if host.is_empty() {
            return Err(wrong("there is no host"));
        }
        url.parse::<nats::ServerAddr>().map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { url: url.clone(), token: token.or_else(|| inner.map(str::to_owned)) })
    }

    /// The address without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The access token, if one is needed.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

impl Bus {
    /// Connects as coordinator: makes what the sweep needs on the server, where it is not there yet.
    pub async fn connect_and_lay_out(endpoint: &Endpoint, name: &str) -> Result<Self, BusError> {
        let (client, jetstream) = open(endpoint, name).await?;
        layout::ensure(&jetstream, endpoint.url()).await?;
        attach(client, jetstream).await
    }

    /// Connects as worker or observer; the coordinator must have been there before.
    pub async fn connect(endpoint: &Endpoint, name: &str) -> Result<Self, BusError> {
        let (client, jetstream) = open(endpoint, name).await?;
        attach(client, jetstream).await
    }
}

async fn attach(client: nats::Client, jetstream: jetstream::Context) -> Result<Bus, BusError> {
    let books = layout::bucket(&jetstream, crate::protocol::subjects::BOOKS).await?;
    let presence = layout::bucket(&jetstream, crate::protocol::subjects::PRESENCE).await?;
    Ok(Bus::over(Nats { client, jetstream, books, presence }))
}

/// The first connection fails fast (a wrong credential would otherwise be retried for ever); once it stood, the
/// client reconnects by itself without limit.
async fn open(endpoint: &Endpoint, name: &str) -> Result<(nats::Client, jetstream::Context), BusError> {
    let options = match &endpoint.token {
        Some(token) => ConnectOptions::with_token(token.clone()),
        None => ConnectOptions::new(),
    };
    let client = options
        .name(name)
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(Duration::from_secs(5)))
        .ping_interval(Duration::from_secs(5))
        .event_callback(|event| async move {
            match event {
                nats::Event::ServerError(error) => tracing::warn!(%error, "the server refused something"),
                nats::Event::Disconnected => tracing::warn!("connection to the server lost"),
                nats::Event::Connected => tracing::debug!("connected to the server"),
                other => tracing::debug!(%other, "connection"),
            }
        })
        .connect(&endpoint.url)
        .await
        .map_err(|error| {
            let url = endpoint.url.clone();
            match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    BusError::Refused { url }
                }
                ConnectErrorKind::ServerParse
                | ConnectErrorKind::Dns
                | ConnectErrorKind::TimedOut
                | ConnectErrorKind::Tls
                | ConnectErrorKind::Io
                | ConnectErrorKind::MaxReconnects => BusError::Connect { url, source: error.into() },
            }
        })?;
    let jetstream = jetstream::ContextBuilder::new().timeout(Duration::from_secs(5)).build(client.clone());
    Ok((client, jetstream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_credentials_kept_apart() {
        let endpoint = Endpoint::parse("nats://secret@head:4222", None).unwrap();
        assert_eq!((endpoint.url(), endpoint.token()), ("nats://head:4222", Some("secret")));
        assert_eq!(Endpoint::parse("head", None).unwrap().url(), "nats://head");
        assert_eq!(Endpoint::parse("nats://a@b", Some("c".into())).unwrap().token(), Some("c"));
        for wrong in ["http://head", "nats://", "nats://head:notaport"] {
            assert!(matches!(Endpoint::parse(wrong, None), Err(BusError::Address { .. })), "{wrong}");
        }
    }
}
