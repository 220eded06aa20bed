//! The device of this worker, and its description in results.

use shared::device::{DeviceRecord, Software};
use tch::Device;

use crate::cuda::{self, CudaError};
use crate::driver::{self, Gpu};
use crate::native;

/// The value of `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    Auto,
    Cpu,
    Cuda(usize),
}

impl std::str::FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            Some(("cuda", index)) => match index.parse() {
                Ok(index) => Ok(Self::Cuda(index)),
                Err(_) => Err(format!("`{index}` is not the number of a GPU")),
            },
            None | Some(_) => Err("use auto, cpu or cuda:N".to_owned()),
        }
    }
}

/// The requested device. `Auto` takes the first GPU that this process sees, otherwise the CPU.
///
/// # Errors
///
/// A GPU was named, here or in CUDA_VISIBLE_DEVICES, and cannot be used. The CPU never replaces it silently.
pub fn choose(choice: DeviceChoice) -> Result<Device, CudaError> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda(index) => cuda::device(index),
        DeviceChoice::Auto => cuda::auto(),
    }
}

/// `cpu` or `cuda:N`.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        Device::Cpu | Device::Mps | Device::Vulkan => "cpu".to_owned(),
    }
}

/// The description of the device and this machine in results.
pub fn record(device: Device, threads: u32, host: &str) -> DeviceRecord {
    let (model, memory, uuid) = match device {
        Device::Cuda(index) => match gpu(index) {
            Some(Gpu { name, memory, uuid }) => (name, Some(memory), Some(uuid)),
            None => ("unknown GPU".to_owned(), None, None),
        },
        Device::Cpu | Device::Mps | Device::Vulkan => {
            (cpu_model().unwrap_or_else(|| "unknown CPU".to_owned()), None, None)
        }
    };
    DeviceRecord {
        device: name(device),
        model,
        memory,
        uuid,
        cpu_capability: cpu_capability().to_owned(),
        threads,
        host: host.to_owned(),
    }
}

/// This program and what it computes with.
pub fn software() -> Software {
    Software { ferry: env!("CARGO_PKG_VERSION").to_owned(), libtorch: native::libtorch_version() }
}

/// The device's name and model, for displays.
pub fn described(device: Device) -> String {
    let DeviceRecord { device, model, .. } = record(device, 0, "");
    format!("{device} ({model})")
}

/// This machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn cpu_model() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The GPU with libtorch's number `index`.
fn gpu(index: usize) -> Option<Gpu> {
    match driver::gpus(driver::LIBRARY) {
        Ok(gpus) => gpus.into_iter().nth(index),
        Err(error) => {
            tracing::warn!("{error}; the result will not name the GPU");
            None
        }
    }
}

/// The vector instructions by which libtorch chooses its kernels.
fn cpu_capability() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw") {
            return "AVX512";
        }
        if std::is_x86_feature_detected!("avx2") {
            return "AVX2";
        }
    }
    "default"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_names_device_and_machine() {
        let record = record(Device::Cpu, 2, "here");
        assert_eq!((record.device.as_str(), record.threads, record.host.as_str()), ("cpu", 2, "here"));
        assert!(!record.model.is_empty() && !record.cpu_capability.is_empty());
        assert_eq!((record.memory, record.uuid), (None, None));
    }

    #[test]
    fn the_software_is_named_by_version() {
        let Software { ferry, libtorch } = software();
        assert_eq!(ferry, env!("CARGO_PKG_VERSION"));
        assert!(libtorch.split('.').count() >= 3 && libtorch.starts_with("2."), "{libtorch}");
    }

    #[test]
    fn devices_are_read() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["gpu", "cuda", "cuda:x", "cpu:0"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }
}
