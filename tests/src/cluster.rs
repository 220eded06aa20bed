//! One or three protected servers, set up by `ferry cluster init` and `ferry cluster start`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use shared::bus::{Bus, Credential, Endpoint, Role};

use crate::namespaces::within;
use crate::programs::{Workdir, expect};
use crate::wait;

/// Running servers, with all their files in one temporary folder.
#[derive(Debug)]
pub struct Cluster {
    workdir: Workdir,
    made: Value,
    servers: Vec<Child>,
    /// The network namespace in which they run, if it is not the test's.
    namespace: Option<String>,
}

impl Cluster {
    /// Sets up and starts `servers` servers on this machine.
    ///
    /// # Errors
    ///
    /// The servers cannot be set up, or are not ready within 30 s.
    pub fn start(servers: usize) -> anyhow::Result<Self> {
        Self::make("127.0.0.1", servers, free_port(servers)?, None)
    }

    /// One server on all addresses of this machine, whose certificate names only 127.0.0.1 of these addresses.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_open() -> anyhow::Result<Self> {
        Self::make("head.invalid", 1, free_port(1)?, None)
    }

    /// One server in the network namespace `namespace`, reached at `host`.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_in(namespace: &str, host: &str) -> anyhow::Result<Self> {
        Self::make(host, 1, 4222, Some(namespace.to_owned()))
    }

    fn make(host: &str, servers: usize, port: u16, namespace: Option<String>) -> anyhow::Result<Self> {
        let workdir = Workdir::new()?;
        let (port, count) = (port.to_string(), servers.to_string());
        let args =
            ["cluster", "init", "cluster", "--host", host, "--port", &port, "--servers", &count, "--json"];
        let made = serde_json::from_slice(&expect(&mut workdir.ferry(&args), 0)?.stdout)?;
        let mut cluster = Self { workdir, made, servers: Vec::new(), namespace };
        for index in 0..servers {
            cluster.servers.push(cluster.serve(index)?);
        }
        for index in 0..servers {
            let log = workdir_log(&cluster, index)?;
            let ready = || std::fs::read_to_string(&log).ok()?.contains("Server is ready").then_some(());
            wait::until(Duration::from_secs(30), "a server", ready).with_context(|| cluster.logs())?;
        }
        Ok(cluster)
    }

    fn serve(&self, index: usize) -> anyhow::Result<Child> {
        let folder = self.made["servers"][index]["folder"].as_str().context("a folder")?;
        let command = self.workdir.ferry(&["cluster", "start", folder]);
        let mut command = match &self.namespace {
            Some(namespace) => within(namespace, &command),
            None => command,
        };
        Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// The addresses of all servers, for `--nats`.
    pub fn url(&self) -> &str {
        self.made["url"].as_str().unwrap_or_default()
    }

    /// The credential file of a role.
    pub fn credential(&self, role: Role) -> PathBuf {
        self.workdir.path().join("cluster").join(format!("{role}.creds"))
    }

    /// The endpoint with the credential of a role.
    ///
    /// # Errors
    ///
    /// The credential file cannot be read.
    pub fn endpoint(&self, role: Role) -> anyhow::Result<Endpoint> {
        let credential = Credential::read(&self.credential(role))?;
        Ok(Endpoint::parse(self.url(), None)?.with_credential(Some(credential)))
    }

    /// The coordinator's connection. Waits until the servers have found each other.
    ///
    /// # Errors
    ///
    /// The servers do not accept it within a minute.
    pub async fn coordinator(&self) -> anyhow::Result<Bus> {
        let endpoint = self.endpoint(Role::Coordinator)?;
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            match Bus::connect_and_lay_out(&endpoint, "test").await {
                Ok(bus) => return Ok(bus),
                Err(error) if tokio::time::Instant::now() > deadline => {
                    return Err(anyhow::Error::new(error).context(self.logs()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Kills one server, as a power cut would.
    ///
    /// # Errors
    ///
    /// The process cannot be killed.
    pub fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        self.servers[index].kill()?;
        self.servers[index].wait()?;
        Ok(())
    }

    /// The folder with all files.
    pub fn folder(&self) -> &Path {
        self.workdir.path()
    }

    /// The end of the servers' logs, for the messages of failed waits.
    pub fn logs(&self) -> String {
        let logs = (0..self.servers.len()).filter_map(|index| workdir_log(self, index).ok());
        let tails = logs.map(|log| format!("{}:\n{}", log.display(), orchestrator::broker::tail(&log, 20)));
        tails.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _gone = server.kill();
            let _reaped = server.wait();
        }
    }
}

fn workdir_log(cluster: &Cluster, index: usize) -> anyhow::Result<PathBuf> {
    let folder = cluster.made["servers"][index]["folder"].as_str().context("a folder")?;
    Ok(cluster.workdir.path().join(folder).join("server.log"))
}

/// The first of `servers` consecutive free ports. The ports for routes, 2000 above, are free too.
fn free_port(servers: usize) -> anyhow::Result<u16> {
    let free = |port: u16| TcpListener::bind(("0.0.0.0", port)).is_ok();
    for _ in 0..100 {
        let port = TcpListener::bind("0.0.0.0:0")?.local_addr()?.port();
        let all = (0..servers as u16).flat_map(|n| [port.checked_add(n), port.checked_add(n + 2000)]);
        if all.map(|port| port.filter(|&port| free(port))).all(|port| port.is_some()) {
            return Ok(port);
        }
    }
    anyhow::bail!("no {servers} free ports in a row")
}
