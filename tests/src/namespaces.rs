//! Two hosts on one machine: network namespaces, connected by a virtual cable that can be unplugged.

use std::process::Command;

use anyhow::Context;

/// Two hosts, which are removed after the test.
#[derive(Debug)]
pub struct Hosts {
    pub head: String,
    pub far: String,
    cable: String,
}

/// Address of the head.
pub const HEAD: &str = "10.211.7.1";
const FAR: &str = "10.211.7.2";

impl Hosts {
    /// Creates the hosts.
    ///
    /// # Errors
    ///
    /// This machine or user cannot create network namespaces.
    pub fn new() -> anyhow::Result<Self> {
        // An interface's name has 15 characters at most.
        let id = &uuid::Uuid::new_v4().simple().to_string()[..8];
        let hosts =
            Self { head: format!("ferry-h{id}"), far: format!("ferry-f{id}"), cable: format!("fv{id}") };
        let Self { head, far, cable } = &hosts;
        let end = format!("{cable}p");
        ip(&["netns", "add", head])?;
        ip(&["netns", "add", far])?;
        ip(&["-n", head, "link", "add", cable, "type", "veth", "peer", "name", &end, "netns", far])?;
        for (host, end, address) in [(head, cable, HEAD), (far, &end, FAR)] {
            ip(&["-n", host, "address", "add", &format!("{address}/30"), "dev", end])?;
            ip(&["-n", host, "link", "set", end, "up"])?;
            ip(&["-n", host, "link", "set", "lo", "up"])?;
        }
        Ok(hosts)
    }

    /// Unplugs the cable: nothing gets through, and neither side is notified.
    ///
    /// # Errors
    ///
    /// `ip` fails.
    pub fn unplug(&self) -> anyhow::Result<()> {
        ip(&["-n", &self.head, "link", "set", &self.cable, "down"])
    }

    /// Plugs the cable in again.
    ///
    /// # Errors
    ///
    /// `ip` fails.
    pub fn plug(&self) -> anyhow::Result<()> {
        ip(&["-n", &self.head, "link", "set", &self.cable, "up"])
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.head, &self.far] {
            let _gone = ip(&["netns", "delete", host]);
        }
    }
}

/// The same command on another host.
pub fn within(host: &str, command: &Command) -> Command {
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", host]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        inside.current_dir(folder);
    }
    inside
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(args).output().context("there is no `ip` (iproute2)")?;
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    anyhow::ensure!(output.status.success(), "ip {}: {error}", args.join(" "));
    Ok(())
}
