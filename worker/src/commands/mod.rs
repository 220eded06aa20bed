//! The verbs of `ferry-worker`, one a file.

mod devices;
mod export;
mod weights;

use std::process::ExitCode;

use clap::Subcommand;

/// What to do instead of working for a server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say which devices this machine offers for training.
    Devices(devices::DevicesArgs),
    /// Write a trained model as TorchScript.
    Export(export::ExportArgs),
    /// Look into files of weights and convert them to Ferry's own.
    Weights(weights::WeightsArgs),
}

/// Runs `command`. Every error is one that its caller can mend.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Devices(args) => devices::run(args),
        Command::Export(args) => export::run(args),
        Command::Weights(args) => weights::run(args),
    }
}
