//! MobileViTv2 up to its last map (Mehta & Rastegari, arXiv 2206.02680; apple/ml-cvnets). Names are as in timm.

use tch::Tensor;
use tch::nn::Path;

use super::blocks::{BatchNorm, Conv, GroupNorm, Init, Mode, Window, at_least_single};

/// Transformer blocks in the last three stages of the published network.
pub const PUBLISHED_DEPTHS: [u32; 3] = [2, 4, 3];

const STAGE_CHANNELS: [i64; 5] = [64, 128, 256, 384, 512];
const EXPANSION: i64 = 2;
const PATCH: i64 = 2;

/// Width multiplier and depths. The published widths are 0.5 to 2.0 in steps of 0.25.
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

/// Inverted residuals, in the last three stages followed by a transformer.
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

    /// Images `[B, 3, h, w]` to the last map `[B, channels, h', w']`. Its sides are 1/32 of the image's, rounded up to
    /// an even number in each of the last three stages (224 gives 8).
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
    /// The map has `channels`; the `depth` transformers have `dim`.
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

    /// `[B, channels, h, w]` to the same shape, with odd sides rounded up to even.
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

/// Enlarges an odd side by one with aligned corners, as cvnets does before it cuts patches.
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

/// Attention and a two-layer perceptron, each with a normalisation before it and a residual connection around it.
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

/// Attention in linear time: one score per position weights the keys, whose sum is one context vector (arXiv
/// 2206.02680).
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

    /// `[B, d, P, N]` to the same shape. The scores are a softmax over the N patches.
    pub fn forward(&self, patches: &Tensor) -> Tensor {
        let joint = self.queries_keys_values.forward(patches);
        let scores = at_least_single(&joint.narrow(1, 0, 1)).softmax(-1, None);
        let keys = joint.narrow(1, 1, self.dim);
        let values = joint.narrow(1, 1 + self.dim, self.dim);
        let context = (keys * scores).sum_dim_intlist(-1, true, None);
        self.output.forward(&(values.relu() * context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{check, deviation, fill, noise, parameters, store};
    use crate::models::blocks::{Linear, global_mean};
    use tch::Kind;

    fn published(width: f64) -> Shape {
        Shape { width, depths: PUBLISHED_DEPTHS }
    }

    #[test]
    fn sizes_are_the_published_ones() {
        for (width, total) in [
            (0.5, 1_370_593),
            (0.75, 2_866_009),
            (1.0, 4_901_841),
            (1.25, 7_478_089),
            (1.5, 10_594_753),
            (1.75, 14_251_833),
            (2.0, 18_449_329),
        ] {
            let store = store();
            let shape = published(width);
            MobileViTv2::new(&store.root(), shape);
            Linear::new(&(store.root() / "head" / "fc"), shape.channels(), 1000, Init::Uniform);
            assert_eq!(parameters(&store), total, "width {width}");
            assert_eq!(store.trainable_variables().len(), 194);
            // timm's 269, minus one counter for each of the 25 batch norms.
            assert_eq!(store.len(), 269 - 25);
        }
    }

    #[test]
    fn names_and_shapes_are_timms() {
        let store = store();
        MobileViTv2::new(&store.root(), published(0.5));
        let variables = store.variables();
        for (name, dims) in [
            ("stem.conv.weight", vec![16, 3, 3, 3]),
            ("stages.1.1.conv2_kxk.bn.running_mean", vec![128]),
            ("stages.2.1.conv_kxk.conv.weight", vec![128, 1, 3, 3]),
            ("stages.2.1.conv_1x1.weight", vec![64, 128, 1, 1]),
            ("stages.3.1.transformer.3.attn.qkv_proj.weight", vec![193, 96, 1, 1]),
            ("stages.3.1.transformer.3.mlp.fc1.bias", vec![192]),
            ("stages.4.1.norm.weight", vec![128]),
            ("stages.4.1.conv_proj.conv.weight", vec![256, 128, 1, 1]),
        ] {
            assert_eq!(variables[name].size(), dims, "{name}");
        }
    }

    #[test]
    fn attention_gives_the_golden_values() {
        let mut store = store();
        let attention = SeparableAttention::new(&store.root(), 6);
        fill(&mut store);
        check("lsa", &attention.forward(&(noise(205, &[2, 6, 4, 9]) * 3.0)), 1e-9);
    }

    #[test]
    fn block_gives_the_golden_values_and_makes_sizes_even() {
        let mut store = store();
        let block = MobileViTBlock::new(&store.root(), 8, 4, 2);
        fill(&mut store);
        check("mvblock_6x6", &block.forward(&(noise(206, &[2, 8, 6, 6]) * 3.0), Mode::Eval), 1e-9);
        let odd = block.forward(&(noise(207, &[2, 8, 7, 5]) * 3.0), Mode::Eval);
        assert_eq!(odd.size(), [2, 8, 8, 6]);
        check("mvblock_7x5", &odd, 1e-9);
    }

    #[test]
    fn whole_networks_give_the_golden_values() {
        for (width, size, name) in
            [(0.5, 64, "050_64"), (0.5, 112, "050_112"), (0.75, 64, "075_64"), (1.0, 64, "100_64")]
        {
            let mut store = store();
            let shape = published(width);
            let network = MobileViTv2::new(&store.root(), shape);
            let path = store.root() / "head" / "fc";
            let classifier = Linear::new(&path, shape.channels(), 1000, Init::Uniform);
            fill(&mut store);
            let images = noise(208, &[1, 3, size, size]) + 0.5;
            let pooled = global_mean(&network.forward(&images, Mode::Eval));
            check(&format!("mobilevitv2_{name}_pooled"), &pooled, 1e-9);
            let logits = classifier.forward(&pooled);
            check(&format!("mobilevitv2_{name}_logits"), &logits, 1e-9);
            store.float();
            let single = network.forward(&images.to_kind(Kind::Float), Mode::Eval);
            assert!(deviation(&classifier.forward(&global_mean(&single)), &logits) < 1e-4);
        }
    }

    #[test]
    fn folding_undoes_unfolding() {
        let map = noise(1, &[2, 3, 4, 6]);
        let patches = unfold(&map, 4, 6);
        assert_eq!(patches.size(), [2, 3, 4, 6]);
        // Second pixel of the first row: patch 0, second position.
        assert_eq!(patches.select(2, 1).select(2, 0), map.select(2, 0).select(2, 1));
        assert_eq!(fold(&patches, 4, 6), map);
    }
}
