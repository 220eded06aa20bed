//! Running out of memory, and how much of it a device uses.

use std::any::Any;

use shared::result::DeviceMemory;
use tch::{Device, TchError};

use crate::native;

/// What libtorch, cuBLAS and cuDNN say when an allocation fails. tch hands on nothing but the text.
const SAYINGS: [&str; 6] = [
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
];

/// An allocation that failed, in libtorch's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct OutOfMemory {
    said: String,
}

impl OutOfMemory {
    /// The error in `text`, if that is what it tells of.
    pub fn told_by(text: &str) -> Option<Self> {
        let begin = SAYINGS.iter().find_map(|saying| text.find(saying))?;
        // What follows the first sentences is a stack trace or advice on PyTorch's own settings.
        let said = text[begin..].split(['\n', '\\']).next().unwrap_or_default();
        Some(Self { said: said.to_owned() })
    }

    /// The error that a panic tells of: tch's plain operators panic with what libtorch said.
    pub fn in_panic(panic: &(dyn Any + Send)) -> Option<Self> {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Self::told_by(text.or_else(|| panic.downcast_ref::<&str>().copied())?)
    }
}

/// Begins the peaks of [`used`] anew.
pub fn reset_peaks(device: Device) -> Result<(), TchError> {
    match device {
        Device::Cuda(_) => native::reset_peak(device),
        Device::Cpu | Device::Mps | Device::Vulkan => Ok(()),
    }
}

/// What libtorch holds of a GPU; none on a CPU.
pub fn used(device: Device) -> Result<Option<DeviceMemory>, TchError> {
    match device {
        Device::Cuda(_) => native::memory(device).map(Some),
        Device::Cpu | Device::Mps | Device::Vulkan => Ok(None),
    }
}

/// Hands back what is kept of a GPU but not used, so that larger pieces can be had again.
pub fn release(device: Device) -> Result<(), TchError> {
    match device {
        Device::Cuda(_) => native::release_memory(),
        Device::Cpu | Device::Mps | Device::Vulkan => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, Tensor};

    /// More than any address space has.
    const TOO_LARGE: i64 = 1 << 50;

    #[test]
    fn what_libtorch_says_of_a_failed_allocation_is_recognised() {
        let error = Tensor::f_zeros([TOO_LARGE], (Kind::Float, Device::Cpu)).unwrap_err().to_string();
        let told = OutOfMemory::told_by(&error).unwrap_or_else(|| panic!("{error}")).to_string();
        assert!(told.contains("you tried to allocate") && !told.contains('\n'), "{told}");
        let panic =
            std::panic::catch_unwind(|| Tensor::zeros([TOO_LARGE], (Kind::Float, Device::Cpu))).unwrap_err();
        assert!(OutOfMemory::in_panic(panic.as_ref()).is_some());
    }

    #[test]
    fn a_gpus_words_are_recognised_and_others_are_not() {
        let words = "Internal torch error: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity \
                     of 79.11 GiB of which 1.10 GiB is free.\nException raised from malloc at ...";
        let told = OutOfMemory::told_by(words).unwrap().to_string();
        assert!(told.starts_with("CUDA out of memory. Tried") && told.ends_with("is free."), "{told}");
        for other in ["CUDA error: an illegal memory access was encountered", "shape mismatch", ""] {
            assert_eq!(OutOfMemory::told_by(other), None, "{other}");
        }
        assert_eq!(OutOfMemory::in_panic(&"index out of bounds"), None);
    }

    #[test]
    fn a_cpu_has_no_figures() {
        assert_eq!(used(Device::Cpu).unwrap(), None);
        assert!(reset_peaks(Device::Cpu).is_ok() && release(Device::Cpu).is_ok());
    }
}
