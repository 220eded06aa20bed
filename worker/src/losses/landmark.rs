//! Landmark loss: mean squared error over samples, points and coordinates (paper section 2.2).

use tch::{Reduction, Tensor};

/// The mean squared error of predicted and true landmarks, both `[B, 68, 2]` with coordinates in [−1, 1] of the image.
pub fn landmark(predicted: &Tensor, target: &Tensor) -> Tensor {
    predicted.mse_loss(target, Reduction::Mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{close, deviation, noise};

    #[test]
    fn value_and_gradient_follow_the_formula() {
        let target = noise(2, &[3, 68, 2]);
        let predicted = noise(1, &[3, 68, 2]).set_requires_grad(true);
        let loss = landmark(&predicted, &target);
        let difference = predicted.detach() - &target;
        let count = predicted.numel() as f64;
        close("loss", loss.double_value(&[]), difference.square().sum(None).double_value(&[]) / count, 1e-12);
        loss.backward();
        assert!(deviation(&predicted.grad(), &(difference * (2.0 / count))) < 1e-12);
    }
}
