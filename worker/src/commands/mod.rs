//! The verbs of `ferry-worker`, one a file.

mod devices;
mod parity;

use std::process::ExitCode;

use clap::Subcommand;

/// What to do instead of working for a server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say which devices this machine offers for training.
    Devices(devices::DevicesArgs),
    /// Run the trainer's code on given numbers, for comparison with PyTorch.
    #[command(hide = true)]
    Parity(parity::ParityArgs),
}

/// Runs `command`. Every error is one that its caller can mend.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Devices(args) => devices::run(args),
        Command::Parity(args) => parity::run(args),
    }
}
