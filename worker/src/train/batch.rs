//! A training batch on its way to the device.

use tch::kind::Element;
use tch::{Device, Kind, TchError, Tensor};

use crate::data::Batch;
use crate::native;

/// A training batch on the device.
#[derive(Debug)]
pub struct DeviceBatch {
    pub(super) emotion: Tensor,
    pub(super) appearance: Tensor,
    pub(super) labels: Tensor,
    pub(super) landmarks: Tensor,
}

impl DeviceBatch {
    /// `size` is the height and width of the images.
    ///
    /// # Errors
    ///
    /// There is not enough memory, or the images do not have the given size.
    pub fn new(batch: &Batch, size: usize, device: Device) -> Result<Self, TchError> {
        let (count, size) = (batch.labels.len() as i64, size as i64);
        Ok(Self {
            emotion: placed(&batch.emotion, device)?.f_reshape([count, 3, size, size])?,
            appearance: placed(&batch.appearance, device)?.f_reshape([count, 3, size, size])?,
            labels: placed(&batch.labels, device)?,
            landmarks: placed(&batch.landmarks, device)?.f_reshape([count, -1, 2])?,
        })
    }

    /// The same with images and landmarks in another precision.
    ///
    /// # Errors
    ///
    /// There is not enough memory on the device.
    pub fn to_kind(&self, kind: Kind) -> Result<Self, TchError> {
        Ok(Self {
            emotion: self.emotion.f_to_kind(kind)?,
            appearance: self.appearance.f_to_kind(kind)?,
            labels: self.labels.shallow_clone(),
            landmarks: self.landmarks.f_to_kind(kind)?,
        })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    /// True if there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `[B, 3, S, S]`.
    pub fn emotion(&self) -> &Tensor {
        &self.emotion
    }

    /// `[B, 3, S, S]`.
    pub fn appearance(&self) -> &Tensor {
        &self.appearance
    }
}

/// `values [N]` on the device. A GPU copies them from page-locked memory while this thread continues.
fn placed<T: Element>(values: &[T], device: Device) -> Result<Tensor, TchError> {
    match device {
        Device::Cuda(_) => native::pinned(values)?.f_to_device_(device, T::KIND, true, false),
        Device::Cpu | Device::Mps | Device::Vulkan => Tensor::f_from_slice(values)?.f_to_device(device),
    }
}
