//! Layers with PyTorch's initial values and a batch norm whose momentum is chosen per call.
//!
//! tch's own layers start from other distributions (convolutions 2.45 times as wide, batch-norm weights uniform) and
//! fix the momentum at construction. Initial values are drawn on the CPU whatever the device is, so that they depend
//! on `tch::manual_seed` only.

use tch::nn::Path;
use tch::{Device, Kind, Tensor};

use super::onednn::{self, Vectors};

/// Whether batch norms use running statistics or batch statistics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Running statistics; a sample's result does not depend on the others in its batch.
    Eval,
    /// Batch statistics, with which the running ones are updated by `momentum`.
    Train { momentum: f64 },
}

impl Mode {
    /// Training with PyTorch's default momentum.
    pub const TRAIN: Self = Self::Train { momentum: 0.1 };
}

/// Distribution of a layer's initial weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// PyTorch's default: weight and bias uniform in ±1/√fan_in.
    Uniform,
    /// Normal with variance 2/fan_out, bias 0 (He et al. 2015; torchvision, timm, DAN).
    KaimingFanOut,
    /// Normal with this deviation, bias 0.
    Normal(f64),
}

impl Init {
    fn weight(self, dims: &[i64], fan_in: i64, fan_out: i64) -> Tensor {
        match self {
            Self::Uniform => uniform(dims, fan_in),
            Self::KaimingFanOut => normal(dims, (2.0 / fan_out as f64).sqrt()),
            Self::Normal(deviation) => normal(dims, deviation),
        }
    }

    fn bias(self, outputs: i64, fan_in: i64) -> Tensor {
        match self {
            Self::Uniform => uniform(&[outputs], fan_in),
            Self::KaimingFanOut | Self::Normal(_) => Tensor::zeros([outputs], HOST),
        }
    }
}

const HOST: (Kind, Device) = (Kind::Float, Device::Cpu);

fn uniform(dims: &[i64], fan_in: i64) -> Tensor {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Tensor::empty(dims, HOST).uniform_(-bound, bound)
}

fn normal(dims: &[i64], deviation: f64) -> Tensor {
    Tensor::empty(dims, HOST).normal_(0.0, deviation)
}

/// A trainable variable `[dims]` drawn from the standard normal distribution.
pub fn standard_normal(path: &Path<'_>, name: &str, dims: &[i64]) -> Tensor {
    variable(path, name, &normal(dims, 1.0))
}

fn variable(path: &Path<'_>, name: &str, initial: &Tensor) -> Tensor {
    path.add(name, place(path, initial), true)
}

fn buffer(path: &Path<'_>, name: &str, initial: &Tensor) -> Tensor {
    path.add(name, place(path, initial), false)
}

fn place(path: &Path<'_>, initial: &Tensor) -> Tensor {
    initial.to_device(path.device()).to_kind(path.kind())
}

/// Channels and window of a convolution. The padding is half the kernel, as everywhere in these networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    inputs: i64,
    outputs: i64,
    kernel: [i64; 2],
    stride: i64,
    groups: i64,
}

impl Window {
    /// A square window with stride 1.
    pub const fn square(inputs: i64, outputs: i64, kernel: i64) -> Self {
        Self::rectangle(inputs, outputs, [kernel, kernel])
    }

    /// A window of `[height, width]` with stride 1.
    pub const fn rectangle(inputs: i64, outputs: i64, kernel: [i64; 2]) -> Self {
        Self { inputs, outputs, kernel, stride: 1, groups: 1 }
    }

    /// One filter per channel, stride 1.
    pub const fn depthwise(channels: i64, kernel: i64) -> Self {
        Self { groups: channels, ..Self::square(channels, channels, kernel) }
    }

    #[must_use]
    pub const fn stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    pub const fn outputs(&self) -> i64 {
        self.outputs
    }

    /// True for a 1×1 convolution that skips pixels.
    const fn is_strided_projection(&self) -> bool {
        matches!(self.kernel, [1, 1]) && self.stride > 1 && self.groups == 1
    }

    const fn fan_in(&self) -> i64 {
        self.inputs / self.groups * self.kernel[0] * self.kernel[1]
    }
}

/// A 2-D convolution: `weight [out, in/groups, h, w]` and optionally `bias [out]`.
#[derive(Debug)]
pub struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    window: Window,
}

impl Conv {
    /// Without a bias.
    pub fn new(path: &Path<'_>, window: Window, init: Init) -> Self {
        let Window { inputs, outputs, kernel: [height, width], groups, .. } = window;
        let dims = [outputs, inputs / groups, height, width];
        let weight = init.weight(&dims, window.fan_in(), outputs / groups * height * width);
        Self { weight: variable(path, "weight", &weight), bias: None, window }
    }

    /// With a bias.
    pub fn with_bias(path: &Path<'_>, window: Window, init: Init) -> Self {
        let conv = Self::new(path, window, init);
        let bias = init.bias(window.outputs, window.fan_in());
        Self { bias: Some(variable(path, "bias", &bias)), ..conv }
    }

    /// `[B, in, h, w]` to `[B, out, h / stride, w / stride]`.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        let Window { kernel: [height, width], stride, groups, .. } = self.window;
        if self.window.is_strided_projection() && onednn::breaks(input, stride, Vectors::of_this_machine()) {
            return onednn::conv_of_slice(input, &self.weight, self.bias.as_ref(), stride);
        }
        let padding = [height / 2, width / 2];
        input.conv2d(&self.weight, self.bias.as_ref(), [stride, stride], padding, [1, 1], groups)
    }
}

/// A fully connected layer: `weight [out, in]`, `bias [out]`.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub fn new(path: &Path<'_>, inputs: i64, outputs: i64, init: Init) -> Self {
        let weight = init.weight(&[outputs, inputs], inputs, outputs);
        let weight = variable(path, "weight", &weight);
        Self { weight, bias: variable(path, "bias", &init.bias(outputs, inputs)) }
    }

    /// `[…, in]` to `[…, out]`.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        input.linear(&self.weight, Some(&self.bias))
    }
}

/// Weight and bias of a normalisation, initially one and zero.
#[derive(Debug)]
struct Affine {
    weight: Tensor,
    bias: Tensor,
}

impl Affine {
    fn new(path: &Path<'_>, channels: i64) -> Self {
        let weight = variable(path, "weight", &Tensor::ones([channels], HOST));
        Self { weight, bias: variable(path, "bias", &Tensor::zeros([channels], HOST)) }
    }
}

/// Running mean and variance of a batch norm, each `[channels]`.
#[derive(Debug)]
pub struct Running {
    mean: Tensor,
    variance: Tensor,
}

impl Running {
    /// Mean 0 and variance 1 under the names `running_mean` and `running_var`.
    pub fn new(path: &Path<'_>, channels: i64) -> Self {
        let mean = buffer(path, "running_mean", &Tensor::zeros([channels], HOST));
        Self { mean, variance: buffer(path, "running_var", &Tensor::ones([channels], HOST)) }
    }
}

const EPSILON: f64 = 1e-5;

/// Batch norm over dimension 1, for `[B, C]` and `[B, C, h, w]`.
#[derive(Debug)]
pub struct BatchNorm {
    affine: Affine,
    running: Running,
}

impl BatchNorm {
    pub fn new(path: &Path<'_>, channels: i64) -> Self {
        Self { affine: Affine::new(path, channels), running: Running::new(path, channels) }
    }

    pub fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        self.forward_with(input, &self.running, mode)
    }

    /// The same affine map over other running statistics.
    pub fn forward_with(&self, input: &Tensor, running: &Running, mode: Mode) -> Tensor {
        let (training, momentum) = match mode {
            Mode::Eval => (false, 0.0),
            Mode::Train { momentum } => (true, momentum),
        };
        let (weight, bias) = (Some(&self.affine.weight), Some(&self.affine.bias));
        let (mean, variance) = (Some(&running.mean), Some(&running.variance));
        input.batch_norm(weight, bias, mean, variance, training, momentum, EPSILON, true)
    }
}

/// Group norm with a single group: statistics over everything but the batch.
#[derive(Debug)]
pub struct GroupNorm {
    affine: Affine,
}

impl GroupNorm {
    pub fn new(path: &Path<'_>, channels: i64) -> Self {
        Self { affine: Affine::new(path, channels) }
    }

    pub fn forward(&self, input: &Tensor) -> Tensor {
        input.group_norm(1, Some(&self.affine.weight), Some(&self.affine.bias), EPSILON, true)
    }
}

/// ReLU in place. The input must be a batch norm or a sum, whose backward pass does not need its own output.
pub fn relu(mut input: Tensor) -> Tensor {
    input.relu_()
}

/// Converts back to single precision what autocast made bfloat16. The sums of a softmax need it.
pub fn at_least_single(tensor: &Tensor) -> Tensor {
    if tensor.kind() == Kind::BFloat16 { tensor.to_kind(Kind::Float) } else { tensor.shallow_clone() }
}

/// Mean over height and width: `[B, C, h, w]` to `[B, C]`.
pub fn global_mean(map: &Tensor) -> Tensor {
    map.mean_dim([2i64, 3].as_slice(), false, None)
}
