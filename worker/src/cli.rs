//! The command line of `ferry-worker`.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::commands::Command;
use crate::device::DeviceChoice;

/// Trains the jobs of a sweep, one at a time: reports every epoch, and stores the result.
///
/// Without a subcommand it takes jobs from a server until it is stopped. A subcommand needs no server, and exits when
/// done.
#[derive(Debug, Parser)]
#[command(
    name = "ferry-worker",
    version,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true,
    after_help = "Example, on another machine while a sweep runs:\n  \
        ferry-worker --nats nats://head:4222\n  \
        ferry-worker --nats tls://head:4222 --creds worker.creds    # made by ferry cluster init\n\n\
        Exit codes: 0 stopped on request, 1 something failed and a restart may help, 2 it cannot work on this machine \
        or with this command line (no such device, wrong address, refused credential)."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Options of a worker that serves a sweep.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The server of the sweep: nats://[token@]host[:port] or tls://host[:port]; for a cluster, several of its servers
    /// separated by commas.
    // An `Option`, because a subcommand needs no server even if the environment sets other options of a worker.
    #[arg(long, env = "FERRY_NATS", value_name = "URL", required = true)]
    pub nats: Option<String>,
    /// Access token of that server, if it is not in the URL.
    #[arg(long, env = "FERRY_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Credential for a server made by `ferry cluster init`: the file worker.creds.
    #[arg(long, env = "FERRY_CREDS", value_name = "FILE", conflicts_with = "token")]
    pub creds: Option<PathBuf>,
    /// Where to train: auto (a GPU if there is one), cpu, or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// Name of this worker in reports. Failures are counted by name, so give every worker its own. [default: the
    /// host's name, with a number if several workers run on the host]
    #[arg(long)]
    pub name: Option<String>,
    /// Distinguishes this process from others with the same name; random if absent.
    #[arg(long, hide = true, value_name = "UUID")]
    pub life: Option<uuid::Uuid>,
    /// A pack on this machine, or a folder of packs and weights. What is not found there is downloaded from the server.
    #[arg(long, value_name = "DIR")]
    pub data: Vec<PathBuf>,
    /// Directory for downloaded datasets and for work that has not reached the server yet [default: the user's cache
    /// directory].
    #[arg(long, env = "FERRY_CACHE", value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_required_without_a_subcommand_only() {
        assert!(Cli::try_parse_from(["ferry-worker"]).is_err());
        let serving = Cli::try_parse_from(["ferry-worker", "--nats", "nats://head"]).unwrap();
        assert_eq!(serving.agent.nats.as_deref(), Some("nats://head"));
        assert!(Cli::try_parse_from(["ferry-worker", "devices"]).unwrap().command.is_some());
    }

    /// Case 30: "worker 0.1.0".
    #[test]
    fn the_version_names_the_program() {
        let answer = Cli::try_parse_from(["ferry-worker", "--version"]).unwrap_err().to_string();
        assert_eq!(answer, format!("ferry-worker {}\n", env!("CARGO_PKG_VERSION")));
    }
}
