//! `ferry cluster init`: a secured server for several machines.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::bus::Role;
use shared::stdio;

use super::error::CommandError;
use orchestrator::cluster::{self, ClusterError, Made, Request};

/// Sets up one server, or a cluster of three or five, for several machines: configuration, certificates, credentials.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry cluster init cluster --host head.example.org --host 10.0.0.1\n  \
    ferry cluster init cluster --servers 3 --host a --host b --host c\n\n\
    Nothing is started. Only the owner can read the files; an existing folder is never touched.")]
pub(crate) struct InitArgs {
    /// Folder to create.
    pub folder: PathBuf,
    #[command(flatten)]
    pub servers: ServersArgs,
}

/// The servers to set up.
#[derive(Debug, Args)]
pub(crate) struct ServersArgs {
    /// Name or address by which clients reach the servers. For a single server, repeat it for each of its names; for
    /// several, give one per server, or one for all if they run on one machine. Default: the name of this machine.
    #[arg(long, value_name = "NAME_OR_IP")]
    host: Vec<String>,
    /// Port for clients. More servers on the same host use the ports after it. Servers talk to each other on their own
    /// port plus 2000.
    #[arg(long, default_value_t = 4222)]
    port: u16,
    /// Number of servers: 1, 3 or 5. Three survive the loss of one, five the loss of two.
    #[arg(long, default_value_t = 1)]
    servers: usize,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Earlier name of `ferry cluster init`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry cluster init cluster --host head.example.org")]
pub(crate) struct EarlierArgs {
    /// Folder to create.
    #[arg(long, value_name = "DIR")]
    cluster: PathBuf,
    #[command(flatten)]
    pub servers: ServersArgs,
}

/// Creates the folder and prints the commands to use next.
pub(crate) fn run(args: &InitArgs) -> Result<ExitCode, CommandError> {
    set_up(&args.folder, &args.servers)
}

/// The same under its earlier name.
pub(crate) fn earlier(args: &EarlierArgs) -> Result<ExitCode, CommandError> {
    stdio::remark("note: `ferry init --cluster DIR` is now `ferry cluster init DIR`");
    set_up(&args.cluster, &args.servers)
}

fn set_up(folder: &Path, args: &ServersArgs) -> Result<ExitCode, CommandError> {
    let hosts = if args.host.is_empty() { vec![this_host()] } else { args.host.clone() };
    let request = Request { hosts, port: args.port, servers: args.servers };
    let made = cluster::make(folder, &request).map_err(|error| match error {
        ClusterError::Occupied(_)
        | ClusterError::Servers(_)
        | ClusterError::Hosts { .. }
        | ClusterError::Host(_)
        | ClusterError::Port(_)
        | ClusterError::Write { .. } => CommandError::Input(error.into()),
        ClusterError::Certificate(_) | ClusterError::Key { .. } => CommandError::Work(error.into()),
    })?;
    let text = if args.json { format!("{}\n", json(folder, &made)) } else { next(folder, &made) };
    stdio::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn credential(dir: &Path, role: Role) -> PathBuf {
    dir.join(format!("{role}.creds"))
}

fn json(dir: &Path, made: &Made) -> serde_json::Value {
    let servers = made.servers.iter().map(|(folder, url)| json!({ "folder": folder, "url": url }));
    let credentials = Role::ALL.map(|role| (role.name().to_owned(), json!(credential(dir, role))));
    json!({
        "servers": servers.collect::<Vec<_>>(),
        "url": made.url,
        "credentials": serde_json::Map::from_iter(credentials),
        "valid_until": made.until,
    })
}

fn next(dir: &Path, made: &Made) -> String {
    let mut lines =
        vec![format!("created {}; its certificates expire on {}", dir.display(), made.until), String::new()];
    for (folder, url) in &made.servers {
        lines.push(format!(
            "start {url}, with this folder copied to that machine:\n  ferry cluster start {}",
            folder.display()
        ));
    }
    let [coordinator, worker, observer] = Role::ALL.map(|role| credential(dir, role).display().to_string());
    let url = &made.url;
    lines.push(format!("run a sweep:\n  ferry run sweep.yaml --nats {url} --creds {coordinator}"));
    lines.push(format!(
        "join from another machine, which needs only a copy of {worker}:\n  ferry-worker --nats {url} --creds worker.creds"
    ));
    lines.push(format!("follow the progress, read-only:\n  ferry status --nats {url} --creds {observer}"));
    lines.join("\n") + "\n"
}
