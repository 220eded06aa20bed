//! The verbs of `ferry-worker`, one a file.

mod devices;
mod export;
mod gpu_check;
mod output;
mod parity;
mod planned;
mod predict;
mod preview;
mod progress;
mod reproduce;
mod weights;

use std::process::ExitCode;

use clap::Subcommand;

/// What to do instead of working for a server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say which devices this machine offers for training.
    Devices(devices::DevicesArgs),
    /// Give every image of a folder or pack its class probabilities, by one model or an ensemble.
    Predict(predict::PredictArgs),
    /// Draw what the network of one job sees: both views of some training images.
    Preview(preview::PreviewArgs),
    /// Run the trainer's code on given numbers, for comparison with PyTorch.
    #[command(hide = true)]
    Parity(parity::ParityArgs),
    /// Train one job of a sweep here, without a server, to see how it fails.
    Reproduce(reproduce::ReproduceArgs),
    /// Check on a GPU what nothing else can show, for scripts/gpu-check.
    #[command(hide = true)]
    GpuCheck(gpu_check::GpuCheckArgs),
    /// Write a trained model as TorchScript.
    Export(export::ExportArgs),
    /// Look into files of weights and convert them to Ferry's own.
    Weights(weights::WeightsArgs),
}

/// Runs `command`. Every error is one that its caller can mend.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Devices(args) => devices::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Preview(args) => preview::run(args),
        Command::Parity(args) => parity::run(args),
        Command::Reproduce(args) => reproduce::run(args),
        Command::GpuCheck(args) => gpu_check::run(args),
        Command::Export(args) => export::run(args),
        Command::Weights(args) => weights::run(args),
    }
}
