//! Connecting: addresses, credentials, encryption, time-outs, and what a refusal means.

use std::sync::Arc;
use std::time::Duration;

use nats::rustls::{CertificateError, Error as TlsError, InvalidMessage};
use nats::{ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError, jetstream};

use super::super::credential::{Credential, Role};
use super::super::{Bus, BusError};
use super::schema::{self, Visit};
use super::{Nats, layout};
use crate::protocol::subjects;

/// Where the server is and how to get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `nats://host:port`, or several separated by commas, without credentials: fit for logs.
    url: String,
    token: Option<String>,
    credential: Option<Arc<Credential>>,
}

impl Endpoint {
    /// Reads `nats://[token@]host[:port]`, or the addresses of several servers of one cluster, separated by commas. A
    /// separate token wins over one in the address.
    ///
    /// # Errors
    /// When an address has no host, or another scheme than nats, tls, ws and wss.
    pub fn parse(address: &str, token: Option<String>) -> Result<Self, BusError> {
        let mut inner = None;
        let mut urls = Vec::new();
        for one in address.split(',') {
            let (url, user) = parse_one(one.trim())?;
            inner = inner.or(user);
            urls.push(url);
        }
        Ok(Self { url: urls.join(","), token: token.or(inner), credential: None })
    }

    /// The same server, with this credential and only over TLS.
    #[must_use]
    pub fn with_credential(self, credential: Option<Credential>) -> Self {
        Self { credential: credential.map(Arc::new), ..self }
    }

    /// The address without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The access token, if one is needed.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The credential, if one is needed.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_deref()
    }

    /// Refuses a credential of another role. The server would only leave requests unanswered.
    ///
    /// # Errors
    /// When the credential is for none of `roles`.
    pub fn require(&self, roles: &[Role]) -> Result<(), BusError> {
        match self.credential() {
            Some(credential) if !roles.contains(&credential.role()) => Err(BusError::Role {
                path: credential.path().to_owned(),
                role: credential.role(),
                needed: roles.first().copied().unwrap_or(Role::Coordinator),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn addresses(&self) -> Result<Vec<ServerAddr>, BusError> {
        let one = |url: &str| url.parse().map_err(|error: std::io::Error| wrong(url, &error.to_string()));
        self.url.split(',').map(one).collect()
    }

    fn options(&self) -> ConnectOptions {
        let options = match &self.token {
            Some(token) => ConnectOptions::with_token(token.clone()),
            None => ConnectOptions::new(),
        };
        match self.credential() {
            Some(credential) => options
                .nkey(credential.seed().to_owned())
                .custom_inbox_prefix(credential.role().inbox())
                .require_tls(true)
                .add_root_certificates(credential.path().to_owned()),
            None => options,
        }
    }

    /// The prefix of JetStream's API for this role: workers and observers have an account of their own, into which the
    /// server imports exactly what they may use.
    fn api(&self) -> &'static str {
        match self.credential().map(Credential::role) {
            None | Some(Role::Coordinator) => subjects::API,
            Some(Role::Worker | Role::Observer) => subjects::GUEST_API,
        }
    }
}

fn parse_one(address: &str) -> Result<(String, Option<String>), BusError> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("nats", address));
    let (inner, host) = rest.rsplit_once('@').map_or((None, rest), |(inner, host)| (Some(inner), host));
    let url = format!("{scheme}://{host}");
    if !["nats", "tls", "ws", "wss"].contains(&scheme) {
        return Err(wrong(&url, "the scheme must be nats, tls, ws or wss"));
    }
    if host.is_empty() {
        return Err(wrong(&url, "there is no host"));
    }
    url.parse::<ServerAddr>().map_err(|error| wrong(&url, &error.to_string()))?;
    Ok((url, inner.map(str::to_owned)))
}

fn wrong(url: &str, problem: &str) -> BusError {
    BusError::Address { url: url.to_owned(), problem: problem.to_owned() }
}

impl Bus {
    /// Connects as coordinator, and creates what is missing on the server.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses the credential, has no JetStream, or has a newer store.
    pub async fn connect_and_lay_out(endpoint: &Endpoint, name: &str) -> Result<Self, BusError> {
        endpoint.require(&[Role::Coordinator])?;
        let (client, jetstream) = open(endpoint, name).await?;
        let replicas = endpoint.credential().map_or(1, Credential::replicas);
        layout::require_jetstream(&jetstream, endpoint.url()).await?;
        schema::check(&jetstream, Visit::Host).await?; // A newer store is left as it is.
        layout::ensure(&jetstream, replicas).await?;
        attach(endpoint, client, jetstream).await
    }

    /// Connects as worker or observer. A coordinator must have connected to this server before.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses the credential, or has no store of this version.
    pub async fn connect(endpoint: &Endpoint, name: &str) -> Result<Self, BusError> {
        let (client, jetstream) = open(endpoint, name).await?;
        schema::check(&jetstream, Visit::Guest).await?;
        attach(endpoint, client, jetstream).await
    }
}

async fn attach(
    endpoint: &Endpoint,
    client: nats::Client,
    jetstream: jetstream::Context,
) -> Result<Bus, BusError> {
    let books = layout::bucket(&jetstream, subjects::BOOKS).await?;
    let presence = layout::bucket(&jetstream, subjects::PRESENCE).await?;
    Ok(Bus::over(Nats { client, jetstream, api: endpoint.api(), books, presence }))
}

/// The first connection fails fast, because otherwise a wrong credential would be retried for ever. Later the client
/// reconnects by itself without limit.
async fn open(endpoint: &Endpoint, name: &str) -> Result<(nats::Client, jetstream::Context), BusError> {
    let role = endpoint.credential().map(Credential::role);
    let client = endpoint
        .options()
        .name(name)
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(Duration::from_secs(5)))
        .ping_interval(Duration::from_secs(5))
        // Only the named servers: discovered addresses may not be in their certificates.
        .ignore_discovered_servers()
        .event_callback(move |event| async move { tell(role, &event) })
        .connect(endpoint.addresses()?)
        .await
        .map_err(|error| refusal(endpoint, error))?;
    let builder = jetstream::ContextBuilder::new().timeout(Duration::from_secs(5));
    Ok((client.clone(), builder.api_prefix(endpoint.api()).build(client)))
}

/// Logs events of the connection. Only here does a request beyond the role's rights show; its caller sees a time-out.
fn tell(role: Option<Role>, event: &Event) {
    match event {
        Event::ServerError(ServerError::Other(text)) if violation(text).is_some() => {
            let role = role.map_or("user", Role::name);
            let what = violation(text).unwrap_or_default();
            tracing::error!("the server does not let this {role} {what}: the request will time out");
        }
        Event::ServerError(error) => tracing::warn!(%error, "the server refused a request"),
        Event::Disconnected => tracing::warn!("connection to the server lost"),
        Event::Connected => tracing::debug!("connected to the server"),
        other => tracing::debug!(%other, "connection"),
    }
}

/// What was not allowed: `publish to "subject"` of the server's `Permissions Violation for Publish to "subject"`.
fn violation(text: &str) -> Option<String> {
    let rest = text.strip_prefix("Permissions Violation for ")?;
    let (verb, subject) = rest.split_once(' ')?;
    Some(format!("{} {subject}", verb.to_lowercase()))
}

fn refusal(endpoint: &Endpoint, error: ConnectError) -> BusError {
    let url = endpoint.url.clone();
    if let Some(tls) = tls_error(&error) {
        return BusError::Untrusted { problem: tls_problem(tls, endpoint.credential()), url };
    }
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            let help = match endpoint.credential() {
                Some(credential) => {
                    let path = credential.path().display();
                    format!("{path} belongs to another cluster, or was revoked in the server's configuration")
                }
                None => "give a credential with --creds FILE, or the server's token with FERRY_TOKEN or as \
                         nats://TOKEN@host"
                    .to_owned(),
            };
            BusError::Refused { url, help }
        }
        ConnectErrorKind::ServerParse
        | ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Tls
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => BusError::Connect { url, source: error.into() },
    }
}

/// The TLS library's own error among the causes.
fn tls_error(error: &ConnectError) -> Option<&TlsError> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source()).find_map(
        |error| {
            let io = || error.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref();
            error.downcast_ref().or_else(io)
        },
    )
}

fn tls_problem(error: &TlsError, credential: Option<&Credential>) -> String {
    match error {
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not use TLS, which tls:// and --creds require; write nats://host for a server without TLS".to_owned()
        }
        TlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => match credential {
            Some(credential) => format!(
                "its certificate is not signed by the authority in {}: that credential belongs to another cluster",
                credential.path().display()
            ),
            None => "its certificate is signed by an authority that this machine does not know: give a credential of \
                     this cluster with --creds FILE"
                .to_owned(),
        },
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for other host names: use a name that was given to `ferry cluster init` as --host"
            .to_owned(),
        other => other.to_string(),
    }
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
        let three = Endpoint::parse("tls://a:1, tls://b:2,tls://c:3", None).unwrap();
        assert_eq!((three.url(), three.addresses().unwrap().len()), ("tls://a:1,tls://b:2,tls://c:3", 3));
        for wrong in ["http://head", "nats://", "nats://head:notaport", "nats://a,,nats://b"] {
            assert!(matches!(Endpoint::parse(wrong, None), Err(BusError::Address { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_violation_is_told_as_what_was_not_allowed() {
        let text = "Permissions Violation for Publish to \"ferry.job.1\"";
        assert_eq!(violation(text).unwrap(), "publish to \"ferry.job.1\"");
        assert_eq!(violation("Authorization Violation"), None);
    }
}
