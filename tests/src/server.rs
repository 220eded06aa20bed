//! A nats-server for one test, on its own port. It ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use shared::bus::{Bus, Endpoint};

use crate::wait;

/// A running server with its store in a temporary folder.
#[derive(Debug)]
pub struct Server {
    dir: tempfile::TempDir,
    program: PathBuf,
    child: Child,
    port: u16,
    /// Most bytes in its store.
    limit: Option<u64>,
}

impl Server {
    /// Starts a server on a free loopback port.
    ///
    /// # Errors
    ///
    /// nats-server is missing, or does not start within 20 s.
    pub fn start() -> anyhow::Result<Self> {
        Self::make(tempfile::tempdir()?, None)
    }

    /// A server whose store is below `folder`.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_below(folder: &Path) -> anyhow::Result<Self> {
        Self::make(tempfile::tempdir_in(folder)?, None)
    }

    /// A server whose store is limited to `bytes`.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_limited(bytes: u64) -> anyhow::Result<Self> {
        Self::make(tempfile::tempdir()?, Some(bytes))
    }

    fn make(dir: tempfile::TempDir, limit: Option<u64>) -> anyhow::Result<Self> {
        let program = orchestrator::broker::binary::find()?;
        let child = spawn(&program, &dir, -1, limit)?;
        let ports = dir.path().join(format!("nats-server_{}.ports", child.id()));
        let port = wait::until(Duration::from_secs(20), "the server's port", || {
            let text = std::fs::read_to_string(&ports).ok()?;
            let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
            ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
        })?;
        Ok(Self { dir, program, child, port, limit })
    }

    /// Its endpoint.
    ///
    /// # Errors
    ///
    /// Its address is not valid.
    pub fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Ok(Endpoint::parse(&self.url(), None)?)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The size of its store on the disk, in bytes.
    ///
    /// # Errors
    ///
    /// A folder of the store cannot be read.
    pub fn stored_bytes(&self) -> anyhow::Result<u64> {
        bytes_below(&self.dir.path().join("store"))
    }

    /// A coordinator's connection to it.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub async fn bus(&self) -> anyhow::Result<Bus> {
        Ok(Bus::connect_and_lay_out(&self.endpoint()?, "test").await?)
    }

    /// Kills the server as a power cut would, and starts it again on the same port and store.
    ///
    /// # Errors
    ///
    /// It cannot be killed or started.
    pub fn crash_and_restart(&mut self) -> anyhow::Result<()> {
        self.crash()?;
        self.restart()
    }

    /// Kills the server as a power cut would.
    ///
    /// # Errors
    ///
    /// It cannot be killed.
    pub fn crash(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts the server again on the same port and store.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.program, &self.dir, i32::from(self.port), self.limit)?;
        Ok(())
    }

    /// Restarts the server without a limit on its store.
    ///
    /// # Errors
    ///
    /// It cannot be killed or started.
    pub fn lift_limit(&mut self) -> anyhow::Result<()> {
        self.limit = None;
        self.crash_and_restart()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // The server may remove a file meanwhile.
        let Ok(about) = entry.metadata() else { continue };
        sum += if about.is_dir() { bytes_below(&entry.path())? } else { about.len() };
    }
    Ok(sum)
}

fn spawn(program: &PathBuf, dir: &tempfile::TempDir, port: i32, limit: Option<u64>) -> anyhow::Result<Child> {
    let limit = limit.map_or_else(String::new, |bytes| format!(", max_file_store: {bytes}"));
    let config = format!(
        "listen: \"127.0.0.1:{port}\"\nports_file_dir: \".\"\nlog_file: \"log\"\n\
         jetstream {{ store_dir: \"store\", sync_interval: always{limit} }}\n"
    );
    std::fs::write(dir.path().join("server.conf"), config)?;
    Command::new(program)
        .args(["-c", "server.conf"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}
