//! Errors that mean out of memory, and how much memory a device uses.

use std::any::Any;

use shared::mtl::report::DeviceMemory;
use tch::{Device, TchError};

use crate::native;

/// How libtorch, cuBLAS and cuDNN report a failed allocation. tch passes on nothing but the text.
const MESSAGES: [&str; 6] = [
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
];

/// A failed allocation, with libtorch's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OutOfMemory {
    message: String,
}

impl OutOfMemory {
    /// The failed allocation that `text` reports, if it reports one.
    pub fn in_text(text: &str) -> Option<Self> {
        let begin = MESSAGES.iter().find_map(|message| text.find(message))?;
        // The rest is a stack trace, or advice on PyTorch's settings.
        let message = text[begin..].split(['\n', '\\']).next().unwrap_or_default();
        Some(Self { message: message.to_owned() })
    }

    /// The failed allocation behind a panic: tch's infallible operators panic with libtorch's message.
    pub fn in_panic(panic: &(dyn Any + Send)) -> Option<Self> {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Self::in_text(text.or_else(|| panic.downcast_ref::<&str>().copied())?)
    }
}

/// Resets the peaks that [`used`] reports.
///
/// # Errors
///
/// libtorch fails.
pub fn reset_peaks(device: Device) -> Result<(), TchError> {
    match device {
        Device::Cuda(_) => native::reset_peak(device),
        Device::Cpu | Device::Mps | Device::Vulkan => Ok(()),
    }
}

/// The GPU memory that libtorch holds; `None` for a CPU.
///
/// # Errors
///
/// libtorch fails.
pub fn used(device: Device) -> Result<Option<DeviceMemory>, TchError> {
    match device {
        Device::Cuda(_) => native::memory(device).map(Some),
        Device::Cpu | Device::Mps | Device::Vulkan => Ok(None),
    }
}

/// Returns cached, unused GPU memory, so that larger allocations can succeed again.
///
/// # Errors
///
/// libtorch fails.
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

    /// Larger than any address space.
    const TOO_LARGE: i64 = 1 << 50;

    #[test]
    fn libtorchs_message_about_a_failed_allocation_is_recognised() {
        let error = Tensor::f_zeros([TOO_LARGE], (Kind::Float, Device::Cpu)).unwrap_err().to_string();
        let told = OutOfMemory::in_text(&error).unwrap_or_else(|| panic!("{error}")).to_string();
        assert!(told.contains("you tried to allocate") && !told.contains('\n'), "{told}");
        let panic =
            std::panic::catch_unwind(|| Tensor::zeros([TOO_LARGE], (Kind::Float, Device::Cpu))).unwrap_err();
        assert!(OutOfMemory::in_panic(panic.as_ref()).is_some());
    }

    #[test]
    fn messages_about_gpu_memory_are_recognised_and_others_are_not() {
        let words = "Internal torch error: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity \
                     of 79.11 GiB of which 1.10 GiB is free.\nException raised from malloc at ...";
        let told = OutOfMemory::in_text(words).unwrap().to_string();
        assert!(told.starts_with("CUDA out of memory. Tried") && told.ends_with("is free."), "{told}");
        for other in ["CUDA error: an illegal memory access was encountered", "shape mismatch", ""] {
            assert_eq!(OutOfMemory::in_text(other), None, "{other}");
        }
        assert_eq!(OutOfMemory::in_panic(&"index out of bounds"), None);
    }

    #[test]
    fn a_cpu_has_no_figures() {
        assert_eq!(used(Device::Cpu).unwrap(), None);
        assert!(reset_peaks(Device::Cpu).is_ok() && release(Device::Cpu).is_ok());
    }
}
