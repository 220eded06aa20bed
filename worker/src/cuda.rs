//! CUDA: the half of libtorch that the linker leaves out, opened where a driver is.
//!
//! No symbol of ours lives in `libtorch_cuda.so`, so the linker's `--as-needed` drops it, and a worker would run
//! without CUDA on a machine that has it. Linking it by force would make NVIDIA's libraries (2.7 GB) mandatory
//! everywhere. So it is opened at run time: its initialisers register the CUDA kernels with libtorch.

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
    /// There is a driver, but the libtorch in use has no working CUDA half.
    #[error(
        "there is an NVIDIA driver, but libtorch's CUDA half cannot be opened: run `FERRY_CUDA=1 make build` to get it"
    )]
    Unloadable(#[source] libloading::Error),
    #[error("CUDA_VISIBLE_DEVICES: {0}")]
    Variable(#[from] BadEntry),
    /// CUDA_VISIBLE_DEVICES names GPUs, none of which can be used.
    #[error(
        "CUDA_VISIBLE_DEVICES={named}, but no such GPU is visible: check `nvidia-smi -L`, unset the variable, or use the \
         CPU with --device cpu"
    )]
    NoneVisible { named: String },
    /// The GPU that was asked for is not there.
    #[error(
        "cuda:{index} was asked for and this process sees {visible} CUDA device(s): check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use the CPU"
    )]
    NoSuchDevice {
        /// The index asked for.
        index: usize,
        /// How many devices this process sees.
        visible: usize,
    },
}

/// What `auto` stands for: the first GPU that this process sees, else the CPU; where CUDA_VISIBLE_DEVICES names GPUs, a
/// GPU or an error.
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

/// How many GPUs this process can use: 0 without a driver.
///
/// The first call registers CUDA with libtorch. Call it before the first tensor, and after `CUDA_VISIBLE_DEVICES` is
/// final: CUDA reads that once.
pub fn devices() -> Result<usize, CudaError> {
    if open(driver::LIBRARY, RTLD_NOW | RTLD_LOCAL).is_err() {
        return Ok(0);
    }
    open(LIBTORCH_CUDA, RTLD_NOW | RTLD_GLOBAL).map_err(CudaError::Unloadable)?;
    // libtorch begins with TF32 in convolutions; here single precision is single, unless a job asks otherwise.
    native::set_tf32(false, false)?;
    Ok(if Cuda::is_available() { usize::try_from(Cuda::device_count()).unwrap_or(0) } else { 0 })
}

/// The GPU with this index, or an error: a worker that was asked for a GPU never trains on the CPU instead.
pub fn device(index: usize) -> Result<Device, CudaError> {
    let visible = devices()?;
    if index < visible { Ok(Device::Cuda(index)) } else { Err(CudaError::NoSuchDevice { index, visible }) }
}

/// Opens a library for the life of the process. A bare name is found as `libtorch_cpu.so` was: through the program's
/// rpath or `LD_LIBRARY_PATH`, so the CUDA half comes from the libtorch in use.
fn open(name: &str, flags: std::os::raw::c_int) -> Result<(), libloading::Error> {
    #[expect(
        unsafe_code,
        reason = "opening a library runs its initialisers; these two are made to be opened so"
    )]
    let library = unsafe { Library::open(Some(name), flags) }?;
    // Closing it would pull registered kernels from under libtorch.
    std::mem::forget(library);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_that_says_what_to_do() {
        let Ok(visible) = devices() else {
            let error = device(0).unwrap_err();
            assert!(error.to_string().contains("FERRY_CUDA=1 make build"), "{error}");
            return;
        };
        let error = device(visible).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cuda:{visible} was asked for")), "{error}");
    }

    /// Case 18: GPUs that are named and not there are an error, never a silent CPU.
    #[test]
    fn auto_is_a_gpu_where_the_environment_names_one() {
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
    fn a_library_that_is_not_there_is_named_by_the_source() {
        let error = CudaError::Unloadable(open("libferry_absent.so", RTLD_NOW | RTLD_LOCAL).unwrap_err());
        let said = format!("{:#}", anyhow::Error::from(error));
        assert!(said.contains("FERRY_CUDA=1 make build") && said.contains("libferry_absent.so"), "{said}");
    }
}
