//! `ferry-lab`: runs the trainer's code for `scripts/parity` and `scripts/gpu-check`. It is not part of a release.

mod gpu_check;
mod parity;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use shared::causes::in_words;

/// The same allocator as the worker's, so that timings are comparable.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Runs the trainer's own code for scripts/parity and scripts/gpu-check.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the trainer's code on given numbers, for comparison with PyTorch.
    Parity(parity::ParityArgs),
    /// Run the checks that need a real GPU.
    GpuCheck(gpu_check::GpuCheckArgs),
}

fn main() -> ExitCode {
    let result = match &Cli::parse().command {
        Command::Parity(args) => parity::run(args),
        Command::GpuCheck(args) => gpu_check::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", in_words(error.as_ref()));
        ExitCode::from(2)
    })
}
