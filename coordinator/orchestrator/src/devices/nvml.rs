//! GPUs as NVIDIA's management library lists them: the only file that knows it.

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

use super::inventory::{Gpu, Instance, Inventory, InventoryError, Mig};

/// The machine's own GPUs.
#[derive(Debug, Clone, Copy)]
pub struct Nvml;

impl Inventory for Nvml {
    fn gpus(&self) -> Result<Vec<Gpu>, InventoryError> {
        match list() {
            Ok(gpus) => Ok(gpus),
            // No library, or no driver behind it: a machine without NVIDIA's GPUs.
            Err(error @ (NvmlError::LibloadingError(_) | NvmlError::DriverNotLoaded)) => {
                tracing::debug!(%error, "no GPU");
                Ok(Vec::new())
            }
            Err(error) => Err(InventoryError { reason: error.to_string() }),
        }
    }
}

fn list() -> Result<Vec<Gpu>, NvmlError> {
    let nvml = nvml_wrapper::Nvml::init()?;
    (0..nvml.device_count()?).map(|index| gpu(index, &nvml.device_by_index(index)?)).collect()
}

fn gpu(index: u32, device: &Device<'_>) -> Result<Gpu, NvmlError> {
    let (uuid, name, memory) = (device.uuid()?, device.name()?, device.memory_info()?.total);
    Ok(Gpu { index, uuid, name, memory, mig: mig(device)? })
}

const ENABLED: u32 = 1;

fn mig(device: &Device<'_>) -> Result<Mig, NvmlError> {
    match device.mig_mode() {
        Ok(mode) if mode.current == ENABLED => {}
        Ok(_) | Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => return Ok(Mig::Off),
        Err(error) => return Err(error),
    }
    let mut instances = Vec::new();
    // The count is how many there may be, not how many there are.
    for index in 0..device.mig_device_count()? {
        match device.mig_device_by_index(index) {
            Ok(instance) => instances.push(Instance { index, uuid: instance.uuid()? }),
            Err(NvmlError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Mig::On(instances))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_lists_its_gpus_or_none() {
        let gpus = Nvml.gpus().unwrap();
        let driver = std::path::Path::new("/proc/driver/nvidia/version").exists();
        assert!(driver || gpus.is_empty(), "{gpus:?}");
        assert!(gpus.iter().all(|gpu| gpu.uuid.starts_with("GPU-") && gpu.memory > 0), "{gpus:?}");
    }
}
