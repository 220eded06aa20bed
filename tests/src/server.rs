//! A nats-server for one test, on a port of its own, gone with the test.

use std::path::PathBuf;
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
}

impl Server {
    /// Starts one on a free loopback port.
    pub fn start() -> anyhow::Result<Self> {
        let program = coordinator::broker::binary::find()?;
        let dir = tempfile::tempdir()?;
        let child = spawn(&program, &dir, -1)?;
        let ports = dir.path().join(format!("nats-server_{}.ports", child.id()));
        let port = wait::until(Duration::from_secs(20), "the server's port", || {
            let text = std::fs::read_to_string(&ports).ok()?;
            let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
            ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
        })?;
        Ok(Self { dir, program, child, port })
    }

    /// How to reach it.
    pub fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Ok(Endpoint::parse(&self.url(), None)?)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A coordinator's connection to it.
    pub async fn bus(&self) -> anyhow::Result<Bus> {
        Ok(Bus::connect_and_lay_out(&self.endpoint()?, "test").await?)
    }

    /// Kills it as a power cut would and starts it again on the same port and store.
    pub fn crash_and_restart(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.program, &self.dir, i32::from(self.port))?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn spawn(program: &PathBuf, dir: &tempfile::TempDir, port: i32) -> anyhow::Result<Child> {
    let config = format!(
        "listen: \"127.0.0.1:{port}\"\nports_file_dir: \".\"\nlog_file: \"log\"\n\
         jetstream {{ store_dir: \"store\", sync_interval: always }}\n"
    );
    std::fs::write(dir.path().join("server.conf"), config)?;
    Command::new(program)
        .args(["-c", "server.conf"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))
}
