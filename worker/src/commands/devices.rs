//! `ferry-worker devices`: the devices that this process can train on.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::device::DeviceRecord;
use shared::stdio;
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

/// Device and model; for a GPU also its memory and UUID.
fn line(record: &DeviceRecord) -> String {
    let memory = record.memory.map(|bytes| format!(", {} MiB", bytes >> 20)).unwrap_or_default();
    let uuid = record.uuid.as_ref().map(|uuid| format!(" ({uuid})")).unwrap_or_default();
    format!("{:<8} {}{memory}{uuid}", record.device, record.model)
}

pub(super) fn run(args: &DevicesArgs) -> anyhow::Result<ExitCode> {
    let gpus = (0..cuda::devices()?).map(Device::Cuda);
    if let Err(error) = cuda::auto() {
        stdio::remark(&format!("warning: {error}"));
    }
    let host = device::host();
    let threads = std::thread::available_parallelism()?.get() as u32;
    let records: Vec<_> = std::iter::once(Device::Cpu)
        .chain(gpus)
        .map(|device| device::record(device, threads, &host))
        .collect();
    let text = if args.json {
        json!({ "devices": records }).to_string()
    } else {
        records.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    stdio::print_line(&text)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_listed_with_its_memory_and_uuid() {
        let cpu = device::record(Device::Cpu, 2, "here");
        assert_eq!(line(&cpu), format!("cpu      {}", cpu.model));
        let gpu = DeviceRecord {
            device: "cuda:0".to_owned(),
            model: "NVIDIA H100".to_owned(),
            memory: Some(80 << 30),
            uuid: Some("GPU-1".to_owned()),
            ..cpu
        };
        assert_eq!(line(&gpu), "cuda:0   NVIDIA H100, 81920 MiB (GPU-1)");
    }
}
