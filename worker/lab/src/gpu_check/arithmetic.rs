//! Checks of single operations: libraries, precision, memory layout.

use tch::{Device, Kind, Tensor};

use super::Seen;
use worker::native::{self, Tf32};

/// The largest difference, relative to the largest entry of `right`.
fn deviation(left: &Tensor, right: &Tensor) -> anyhow::Result<f64> {
    let [left, right] = [left.f_to_device(Device::Cpu)?, right.f_to_device(Device::Cpu)?];
    let (left, right) = (left.f_to_kind(Kind::Double)?, right.f_to_kind(Kind::Double)?);
    let largest = |tensor: &Tensor| Ok::<_, tch::TchError>(tensor.f_abs()?.f_max()?.double_value(&[]));
    Ok(largest(&(left.f_sub(&right)?))? / largest(&right)?)
}

/// Numbers in [-0.5, 0.5) without a pattern, the same on every device.
fn numbers(dims: &[i64]) -> anyhow::Result<Tensor> {
    let count = dims.iter().product::<i64>();
    let index = Tensor::f_arange(count, (Kind::Double, Device::Cpu))?;
    let fractions = ((index.f_mul_scalar(12.9898)?.f_sin()?).f_mul_scalar(43_758.545_3)?).f_frac()?;
    Ok(fractions.f_mul_scalar(0.5)?.f_to_kind(Kind::Float)?.f_reshape(dims)?)
}

fn convolution(images: &Tensor, weights: &Tensor) -> anyhow::Result<Tensor> {
    Ok(images.f_conv2d(weights, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1)?)
}

/// One operation of each library that libtorch's CUDA library loads: cuDNN, cuBLAS, cuSOLVER, cuFFT.
pub(super) fn libraries(device: Device) -> anyhow::Result<Seen> {
    let (images, weights) = (numbers(&[4, 16, 24, 24])?, numbers(&[32, 16, 3, 3])?);
    let matrix =
        numbers(&[64, 64])?.f_add(&Tensor::f_eye(64, (Kind::Float, Device::Cpu))?.f_mul_scalar(32.0)?)?;
    let right = numbers(&[64, 8])?;
    let on = |device: Device| -> anyhow::Result<[Tensor; 4]> {
        let place = |tensor: &Tensor| tensor.f_to_device(device);
        let (images, matrix, right) = (place(&images)?, place(&matrix)?, place(&right)?);
        Ok([
            convolution(&images, &place(&weights)?)?,
            matrix.f_matmul(&right)?,
            Tensor::f_linalg_solve(&matrix, &right, true)?,
            right.f_fft_rfft(None, 0, "backward")?.f_abs()?,
        ])
    };
    let mut worst = 0f64;
    for (here, there) in on(device)?.iter().zip(&on(Device::Cpu)?) {
        worst = worst.max(deviation(here, there)?);
    }
    Ok(Seen::when(worst < 1e-4, format!("largest relative difference {worst:.1e}, bound 1e-4")))
}

/// The relative errors of a convolution and of a matrix product, compared with double precision.
fn errors(device: Device) -> anyhow::Result<[f64; 2]> {
    let (images, weights) = (numbers(&[4, 64, 28, 28])?, numbers(&[64, 64, 3, 3])?);
    let (left, right) = (numbers(&[512, 512])?, numbers(&[512, 512])?);
    let double = |tensor: &Tensor| tensor.f_to_kind(Kind::Double);
    let exact =
        [convolution(&double(&images)?, &double(&weights)?)?, double(&left)?.f_matmul(&double(&right)?)?];
    let place = |tensor: &Tensor| tensor.f_to_device(device);
    let seen = [convolution(&place(&images)?, &place(&weights)?)?, place(&left)?.f_matmul(&place(&right)?)?];
    Ok([deviation(&seen[0], &exact[0])?, deviation(&seen[1], &exact[1])?])
}

pub(super) fn single(device: Device) -> anyhow::Result<Seen> {
    let [convolution, product] = errors(device)?;
    let saw = format!(
        "a convolution is {convolution:.1e} from double precision, a product {product:.1e}; bound 1e-5"
    );
    Ok(Seen::when(convolution < 1e-5 && product < 1e-5, saw))
}

pub(super) fn tf32(device: Device) -> anyhow::Result<Seen> {
    if device == Device::Cpu {
        return Ok(Seen::NotHere);
    }
    let without = errors(device)?;
    let with = {
        let _allowed = Tf32::allow(true)?;
        errors(device)?
    };
    let grown = with[0] > 10.0 * without[0] && with[1] > 10.0 * without[1];
    let saw = format!(
        "a convolution goes from {:.1e} to {:.1e}, a product from {:.1e} to {:.1e}; each must grow tenfold",
        without[0], with[0], without[1], with[1]
    );
    Ok(Seen::when(grown, saw))
}

pub(super) fn channels_last(device: Device) -> anyhow::Result<Seen> {
    let images = numbers(&[4, 16, 24, 24])?.f_to_device(device)?;
    let weights = numbers(&[32, 16, 3, 3])?.f_to_device(device)?;
    let plain = convolution(&images, &weights)?;
    let moved = convolution(&native::channels_last(&images)?, &weights)?;
    let kept = native::is_channels_last(&moved)?;
    let differ = deviation(&moved, &plain)?;
    let saw = format!("kept by a convolution: {kept}; largest relative difference {differ:.1e}, bound 1e-5");
    Ok(Seen::when(kept && differ < 1e-5, saw))
}
