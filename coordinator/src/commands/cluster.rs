//! `ferry cluster`: sets up and runs a secured server for several machines.

use std::process::ExitCode;

use clap::Subcommand;

use super::error::CommandError;
use super::{init, serve};

/// The commands of `ferry cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Set up a secured server: configuration, certificates, and a credential for each role.
    Init(init::InitArgs),
    /// Run a server that was set up with `ferry cluster init`, until it is stopped.
    Start(serve::StartArgs),
}

/// Runs one of them.
pub(crate) fn run(command: &ClusterCommand) -> Result<ExitCode, (CommandError, bool)> {
    match command {
        ClusterCommand::Init(args) => init::run(args).map_err(|failure| (failure, args.servers.json)),
        ClusterCommand::Start(args) => serve::run(args).map_err(|failure| (failure, false)),
    }
}
