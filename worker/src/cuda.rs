//! CUDA: opens libtorch's CUDA library, which is not linked, on machines with a driver.
//!
//! Ferry uses no symbol of `libtorch_cuda.so`, so the linker's `--as-needed` drops it, and a worker would run without
//! CUDA on a machine that has it. Linking it anyway would make NVIDIA's libraries (2.7 GB) mandatory everywhere. So it
//! is opened at run time: its initialisers register the CUDA kernels with libtorch.

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
use shared::cuda_visible::{BadEntry, Visible};
use tch::{Cuda, Device};

use crate::{driver, native};

const LIBTORCH_CUDA: &str = "libtorch_cuda.so";

/// Why a GPU cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    #[error(transparent)]
    Torch(#[from] tch::TchError),
    /// There is a driver, but this libtorch has no working CUDA library.
    #[error(
        "there is an NVIDIA driver, but libtorch's CUDA library cannot be opened: run `FERRY_CUDA=1 make build` to get \
         it"
    )]
    Unloadable(#[source] libloading::Error),
    #[error("CUDA_VISIBLE_DEVICES: {0}")]
    Variable(#[from] BadEntry),
    /// CUDA_VISIBLE_DEVICES names GPUs, but none of them can be used.
    #[error(
        "CUDA_VISIBLE_DEVICES={named}, but no such GPU is visible: check `nvidia-smi -L`, unset the variable, or use the \
         CPU with --device cpu"
    )]
    NoneVisible { named: String },
    /// The requested GPU does not exist.
    #[error(
        "cuda:{index} was requested, but this process sees {visible} CUDA device(s): check `nvidia-smi` and \
         CUDA_VISIBLE_DEVICES, or use the CPU"
    )]
    NoSuchDevice {
        /// The requested index.
        index: usize,
        /// The number of devices that this process sees.
        visible: usize,
    },
}

/// The device for `auto`: the first GPU that this process sees, otherwise the CPU. If CUDA_VISIBLE_DEVICES names GPUs
/// and there is none, that is an error.
pub(crate) fn auto() -> Result<Device, CudaError> {
    auto_of(devices(), Visible::of_process()?)
}

fn auto_of(devices: Result<usize, CudaError>, visible: Visible) -> Result<Device, CudaError> {
    match (devices, visible) {
        (Ok(0), Visible::Named(names)) => Err(CudaError::NoneVisible { named: names.join(",") }),
        (Ok(0), Visible::All | Visible::None) => Ok(Device::Cpu),
        (Ok(_), _) => Ok(Device::Cuda(0)),
        (Err(error), Visible::Named(_)) => Err(error),
        (Err(error), Visible::All | Visible::None) => {
            tracing::warn!("{error}; training on the CPU");
            Ok(Device::Cpu)
        }
    }
}

/// The number of GPUs that this process can use; 0 without a driver.
///
/// The first call registers CUDA with libtorch. Call it before the first tensor is created, and after
/// `CUDA_VISIBLE_DEVICES` is set, because CUDA reads it only once.
///
/// # Errors
///
/// There is a driver, but libtorch's CUDA library cannot be opened.
pub fn devices() -> Result<usize, CudaError> {
    if open(driver::LIBRARY, RTLD_NOW | RTLD_LOCAL).is_err() {
        return Ok(0);
    }
    open(LIBTORCH_CUDA, RTLD_NOW | RTLD_GLOBAL).map_err(CudaError::Unloadable)?;
    // libtorch allows TF32 in convolutions by default. Here single precision is exact unless a job asks for TF32.
    native::set_tf32(false, false)?;
    Ok(if Cuda::is_available() { usize::try_from(Cuda::device_count()).unwrap_or(0) } else { 0 })
}

/// The GPU with this index.
///
/// # Errors
///
/// There is no such GPU, or CUDA cannot be opened. A worker that was asked for a GPU never trains on the CPU instead.
pub fn device(index: usize) -> Result<Device, CudaError> {
    let visible = devices()?;
    if index < visible { Ok(Device::Cuda(index)) } else { Err(CudaError::NoSuchDevice { index, visible }) }
}

/// Opens a library until the process ends. A bare name is found in the same way as `libtorch_cpu.so`, through the
/// program's rpath or `LD_LIBRARY_PATH`, so the CUDA library comes from the same libtorch.
fn open(name: &str, flags: std::os::raw::c_int) -> Result<(), libloading::Error> {
    #[expect(unsafe_code, reason = "opening a library runs its initialisers; these two are designed for it")]
    let library = unsafe { Library::open(Some(name), flags) }?;
    // Closing it would remove kernels that are registered with libtorch.
    std::mem::forget(library);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_gpu_is_an_error_that_says_what_to_do() {
        let Ok(visible) = devices() else {
            let error = device(0).unwrap_err();
            assert!(error.to_string().contains("FERRY_CUDA=1 make build"), "{error}");
            return;
        };
        let error = device(visible).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cuda:{visible} was requested")), "{error}");
    }

    /// Case 18: named GPUs that do not exist are an error, never a silent use of the CPU.
    #[test]
    fn auto_is_a_gpu_if_the_environment_names_one() {
        let of = |devices, visible: &str| auto_of(Ok(devices), Visible::read(Some(visible)).unwrap());
        let error = of(0, "0,1").unwrap_err().to_string();
        insta::assert_snapshot!(error, @"CUDA_VISIBLE_DEVICES=0,1, but no such GPU is visible: check `nvidia-smi -L`, unset the variable, or use the CPU with --device cpu");
        assert_eq!(of(1, "0,7").unwrap(), Device::Cuda(0));
        assert_eq!(of(0, "-1").unwrap(), Device::Cpu);
        assert_eq!(auto_of(Ok(0), Visible::All).unwrap(), Device::Cpu);
        let absent = || open("libferry_absent.so", RTLD_NOW | RTLD_LOCAL).map_err(CudaError::Unloadable);
        let unusable = || absent().map(|()| 0);
        assert_eq!(auto_of(unusable(), Visible::All).unwrap(), Device::Cpu);
        assert!(auto_of(unusable(), Visible::Named(vec!["0".to_owned()])).is_err());
    }

    #[test]
    fn a_missing_library_is_named_by_the_source() {
        let error = CudaError::Unloadable(open("libferry_absent.so", RTLD_NOW | RTLD_LOCAL).unwrap_err());
        let text = format!("{:#}", anyhow::Error::from(error));
        assert!(text.contains("FERRY_CUDA=1 make build") && text.contains("libferry_absent.so"), "{text}");
    }
}
