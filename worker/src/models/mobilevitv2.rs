//! MobileViTv2 up to its last map (Mehta & Rastegari, arXiv 2206.02680; apple/ml-cvnets), names as in timm.

use tch::Tensor;
use tch::nn::Path;

use super::blocks::{BatchNorm, Conv, GroupNorm, Init, Mode, Window};

/// Transformer blocks of the published network in its last three stages.
pub const PUBLISHED_DEPTHS: [u32; 3] = [2, 4, 3];

const STAGE_CHANNELS: [i64; 5] = [64, 128, 256, 384, 512];
const EXPANSION: i64 = 2;
const PATCH: i64 = 2;

/// Width multiplier and depths; every published width is 0.5 to 2.0 in steps of 0.25.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    pub width: f64,
    pub depths: [u32; 3],
}

impl Shape {
    /// Channels of the last map: 512 × width.
    pub fn channels(&self) -> i64 {
        self.scaled(STAGE_CHANNELS[4])
    }

    fn scaled(&self, channels: i64) -> i64 {
        (channels as f64 * self.width) as i64
    }
}

/// The network without pooling and classifier.
#[derive(Debug)]
pub struct MobileViTv2 {
    stem: ConvNorm,
    stages: Vec<Stage>,
}

/// Inverted residuals, followed in the last three stages by a transformer.
#[derive(Debug)]
struct Stage {
    residuals: Vec<InvertedResidual>,
    transformer: Option<MobileViTBlock>,
}

impl MobileViTv2 {
    pub fn new(path: &Path<'_>, shape: Shape) -> Self {
        let mut inputs = shape.scaled(32);
        let stem = ConvNorm::new(&(path / "stem"), Window::square(3, inputs, 3).stride(2));
        let mut stages = Vec::new();
        for (index, channels) in STAGE_CHANNELS.into_iter().enumerate() {
            let path = path / "stages" / index;
            let outputs = shape.scaled(channels);
            let stride = if index == 0 { 1 } else { 2 };
            let mut residuals = vec![InvertedResidual::new(&(&path / 0), inputs, outputs, stride)];
            if index == 1 {
                residuals.push(InvertedResidual::new(&(&path / 1), outputs, outputs, 1));
            }
            let depth = index.checked_sub(2).map(|stage| shape.depths[stage]);
            let transformer =
                depth.map(|depth| MobileViTBlock::new(&(&path / 1), outputs, outputs / 2, depth));
            stages.push(Stage { residuals, transformer });
            inputs = outputs;
        }
        Self { stem, stages }
    }

    /// Images `[B, 3, h, w]` to the last map `[B, channels, h', w']`: a 32nd of the size, made even by each of the
    /// last three stages (224 gives 8).
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Tensor {
        let mut map = self.stem.forward(images, mode).silu();
        for stage in &self.stages {
            for residual in &stage.residuals {
                map = residual.forward(&map, mode);
            }
            if let Some(transformer) = &stage.transformer {
                map = transformer.forward(&map, mode);
            }
        }
        map
    }
}

/// A convolution without bias (`conv`) and its batch norm (`bn`).
#[derive(Debug)]
struct ConvNorm {
    conv: Conv,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(path: &Path<'_>, window: Window) -> Self {
        let conv = Conv::new(&(path / "conv"), window, Init::KaimingFanOut);
        Self { conv, norm: BatchNorm::new(&(path / "bn"), window.outputs()) }
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        self.norm.forward(&self.conv.forward(input), mode)
    }
}

/// 1×1 to twice the channels, depthwise 3×3, 1×1 without activation (Sandler et al., arXiv 1801.04381).
#[derive(Debug)]
struct InvertedResidual {
    expand: ConvNorm,
    depthwise: ConvNorm,
    project: ConvNorm,
    adds_input: bool,
}

impl InvertedResidual {
    fn new(path: &Path<'_>, inputs: i64, outputs: i64, stride: i64) -> Self {
        let hidden = EXPANSION * inputs;
        let depthwise = Window::depthwise(hidden, 3).stride(stride);
        Self {
            expand: ConvNorm::new(&(path / "conv1_1x1"), Window::square(inputs, hidden, 1)),
            depthwise: ConvNorm::new(&(path / "conv2_kxk"), depthwise),
            project: ConvNorm::new(&(path / "conv3_1x1"), Window::square(hidden, outputs, 1)),
            adds_input: stride == 1 && inputs == outputs,
        }
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        let hidden = self.expand.forward(input, mode).silu();
        let hidden = self.depthwise.forward(&hidden, mode).silu();
        let output = self.project.forward(&hidden, mode);
        if self.adds_input { output + input } else { output }
    }
}

/// Local convolution, transformers across 2×2 patches, projection back; no residual around the block.
#[derive(Debug)]
pub struct MobileViTBlock {
    local: ConvNorm,
    embed: Conv,
    transformers: Vec<Transformer>,
    norm: GroupNorm,
    project: ConvNorm,
}

impl MobileViTBlock {
    /// `channels` of the map, `dim` inside the `depth` transformers.
    pub fn new(path: &Path<'_>, channels: i64, dim: i64, depth: u32) -> Self {
        let embed = Window::square(channels, dim, 1);
        Self {
            local: ConvNorm::new(&(path / "conv_kxk"), Window::depthwise(channels, 3)),
            embed: Conv::new(&(path / "conv_1x1"), embed, Init::KaimingFanOut),
            transformers: (0..depth)
                .map(|index| Transformer::new(&(path / "transformer" / index), dim))
                .collect(),
            norm: GroupNorm::new(&(path / "norm"), dim),
            project: ConvNorm::new(&(path / "conv_proj"), Window::square(dim, channels, 1)),
        }
    }

    /// `[B, channels, h, w]` to the same with odd sizes made even.
    pub fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        let map = self.local.forward(&to_even(input), mode).silu();
        let map = self.embed.forward(&map);
        let (height, width) = (map.size()[2], map.size()[3]);
        let patches = unfold(&map, height, width);
        let patches = self.transformers.iter().fold(patches, |patches, block| block.forward(&patches));
        let map = fold(&self.norm.forward(&patches), height, width);
        self.project.forward(&map, mode)
    }
}

/// Enlarges an odd side by one, corners kept in place, as cvnets does before it cuts patches.
fn to_even(map: &Tensor) -> Tensor {
    let (height, width) = (map.size()[2], map.size()[3]);
    let even = [height + height % PATCH, width + width % PATCH];
    if even == [height, width] {
        return map.shallow_clone();
    }
    map.upsample_bilinear2d(even, true, None, None)
}

/// `[B, d, h, w]` to `[B, d, 4, h·w/4]`: pixel within its 2×2 patch, then patch.
fn unfold(map: &Tensor, height: i64, width: i64) -> Tensor {
    let grid = map.reshape([-1, map.size()[1], height / PATCH, PATCH, width / PATCH, PATCH]);
    grid.permute([0, 1, 3, 5, 2, 4]).reshape([-1, map.size()[1], PATCH * PATCH, height * width / 4])
}

/// The inverse of [`unfold`].
fn fold(patches: &Tensor, height: i64, width: i64) -> Tensor {
    let grid = patches.reshape([-1, patches.size()[1], PATCH, PATCH, height / PATCH, width / PATCH]);
    grid.permute([0, 1, 4, 2, 5, 3]).reshape([-1, patches.size()[1], height, width])
}

/// Attention and a two-layer perceptron, each normalised before and added after.
#[derive(Debug)]
struct Transformer {
    attention_norm: GroupNorm,
    attention: SeparableAttention,
    mlp_norm: GroupNorm,
    widen: Conv,
    narrow: Conv,
}

impl Transformer {
    fn new(path: &Path<'_>, dim: i64) -> Self {
        let mlp = path / "mlp";
        let (widen, narrow) = (Window::square(dim, 2 * dim, 1), Window::square(2 * dim, dim, 1));
        Self {
            attention_norm: GroupNorm::new(&(path / "norm1"), dim),
            attention: SeparableAttention::new(&(path / "attn"), dim),
            mlp_norm: GroupNorm::new(&(path / "norm2"), dim),
            widen: Conv::with_bias(&(&mlp / "fc1"), widen, Init::KaimingFanOut),
            narrow: Conv::with_bias(&(&mlp / "fc2"), narrow, Init::KaimingFanOut),
        }
    }

    fn forward(&self, patches: &Tensor) -> Tensor {
        let patches = patches + self.attention.forward(&self.attention_norm.forward(patches));
        let hidden = self.widen.forward(&self.mlp_norm.forward(&patches)).silu();
        patches + self.narrow.forward(&hidden)
    }
}

/// Attention in linear time: one score a position weighs the keys into one context vector (arXiv 2206.02680,
/// section 3).
#[derive(Debug)]
pub struct SeparableAttention {
    queries_keys_values: Conv,
    output: Conv,
    dim: i64,
}

impl SeparableAttention {
    pub fn new(path: &Path<'_>, dim: i64) -> Self {
        let joint = Window::square(dim, 1 + 2 * dim, 1);
        let queries_keys_values = Conv::with_bias(&(path / "qkv_proj"), joint, Init::KaimingFanOut);
        let output = Conv::with_bias(&(path / "out_proj"), Window::square(dim, dim, 1), Init::KaimingFanOut);
        Self { queries_keys_values, output, dim }
    }

    /// `[B, d, P, N]` to the same; the scores are a softmax over the N patches.
    pub fn forward(&self, patches: &Tensor) -> Tensor {
        let joint = self.queries_keys_values.forward(patches);
        let scores = joint.narrow(1, 0, 1).softmax(-1, None);
        let keys = joint.narrow(1, 1, self.dim);
        let values = joint.narrow(1, 1 + self.dim, self.dim);
        let context = (keys * scores).sum_dim_intlist(-1, true, None);
        self.output.forward(&(values.relu() * context))
    }
}
