//! `ferry-worker devices`: what this process could train on.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use tch::Device;

use crate::cuda;
use crate::device;

/// Options of `ferry-worker devices`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry-worker devices --json")]
pub struct DevicesArgs {
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the list is this verb's output")]
pub(super) fn run(args: &DevicesArgs) -> anyhow::Result<ExitCode> {
    let gpus = (0..cuda::devices()?).map(Device::Cuda);
    let host = device::host();
    let threads = std::thread::available_parallelism()?.get() as u32;
    let records: Vec<_> = std::iter::once(Device::Cpu)
        .chain(gpus)
        .map(|device| device::record(device, threads, &host))
        .collect();
    if args.json {
        println!("{}", json!({ "devices": records }));
    } else {
        for record in &records {
            println!("{:<8} {}", record.device, record.model);
        }
    }
    Ok(ExitCode::SUCCESS)
}
