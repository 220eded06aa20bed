//! The functions of libtorch that Ferry needs and tch lacks. The only file that calls `native/ferry_native.cpp`.
//!
//! Nothing here links `libtorch_cuda.so` (see [`crate::cuda`]). The shim reaches CUDA through interfaces of libtorch's
//! CPU library, with which the CUDA library registers itself when it is opened.

#![expect(unsafe_code, reason = "calls C++")]

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

use shared::mtl::report::DeviceMemory;
use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn ferry_native_free(error: *mut c_char);
    fn ferry_libtorch_version() -> *const c_char;
    fn ferry_exit(code: i32) -> !;
    fn ferry_autocast_enter(cuda: i32, before: *mut AutocastState) -> *mut c_char;
    fn ferry_autocast_exit(cuda: i32, before: *const AutocastState) -> *mut c_char;
    fn ferry_tf32(convolutions: *mut i32, products: *mut i32) -> *mut c_char;
    fn ferry_set_tf32(convolutions: i32, products: i32) -> *mut c_char;
    fn ferry_set_cudnn(benchmark: i32, deterministic: i32) -> *mut c_char;
    fn ferry_channels_last(tensor: *const C_tensor, result: *mut *mut C_tensor) -> *mut c_char;
    fn ferry_is_channels_last(tensor: *const C_tensor, result: *mut i32) -> *mut c_char;
    fn ferry_pinned(tensor: *const C_tensor, result: *mut *mut C_tensor) -> *mut c_char;
    fn ferry_is_pinned(tensor: *const C_tensor, result: *mut i32) -> *mut c_char;
    fn ferry_memory_statistics(device: i32, result: *mut Memory) -> *mut c_char;
    fn ferry_memory_reset_peak(device: i32) -> *mut c_char;
    fn ferry_memory_release() -> *mut c_char;
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct AutocastState {
    enabled: i32,
    kind: i32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    allocated: u64,
    reserved: u64,
    peak_allocated: u64,
    peak_reserved: u64,
}

/// Turns the error string of a shim call into an error of tch.
fn checked(error: *mut c_char) -> Result<(), TchError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns a string that this function owns; it is copied, then freed once.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    unsafe { ferry_native_free(error) };
    Err(TchError::Torch(text))
}

/// The version of libtorch, such as `2.13.0`.
pub fn libtorch_version() -> String {
    // SAFETY: it is a string constant of the shim.
    unsafe { CStr::from_ptr(ferry_libtorch_version()) }.to_string_lossy().into_owned()
}

/// Ends the process at once. The usual end runs libtorch's destructors, and a thread that still computes would crash then.
pub fn exit(code: u8) -> ! {
    // SAFETY: it touches no memory and does not return.
    unsafe { ferry_exit(i32::from(code)) }
}

/// The tensor that a shim call returns.
fn tensor(call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char) -> Result<Tensor, TchError> {
    let mut result = std::ptr::null_mut();
    checked(call(&raw mut result))?;
    // SAFETY: without an error, `result` is a new tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(result) })
}

/// The flag that a shim call returns.
fn flag(call: impl FnOnce(*mut i32) -> *mut c_char) -> Result<bool, TchError> {
    let mut result = 0;
    checked(call(&raw mut result))?;
    Ok(result != 0)
}

const fn is_cuda(device: Device) -> bool {
    matches!(device, Device::Cuda(_))
}

/// A guard: while it exists, convolutions and matrix products of this thread run in bfloat16 on that kind of device.
///
/// Cast weights are cached until the outermost guard is dropped, so it must be dropped before the weights change.
#[derive(Debug)]
pub struct Autocast {
    device: Device,
    before: AutocastState,
    /// The state belongs to this thread, so the guard must not be sent to another one.
    not_send: PhantomData<*const ()>,
}

impl Autocast {
    /// Switches autocast to bfloat16.
    ///
    /// # Errors
    ///
    /// libtorch fails.
    pub fn bfloat16(device: Device) -> Result<Self, TchError> {
        let mut before = AutocastState::default();
        // SAFETY: `before` is written during the call only.
        checked(unsafe { ferry_autocast_enter(i32::from(is_cuda(device)), &raw mut before) })?;
        Ok(Self { device, before, not_send: PhantomData })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: `before` is read during the call only.
        let left =
            checked(unsafe { ferry_autocast_exit(i32::from(is_cuda(self.device)), &raw const self.before) });
        if let Err(error) = left {
            tracing::error!(%error, "cannot switch autocast back");
        }
    }
}

/// A guard: while it exists, cuDNN's convolutions and cuBLAS's products of this process may, or may not, round their
/// inputs to TF32 (10 bits of mantissa).
#[derive(Debug)]
pub struct Tf32 {
    before: (bool, bool),
}

impl Tf32 {
    /// Allows or forbids TF32.
    ///
    /// # Errors
    ///
    /// libtorch fails.
    pub fn allow(allowed: bool) -> Result<Self, TchError> {
        let before = tf32()?;
        set_tf32(allowed, allowed)?;
        Ok(Self { before })
    }
}

impl Drop for Tf32 {
    fn drop(&mut self) {
        let (convolutions, products) = self.before;
        if let Err(error) = set_tf32(convolutions, products) {
            tracing::error!(%error, "cannot restore the TF32 settings");
        }
    }
}

/// Whether convolutions, and whether matrix products, may use TF32.
///
/// # Errors
///
/// libtorch fails.
pub fn tf32() -> Result<(bool, bool), TchError> {
    let (mut convolutions, mut products) = (0, 0);
    // SAFETY: both are written during the call only.
    checked(unsafe { ferry_tf32(&raw mut convolutions, &raw mut products) })?;
    Ok((convolutions != 0, products != 0))
}

/// Allows TF32 for the whole process or forbids it. libtorch allows it in convolutions by default.
///
/// # Errors
///
/// libtorch fails.
pub fn set_tf32(convolutions: bool, products: bool) -> Result<(), TchError> {
    // SAFETY: plain numbers.
    checked(unsafe { ferry_set_tf32(i32::from(convolutions), i32::from(products)) })
}

/// Sets how cuDNN chooses its algorithms in this process: by timing them (`benchmark`), and only repeatable ones
/// (`deterministic`).
///
/// # Errors
///
/// libtorch fails.
pub fn set_cudnn(benchmark: bool, deterministic: bool) -> Result<(), TchError> {
    // SAFETY: plain numbers.
    checked(unsafe { ferry_set_cudnn(i32::from(benchmark), i32::from(deterministic)) })
}

/// `images [B, C, h, w]` with the channels innermost in memory. Makes no copy if they already are.
///
/// # Errors
///
/// `images` does not have four dimensions.
pub fn channels_last(images: &Tensor) -> Result<Tensor, TchError> {
    // SAFETY: the shim reads a live tensor.
    tensor(|result| unsafe { ferry_channels_last(images.as_ptr(), result) })
}

/// Whether the channels of `images [B, C, h, w]` are innermost in memory.
///
/// # Errors
///
/// libtorch fails.
pub fn is_channels_last(images: &Tensor) -> Result<bool, TchError> {
    // SAFETY: the shim reads a live tensor.
    flag(|result| unsafe { ferry_is_channels_last(images.as_ptr(), result) })
}

/// A copy of `values [N]` in page-locked host memory, from which a GPU can copy asynchronously.
///
/// It may be dropped during such a copy, because libtorch's allocator does not reuse the memory before the copy ends.
///
/// # Errors
///
/// There is no CUDA, or not enough memory.
pub fn pinned<T: tch::kind::Element>(values: &[T]) -> Result<Tensor, TchError> {
    // SAFETY: the tensor borrows `values`, numbers of libtorch's type `T::KIND`, and is dropped before this returns.
    let borrowed = unsafe {
        let data = values.as_ptr().cast::<u8>();
        Tensor::f_from_blob(data, &[values.len() as i64], &[1], T::KIND, Device::Cpu)
    }?;
    // SAFETY: the shim reads a live tensor.
    tensor(|result| unsafe { ferry_pinned(borrowed.as_ptr(), result) })
}

/// Whether a tensor is in page-locked memory.
///
/// # Errors
///
/// libtorch fails.
pub fn is_pinned(values: &Tensor) -> Result<bool, TchError> {
    // SAFETY: the shim reads a live tensor.
    flag(|result| unsafe { ferry_is_pinned(values.as_ptr(), result) })
}

/// The GPU memory that libtorch's allocator holds, and its peaks since [`reset_peak`].
///
/// # Errors
///
/// `device` is not a GPU, or there is no CUDA.
pub fn memory(device: Device) -> Result<DeviceMemory, TchError> {
    let mut memory = Memory::default();
    // SAFETY: `memory` is written during the call only.
    checked(unsafe { ferry_memory_statistics(index(device), &raw mut memory) })?;
    let Memory { allocated, reserved, peak_allocated, peak_reserved } = memory;
    Ok(DeviceMemory { allocated, reserved, peak_allocated, peak_reserved })
}

/// Resets the peaks that [`memory`] reports.
///
/// # Errors
///
/// `device` is not a GPU, or there is no CUDA.
pub fn reset_peak(device: Device) -> Result<(), TchError> {
    // SAFETY: a plain number.
    checked(unsafe { ferry_memory_reset_peak(index(device)) })
}

/// Returns cached GPU memory that no tensor uses to the driver.
///
/// # Errors
///
/// There is no CUDA.
pub fn release_memory() -> Result<(), TchError> {
    // SAFETY: no argument.
    checked(unsafe { ferry_memory_release() })
}

fn index(device: Device) -> i32 {
    match device {
        Device::Cuda(index) => index as i32,
        Device::Cpu | Device::Mps | Device::Vulkan => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::noise;
    use tch::Kind;

    fn product() -> Tensor {
        let [left, right] =
            [(1, [4, 8]), (2, [8, 4])].map(|(key, dims)| noise(key, &dims).to_kind(Kind::Float));
        left.matmul(&right)
    }

    #[test]
    fn autocast_ends_with_its_guard() {
        assert_eq!(product().kind(), Kind::Float);
        {
            let _outer = Autocast::bfloat16(Device::Cpu).unwrap();
            assert_eq!(product().kind(), Kind::BFloat16);
            drop(Autocast::bfloat16(Device::Cpu).unwrap());
            assert_eq!(product().kind(), Kind::BFloat16);
        }
        assert_eq!(product().kind(), Kind::Float);
    }

    #[test]
    fn autocast_ends_with_a_panic() {
        let panicked = std::panic::catch_unwind(|| {
            let _guard = Autocast::bfloat16(Device::Cpu).unwrap();
            let _impossible = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)).matmul(&product());
        });
        assert!(panicked.is_err());
        assert_eq!(product().kind(), Kind::Float);
    }

    #[test]
    fn autocast_sees_weights_that_changed_after_its_last_guard() {
        let weights = noise(3, &[8, 4]).to_kind(Kind::Float).set_requires_grad(true);
        let input = noise(4, &[2, 8]).to_kind(Kind::Float);
        let output = || {
            let _guard = Autocast::bfloat16(Device::Cpu).unwrap();
            input.matmul(&weights).to_kind(Kind::Float)
        };
        let before = output();
        let _doubled = tch::no_grad(|| weights.shallow_clone().g_mul_scalar_(2.0));
        assert_eq!(output(), before * 2.0);
    }

    #[test]
    fn tf32_is_restored_after_its_guard() {
        // No other test may use these switches, because they belong to the process.
        let before = tf32().unwrap();
        {
            let _guard = Tf32::allow(true).unwrap();
            assert_eq!(tf32().unwrap(), (true, true));
            let _inner = Tf32::allow(false).unwrap();
            assert_eq!(tf32().unwrap(), (false, false));
        }
        assert_eq!(tf32().unwrap(), before);
    }

    #[test]
    fn channels_become_innermost_and_values_stay() {
        let images = noise(1, &[2, 3, 5, 4]);
        assert!(!is_channels_last(&images).unwrap());
        let moved = channels_last(&images).unwrap();
        assert!(is_channels_last(&moved).unwrap());
        assert_eq!(moved, images);
        assert_eq!(moved.stride(), [60, 1, 12, 3]);
        assert_eq!(channels_last(&moved).unwrap().data_ptr(), moved.data_ptr());
        // A matrix has no channels.
        assert!(matches!(channels_last(&noise(1, &[2, 3])), Err(TchError::Torch(_))));
    }

    #[test]
    fn without_a_gpu_its_memory_is_an_error_and_not_a_crash() {
        if tch::Cuda::is_available() {
            return; // scripts/gpu-check tests this case.
        }
        assert!(memory(Device::Cuda(0)).is_err() && reset_peak(Device::Cuda(0)).is_err());
        assert!(release_memory().is_err() && pinned(&[1f32]).is_err());
        assert!(!is_pinned(&Tensor::from_slice(&[1f32])).unwrap());
    }
}
