//! Landmark loss: mean squared error over samples, points and coordinates (paper section 2.2).

use tch::{Reduction, Tensor};

/// Of predicted and true landmarks, both `[B, 68, 2]` in [−1, 1] of the image.
pub fn landmark(predicted: &Tensor, target: &Tensor) -> Tensor {
    predicted.mse_loss(target, Reduction::Mean)
}
