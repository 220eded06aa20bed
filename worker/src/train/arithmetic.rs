//! The arithmetic of training steps: which precision a network's passes have, and how its images lie in memory.

use shared::job::arithmetic::{ArithmeticSpec, Cudnn, Precision};
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

    /// Sets how cuDNN chooses its algorithms: for the whole process, which trains one job at a time.
    pub fn set_up(&self) -> Result<(), TchError> {
        match self.cudnn {
            Cudnn::Heuristic => native::set_cudnn(false, false),
            Cudnn::Benchmark => native::set_cudnn(true, false),
            Cudnn::Deterministic => native::set_cudnn(false, true),
        }
    }

    /// Runs `passes`, the way of a batch through the network. What comes out may be in half precision.
    pub fn forward<T>(&self, passes: impl FnOnce() -> T) -> Result<T, TchError> {
        let _tf32 = self.tf32()?;
        let _autocast = match self.precision {
            Precision::F32 | Precision::Tf32 => None,
            Precision::Bf16 => Some(Autocast::bfloat16(self.device)?),
        };
        Ok(passes())
    }

    /// Runs `passes`, the way of gradients back. Each operator's runs in the precision that it had on the way forward.
    pub fn backward<T>(&self, passes: impl FnOnce() -> Result<T, TchError>) -> Result<T, TchError> {
        let _tf32 = self.tf32()?;
        passes()
    }

    /// Images `[B, 3, S, S]` as the network shall see them. The kernels keep their order in every map that follows, and
    /// bring the weights into it by themselves, so those stay as they are stored.
    pub fn laid_out(&self, images: &Tensor) -> Result<Tensor, TchError> {
        if self.channels_last { native::channels_last(images) } else { Ok(images.shallow_clone()) }
    }

    /// Outside of passes nothing is rounded to TF32: `cuda::devices` sees to it.
    fn tf32(&self) -> Result<Option<Tf32>, TchError> {
        match self.precision {
            Precision::F32 | Precision::Bf16 => Ok(None),
            Precision::Tf32 => Tf32::allow(true).map(Some),
        }
    }
}
