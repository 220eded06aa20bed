//! The nats-server process: configuration, port, readiness, restart. It ends with its parent, however that ends.

pub mod binary;
mod health;

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use shared::bus::{Bus, BusError, Endpoint};
use shared::files;
use shared::retry::{Backoff, Retry};
use tokio::process::Child;

use crate::guard;
use crate::home::{Home, HomeError};

/// Why the server of this home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error(transparent)]
    Binary(#[from] binary::BinaryError),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error("{0} cannot be written: {1}")]
    Write(PathBuf, std::io::Error),
    #[error("nats-server cannot be started: {0}")]
    Spawn(std::io::Error),
    #[error("nats-server ended right after its start ({status}); the end of {log}:\n{tail}")]
    Ended { status: ExitStatus, log: PathBuf, tail: String },
    #[error("nats-server did not open its port within {} s; see {log}", START_LIMIT.as_secs())]
    Silent { log: PathBuf },
    #[error("nats-server is running, but not ready: {0}")]
    NotReady(BusError),
}

const START_LIMIT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(10);
/// For a server that has just been started.
const READY: Retry = Backoff::every(Duration::from_millis(50)).within(START_LIMIT);

/// A running nats-server that belongs to one home.
#[derive(Debug)]
pub struct Broker {
    home: Home,
    program: PathBuf,
    token: String,
    port: u16,
    /// The port of its health report, if it has one.
    monitor: Option<u16>,
    child: Child,
}

impl Broker {
    /// Starts the server of `home` on a free loopback port and waits until it accepts connections.
    pub async fn start(home: &Home) -> Result<Self, BrokerError> {
        let program = binary::find()?;
        let token = home.token()?;
        let Launched { child, port, monitor } = launch(home, &program, &token, None).await?;
        home.write_endpoint(&url(port), &token)?;
        Ok(Self { home: home.clone(), program, token, port, monitor, child })
    }

    /// Its port on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How to reach it.
    pub fn endpoint(&self) -> Result<Endpoint, BusError> {
        Endpoint::parse(&url(self.port), Some(self.token.clone()))
    }

    /// Process id of the server.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Resolves when the server has ended, which it should never do by itself.
    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills it as a power cut would; [`Self::restart`] follows.
    pub async fn kill(&mut self) -> std::io::Result<()> {
        match self.child.try_wait()? {
            Some(_) => Ok(()),
            None => self.child.kill().await,
        }
    }

    /// Starts it again on the same port: its clients know no other.
    pub async fn restart(&mut self) -> Result<(), BrokerError> {
        let launched = launch(&self.home, &self.program, &self.token, Some(self.port)).await?;
        (self.child, self.monitor) = (launched.child, launched.monitor);
        Ok(())
    }

    /// What the running server reports to be wrong with itself.
    pub async fn complaint(&self) -> Option<String> {
        health::complaint(self.monitor?, &self.token).await
    }

    /// Why the server's folder cannot be written, if so. A server that failed to write once never writes again until it is
    /// restarted, and a restart is useless while the folder cannot be written.
    pub fn no_room(&self) -> Option<std::io::Error> {
        health::probe(&self.home.broker_dir().ok()?).err()
    }

    /// Stops a server with a failed store and starts it again on the same port.
    pub async fn renew(&mut self) -> Result<(), BrokerError> {
        guard::terminate(&mut self.child, Duration::from_secs(10)).await;
        self.restart().await
    }

    /// Stops it gracefully, which makes the next start fast.
    pub async fn stop(mut self) {
        guard::terminate(&mut self.child, Duration::from_secs(10)).await;
        self.home.forget_endpoint(&url(self.port));
    }
}

/// Connects to a server that has just been started: JetStream may still be reading its store.
pub async fn connect(endpoint: &Endpoint, name: &str) -> Result<Bus, BrokerError> {
    // While it starts, it may say that it has no JetStream. A store of another version stays one.
    let passes = |error: &BusError| !matches!(error, BusError::Version { .. } | BusError::OldStore { .. });
    let tell = |error: &BusError| tracing::debug!(%error, "not ready yet");
    let connected = READY.run(|| Bus::connect_and_lay_out(endpoint, name), passes, tell).await;
    connected.map_err(BrokerError::NotReady)
}

fn url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

/// Starts a server and waits for its port: `port`, else the port of the home's last server, so that workers that were
/// started by hand find it again, else any free one.
async fn launch(
    home: &Home,
    program: &Path,
    token: &str,
    port: Option<u16>,
) -> Result<Launched, BrokerError> {
    let dir = home.broker_dir()?;
    if let Some(preferred) = port.or_else(|| last_port(&dir)) {
        match try_launch(&dir, program, token, i32::from(preferred)).await {
            Err(BrokerError::Ended { tail, .. })
                if port.is_none() && tail.contains("address already in use") => {}
            outcome => return outcome,
        }
    }
    try_launch(&dir, program, token, -1).await
}

/// A server that accepts connections.
struct Launched {
    child: Child,
    port: u16,
    monitor: Option<u16>,
}

async fn try_launch(dir: &Path, program: &Path, token: &str, port: i32) -> Result<Launched, BrokerError> {
    let log = dir.join("server.log");
    let config = dir.join("server.conf");
    write(&config, &configuration(token, port))?;
    truncate(&log)?;
    let mut child = guard::command(program, guard::OnParentDeath::Ask)
        .map_err(BrokerError::Spawn)?
        .arg("-c")
        .arg("server.conf")
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(BrokerError::Spawn)?;
    let ports = dir.join(format!("nats-server_{}.ports", child.id().unwrap_or(0)));
    let deadline = tokio::time::Instant::now() + START_LIMIT;
    loop {
        let text = std::fs::read_to_string(&ports).unwrap_or_default();
        if let Some(port) = port_in(&text, "nats") {
            write(&dir.join("port"), &port.to_string())?;
            return Ok(Launched { child, port, monitor: port_in(&text, "monitoring") });
        }
        if let Some(status) = child.try_wait().map_err(BrokerError::Spawn)? {
            let tail = tail(&log, 12);
            return Err(BrokerError::Ended { status, log, tail });
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(BrokerError::Silent { log });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Loopback only; nothing without the token, which is also in the path of the health report; every write is on disk before
/// it is confirmed. Paths are relative to the server's folder, so a home can be moved. Only the disk limits the store: the
/// server's own limit, three quarters of the free space at its start, would shrink with every restart.
fn configuration(token: &str, port: i32) -> String {
    format!(
        r#"# Written by ferry at every start; changes are lost.
server_name: ferry
listen: "127.0.0.1:{port}"
http: "127.0.0.1:-1"
http_base_path: "/{token}"
ports_file_dir: "."
log_file: "server.log"
log_size_limit: 50MB
ping_interval: "10s"
ping_max: 2
max_payload: 1MB
write_deadline: "10s"
authorization {{ token: "{token}" }}
jetstream {{ store_dir: "store", max_memory_store: 64MB, max_file_store: 1000TB, sync_interval: always }}
"#
    )
}

/// The first port for `what` (clients or monitoring) in a ports file.
fn port_in(ports: &str, what: &str) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_str(ports).ok()?;
    ports[what][0].as_str()?.rsplit(':').next()?.parse().ok()
}

fn last_port(dir: &Path) -> Option<u16> {
    std::fs::read_to_string(dir.join("port")).ok()?.trim().parse().ok()
}

fn write(path: &Path, text: &str) -> Result<(), BrokerError> {
    files::write_private(path, text.as_bytes()).map_err(|error| BrokerError::Write(path.to_owned(), error))
}

fn truncate(path: &Path) -> Result<(), BrokerError> {
    match std::fs::File::create(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(BrokerError::Write(path.to_owned(), error)),
    }
}

/// The last lines of a log, for error messages.
pub fn tail(log: &Path, lines: usize) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_ports_file() {
        let ports = r#"{"nats":["nats://127.0.0.1:43391"],"monitoring":["http://127.0.0.1:8222"]}"#;
        assert_eq!((port_in(ports, "nats"), port_in(ports, "monitoring")), (Some(43391), Some(8222)));
        assert_eq!(port_in("{", "nats"), None);
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "a\nb\nc\n").unwrap();
        assert_eq!(tail(&log, 2), "b\nc");
        assert_eq!(tail(&dir.path().join("none"), 2), "");
    }
}
