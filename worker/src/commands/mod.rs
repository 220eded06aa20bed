//! The subcommands of `ferry-worker`, one in each file.

mod devices;
mod export;
mod output;
mod planned;
mod predict;
mod preview;
mod progress;
mod reproduce;
mod retrain;
mod weights;

use std::process::ExitCode;

pub use output::Ending;

use clap::Subcommand;

/// The subcommands. Without one, the program takes jobs from a server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the devices that this process can train on.
    Devices(devices::DevicesArgs),
    /// Predict the class probabilities of all images in a folder or pack, with one model or an ensemble.
    Predict(predict::PredictArgs),
    /// Draw some training images as the network of one job sees them.
    Preview(preview::PreviewArgs),
    /// Train one job of a sweep here, without a server, to see why it fails.
    Reproduce(reproduce::ReproduceArgs),
    /// Train a part of a job again for `ferry verify`.
    #[command(hide = true)]
    Retrain(retrain::RetrainArgs),
    /// Write a trained model as TorchScript.
    Export(export::ExportArgs),
    /// Inspect pretrained weights and convert them for Ferry.
    Weights(weights::WeightsArgs),
}

/// Runs `command`. [`Ending`] decides how an error ends the process.
///
/// # Errors
///
/// The command refuses its input, or cannot read or write a file. A job that fails in `reproduce` is not an error.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Devices(args) => devices::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Preview(args) => preview::run(args),
        Command::Reproduce(args) => reproduce::run(args),
        Command::Retrain(args) => retrain::run(args),
        Command::Export(args) => export::run(args),
        Command::Weights(args) => weights::run(args),
    }
}
