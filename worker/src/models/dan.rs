//! The emotion branch: DAN, "Distract Your Attention" (Wen et al., arXiv 2109.07270). Names are as in yaoing/DAN.

use shared::mtl::network::HeadFusion;
use tch::nn::Path;
use tch::{Kind, Tensor};

use super::blocks::{BatchNorm, Conv, Init, Linear, Mode, Window, at_least_single, relu};
use super::resnet::{Naming, ResNet, Shape};

/// Deviation of the initial weights of a head's linear layers.
const LINEAR_DEVIATION: f64 = 0.001;

/// Backbone, reductions if the backbone has too many channels, and attention heads.
#[derive(Debug)]
pub struct Dan {
    features: ResNet,
    reduce: Vec<Reduction>,
    attention: Attention,
}

/// The outputs of the emotion branch before the shared layers. D is 8 × the backbone's width.
#[derive(Debug)]
pub struct DanOutput {
    /// `[B, D, h, w]`, the input of the heads and of the affinity loss.
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

/// 1×1 convolution to half the channels, batch norm, ReLU. Two of them reduce ResNet50's map to the channels of DAN's
/// heads (Yeonggi-hong/ECCV2022-ABAW-competition).
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
    /// DAN multiplies the feature by each head's map and averages over the positions. Here that is one matrix product
    /// of all maps with the feature, which makes no weighted copies of the feature.
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

    /// Head vectors `[B, K, D]` to their sum `[B, D]`. With [`HeadFusion::LogSoftmax`], several heads go through a
    /// log-softmax over K first.
    pub fn fuse(&self, heads: &Tensor) -> Tensor {
        let sum = |heads: &Tensor| heads.sum_dim_intlist(1, false, None);
        match self.fusion {
            HeadFusion::LogSoftmax if self.heads.len() > 1 => {
                sum(&at_least_single(heads).log_softmax(1, None))
            }
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

/// Where a head looks: one weight per position.
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::golden::{check, close, deviation, fill, noise, number, parameters, store};
    use tch::nn::VarStore;

    /// The published network, with its own classifier for eight expressions.
    pub(crate) struct Published {
        dan: Dan,
        classifier: Linear,
        norm: BatchNorm,
    }

    impl Published {
        pub(crate) fn new(store: &VarStore) -> Self {
            let root = store.root();
            Self {
                dan: Dan::new(&root, Shape::resnet18(64), 4, HeadFusion::LogSoftmax),
                classifier: Linear::new(&(&root / "fc"), 512, 8, Init::Uniform),
                norm: BatchNorm::new(&(&root / "bn"), 8),
            }
        }

        pub(crate) fn forward(&self, images: &Tensor, mode: Mode) -> (Tensor, DanOutput) {
            let output = self.dan.forward(images, mode);
            (self.norm.forward(&self.classifier.forward(&output.fused), mode), output)
        }
    }

    #[test]
    fn size_and_names_are_the_published_ones() {
        let store = store();
        Published::new(&store);
        assert_eq!(parameters(&store), 19_724_248);
        // 275 in PyTorch, minus one counter for each of the 41 batch norms.
        assert_eq!(store.len(), 275 - 41);
        let variables = store.variables();
        for (name, dims) in [
            ("features.0.weight", vec![64, 3, 7, 7]),
            ("features.4.1.bn2.running_var", vec![64]),
            ("cat_head0.sa.conv1x1.0.weight", vec![256, 512, 1, 1]),
            ("cat_head1.sa.conv_3x3.0.weight", vec![512, 256, 3, 3]),
            ("cat_head2.sa.conv_1x3.0.weight", vec![512, 256, 1, 3]),
            ("cat_head3.sa.conv_3x1.0.weight", vec![512, 256, 3, 1]),
            ("cat_head3.ca.attention.0.weight", vec![32, 512]),
            ("cat_head3.ca.attention.1.running_mean", vec![32]),
            ("cat_head3.ca.attention.3.bias", vec![512]),
        ] {
            assert_eq!(variables[name].size(), dims, "{name}");
        }
        let head = variables.iter().filter(|(name, _)| name.starts_with("cat_head0."));
        let trainable = head.filter(|(_, variable)| variable.requires_grad());
        assert_eq!(trainable.map(|(_, variable)| variable.numel()).sum::<usize>(), 2_135_904);
    }

    #[test]
    fn one_head_gives_the_golden_values() {
        let mut store = store();
        let attention = Attention::new(&store.root(), 512, 1, HeadFusion::LogSoftmax);
        fill(&mut store);
        let feature = noise(200, &[2, 512, 3, 3]);
        check("head_eval", &attention.forward(&feature, Mode::Eval).select(1, 0), 1e-9);
        check("head_train", &attention.forward(&feature, Mode::TRAIN).select(1, 0), 1e-9);
        let mean = &store.variables()["cat_head0.sa.conv1x1.1.running_mean"];
        close("running mean", mean.double_value(&[0]), number("head_train_rm_conv1x1"), 1e-12);
    }

    #[test]
    fn the_whole_network_gives_the_golden_values() {
        let mut store = store();
        let network = Published::new(&store);
        fill(&mut store);
        let images = noise(201, &[2, 3, 64, 64]) * 4.0;
        let (logits, output) = network.forward(&images, Mode::Eval);
        check("dan_eval_logits", &logits, 1e-7);
        check("dan_eval_feat", &output.feature, 1e-9);
        check("dan_eval_heads_logsm", &output.heads.log_softmax(1, None), 1e-7);
        store.float();
        let (single, _) = network.forward(&images.to_kind(Kind::Float), Mode::Eval);
        assert!(deviation(&single, &logits) < 1e-4);
        fill(&mut store);
        let (logits, _) = network.forward(&images, Mode::TRAIN);
        check("dan_train_logits", &logits, 1e-9);
    }

    #[test]
    fn heads_fuse_by_sum_or_after_a_log_softmax() {
        let store = store();
        let heads = noise(3, &[2, 4, 16]);
        let [log, sum] = [HeadFusion::LogSoftmax, HeadFusion::Sum].map(|fusion| {
            Attention::new(&(store.root() / format!("{fusion:?}")), 16, 4, fusion).fuse(&heads)
        });
        let shift = heads.logsumexp([1i64].as_slice(), false) * 4.0;
        assert!(deviation(&log, &(sum - shift)) < 1e-12);
        let alone = Attention::new(&(store.root() / "alone"), 16, 1, HeadFusion::LogSoftmax);
        let head = heads.narrow(1, 0, 1);
        assert_eq!(alone.fuse(&head), head.select(1, 0));
    }
}
