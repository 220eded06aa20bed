//! The arithmetic of training steps: the precision of forward and backward passes, and the memory layout of images.

use shared::mtl::arithmetic::{ArithmeticSpec, Cudnn, Precision};
use tch::{Device, TchError, Tensor};

use crate::native::{self, Autocast, Tf32};

/// How one job computes on one device.
#[derive(Debug, Clone, Copy)]
pub struct Arithmetic {
    precision: Precision,
    channels_last: bool,
    cudnn: Cudnn,
    device: Device,
}

impl Arithmetic {
    pub fn new(spec: &ArithmeticSpec, device: Device) -> Self {
        let ArithmeticSpec { precision, channels_last, cudnn } = *spec;
        Self { precision, channels_last, cudnn, device }
    }

    /// Sets how cuDNN chooses its algorithms. This holds for the whole process, which trains one job at a time.
    ///
    /// # Errors
    ///
    /// libtorch fails.
    pub fn set_up(&self) -> Result<(), TchError> {
        match self.cudnn {
            Cudnn::Heuristic => native::set_cudnn(false, false),
            Cudnn::Benchmark => native::set_cudnn(true, false),
            Cudnn::Deterministic => native::set_cudnn(false, true),
        }
    }

    /// Runs the forward `passes` of a batch. Their results may be in half precision.
    ///
    /// # Errors
    ///
    /// libtorch cannot switch the precision.
    pub fn forward<T>(&self, passes: impl FnOnce() -> T) -> Result<T, TchError> {
        let _tf32 = self.tf32()?;
        let _autocast = match self.precision {
            Precision::F32 | Precision::Tf32 => None,
            Precision::Bf16 => Some(Autocast::bfloat16(self.device)?),
        };
        Ok(passes())
    }

    /// Runs the backward `passes`. Each operator runs in the precision that it had in the forward pass.
    ///
    /// # Errors
    ///
    /// libtorch cannot switch the precision, or `passes` fails.
    pub fn backward<T>(&self, passes: impl FnOnce() -> Result<T, TchError>) -> Result<T, TchError> {
        let _tf32 = self.tf32()?;
        passes()
    }

    /// Images `[B, 3, S, S]` in the memory layout of the job. The kernels keep that layout in all feature maps that
    /// follow, and convert the weights themselves, so the stored weights need no change.
    ///
    /// # Errors
    ///
    /// There is not enough memory on the device.
    pub fn laid_out(&self, images: &Tensor) -> Result<Tensor, TchError> {
        if self.channels_last { native::channels_last(images) } else { Ok(images.shallow_clone()) }
    }

    /// Allows TF32 while the guard lives. Outside of passes nothing is rounded to TF32: `cuda::devices` turns it off.
    fn tf32(&self) -> Result<Option<Tf32>, TchError> {
        match self.precision {
            Precision::F32 | Precision::Bf16 => Ok(None),
            Precision::Tf32 => Tf32::allow(true).map(Some),
        }
    }
}
