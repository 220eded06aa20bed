//! The emotion branch: DAN, "Distract Your Attention" (Wen et al., arXiv 2109.07270), names as in yaoing/DAN.

use shared::job::network::HeadFusion;
use tch::nn::Path;
use tch::{Kind, Tensor};

use super::blocks::{BatchNorm, Conv, Init, Linear, Mode, Window, relu};
use super::resnet::{Naming, ResNet, Shape};

/// Deviation of the initial weights of a head's linear layers.
const LINEAR_DEVIATION: f64 = 0.001;

/// Backbone, reducer where the backbone is too wide, attention heads.
#[derive(Debug)]
pub struct Dan {
    features: ResNet,
    reduce: Vec<Reduction>,
    attention: Attention,
}

/// What the emotion branch computes before the shared layers; D is 8 × the backbone's width.
#[derive(Debug)]
pub struct DanOutput {
    /// `[B, D, h, w]`, what the heads look at and the affinity loss compares.
    pub feature: Tensor,
    /// `[B, K, D]`, before any fusion.
    pub heads: Tensor,
    /// `[B, D]`.
    pub fused: Tensor,
}

impl Dan {
    /// Names: `features.{0,1,4,5,6,7}`, `reduce.{0,1}.{0,1}`, `cat_head{k}`.
    pub fn new(path: &Path<'_>, backbone: Shape, heads: u32, fusion: HeadFusion) -> Self {
        let features = ResNet::new(&(path / "features"), backbone, Naming::Position);
        let dim = 8 * backbone.width;
        let mut reduce = Vec::new();
        let mut channels = backbone.channels();
        while channels > dim {
            let path = path / "reduce" / reduce.len();
            reduce.push(Reduction::new(&path, channels));
            channels /= 2;
        }
        Self { features, reduce, attention: Attention::new(path, dim, heads, fusion) }
    }

    /// Images `[B, 3, S, S]`.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> DanOutput {
        let map = self.features.forward(images, mode);
        let feature = self.reduce.iter().fold(map, |map, step| step.forward(&map, mode));
        let heads = self.attention.forward(&feature, mode);
        let fused = self.attention.fuse(&heads);
        DanOutput { feature, heads, fused }
    }
}

/// 1×1 convolution to half the channels, batch norm, ReLU: two of them lead from ResNet50 to DAN's heads
/// (Yeonggi-hong/ECCV2022-ABAW-competition).
#[derive(Debug)]
struct Reduction {
    conv: Conv,
    norm: BatchNorm,
}

impl Reduction {
    fn new(path: &Path<'_>, channels: i64) -> Self {
        let window = Window::square(channels, channels / 2, 1);
        let conv = Conv::with_bias(&(path / 0), window, Init::Uniform);
        Self { conv, norm: BatchNorm::new(&(path / 1), channels / 2) }
    }

    fn forward(&self, map: &Tensor, mode: Mode) -> Tensor {
        relu(self.norm.forward(&self.conv.forward(map), mode))
    }
}

/// K independent heads over one map, and their fusion.
#[derive(Debug)]
pub struct Attention {
    heads: Vec<(SpatialAttention, ChannelAttention)>,
    fusion: HeadFusion,
}

impl Attention {
    pub fn new(path: &Path<'_>, dim: i64, heads: u32, fusion: HeadFusion) -> Self {
        let head = |index| {
            let path = path / format!("cat_head{index}");
            (SpatialAttention::new(&(&path / "sa"), dim), ChannelAttention::new(&(&path / "ca"), dim))
        };
        Self { heads: (0..heads).map(head).collect(), fusion }
    }

    /// Feature `[B, D, h, w]` to head vectors `[B, K, D]`.
    ///
    /// DAN multiplies the feature by each head's map and averages over the positions. That is a matrix product of
    /// maps and feature, here one for all heads, so no weighted copy of the feature is made.
    pub fn forward(&self, feature: &Tensor, mode: Mode) -> Tensor {
        let maps: Vec<_> = self.heads.iter().map(|(spatial, _)| spatial.forward(feature, mode)).collect();
        let positions = feature.flatten(2, 3).transpose(1, 2);
        let maps = Tensor::stack(&maps, 1) / positions.size()[1] as f64;
        let pooled = maps.bmm(&positions);
        let gate = |(index, (_, channel)): (usize, &(_, ChannelAttention))| {
            channel.forward(&pooled.select(1, index as i64), mode)
        };
        Tensor::stack(&self.heads.iter().enumerate().map(gate).collect::<Vec<_>>(), 1)
    }

    /// Head vectors `[B, K, D]` to their sum `[B, D]`, after a log-softmax over more than one head if so chosen.
    pub fn fuse(&self, heads: &Tensor) -> Tensor {
        let sum = |heads: &Tensor| heads.sum_dim_intlist(1, false, None);
        match self.fusion {
            HeadFusion::LogSoftmax if self.heads.len() > 1 => sum(&heads.log_softmax(1, None)),
            HeadFusion::LogSoftmax | HeadFusion::Sum => sum(heads),
        }
    }
}

/// A convolution with bias (`0`) and its batch norm (`1`).
#[derive(Debug)]
struct ConvNorm {
    conv: Conv,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(path: &Path<'_>, window: Window) -> Self {
        let conv = Conv::with_bias(&(path / 0), window, Init::KaimingFanOut);
        Self { conv, norm: BatchNorm::new(&(path / 1), window.outputs()) }
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        self.norm.forward(&self.conv.forward(input), mode)
    }
}

/// Where a head looks: one weight a position.
#[derive(Debug)]
struct SpatialAttention {
    squeeze: ConvNorm,
    square: ConvNorm,
    row: ConvNorm,
    column: ConvNorm,
}

impl SpatialAttention {
    fn new(path: &Path<'_>, dim: i64) -> Self {
        let hidden = dim / 2;
        let window = |kernel| Window::rectangle(hidden, dim, kernel);
        Self {
            squeeze: ConvNorm::new(&(path / "conv1x1"), Window::square(dim, hidden, 1)),
            square: ConvNorm::new(&(path / "conv_3x3"), window([3, 3])),
            row: ConvNorm::new(&(path / "conv_1x3"), window([1, 3])),
            column: ConvNorm::new(&(path / "conv_3x1"), window([3, 1])),
        }
    }

    /// `[B, D, h, w]` to weights `[B, h·w]`.
    fn forward(&self, feature: &Tensor, mode: Mode) -> Tensor {
        let hidden = self.squeeze.forward(feature, mode);
        let mut sum = self.square.forward(&hidden, mode);
        sum += self.row.forward(&hidden, mode);
        sum += self.column.forward(&hidden, mode);
        relu(sum).sum_dim_intlist(1, false, None::<Kind>).flatten(1, 2)
    }
}

/// Which channels a head keeps: its vector times a gate in (0, 1).
#[derive(Debug)]
struct ChannelAttention {
    squeeze: Linear,
    norm: BatchNorm,
    expand: Linear,
}

impl ChannelAttention {
    fn new(path: &Path<'_>, dim: i64) -> Self {
        let path = path / "attention";
        let hidden = (dim / 16).max(1);
        let init = Init::Normal(LINEAR_DEVIATION);
        Self {
            squeeze: Linear::new(&(&path / 0), dim, hidden, init),
            norm: BatchNorm::new(&(&path / 1), hidden),
            expand: Linear::new(&(&path / 3), hidden, dim, init),
        }
    }

    /// `[B, D]` to `[B, D]`.
    fn forward(&self, vector: &Tensor, mode: Mode) -> Tensor {
        let hidden = relu(self.norm.forward(&self.squeeze.forward(vector), mode));
        vector * self.expand.forward(&hidden).sigmoid()
    }
}
