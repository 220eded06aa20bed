//! ResNet18 and ResNet50 up to their last map (He et al., arXiv 1512.03385). Names are as in torchvision.
//!
//! `VGGFace2`'s weights have torchvision's names but need Caffe's topology: stride 2 in a stage's first 1×1 convolution
//! instead of its 3×3, and a stem pooling without padding that rounds up. Loading them into the other topology would
//! give wrong results without an error, so the topology is part of the architecture here.

use tch::Tensor;
use tch::nn::Path;

use super::blocks::{BatchNorm, Conv, Init, Mode, Window, relu};

/// The layers in which a ResNet50 halves its maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    Torchvision,
    /// As in ox-vgg/vgg_face2 and cydonia999/VGGFace2-pytorch, whose weights need it.
    Caffe,
}

/// The residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Two 3×3 convolutions (ResNet18).
    Basic,
    /// 1×1, 3×3, 1×1 with four times the channels (ResNet50).
    Bottleneck(Topology),
}

/// The names of a backbone's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// `conv1`, `bn1`, `layer1` … `layer4`.
    Torchvision,
    /// `0`, `1`, `4` … `7`: the children by position, as in yaoing/DAN.
    Position,
}

/// An architecture. The published ones have 64 channels in the first stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub block: Block,
    /// Blocks in each of the four stages.
    pub blocks: [u32; 4],
    /// Channels of the stem and base of the first stage.
    pub width: i64,
}

impl Shape {
    pub const fn resnet18(width: i64) -> Self {
        Self { block: Block::Basic, blocks: [2, 2, 2, 2], width }
    }

    pub const fn resnet50(width: i64, topology: Topology) -> Self {
        Self { block: Block::Bottleneck(topology), blocks: [3, 4, 6, 3], width }
    }

    /// Channels of the last map: 8 × width, or 32 × width for a bottleneck.
    pub const fn channels(&self) -> i64 {
        8 * self.width * self.expansion()
    }

    const fn expansion(&self) -> i64 {
        match self.block {
            Block::Basic => 1,
            Block::Bottleneck(_) => 4,
        }
    }
}

/// A ResNet without pooling and classifier.
#[derive(Debug)]
pub struct ResNet {
    stem: ConvNorm,
    pool: Pool,
    blocks: Vec<Residual>,
}

/// Padding and rounding of the stem's 3×3 pooling with stride 2.
#[derive(Debug, Clone, Copy)]
struct Pool {
    padding: i64,
    round_up: bool,
}

impl ResNet {
    pub fn new(path: &Path<'_>, shape: Shape, naming: Naming) -> Self {
        let names = match naming {
            Naming::Torchvision => ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"],
            Naming::Position => ["0", "1", "4", "5", "6", "7"],
        };
        let [conv, norm, stages @ ..] = names;
        let window = Window::square(3, shape.width, 7).stride(2);
        let stem = ConvNorm::new(&(path / conv), &(path / norm), window);
        let mut blocks = Vec::new();
        let mut inputs = shape.width;
        for (stage, name) in stages.into_iter().enumerate() {
            for index in 0..shape.blocks[stage] {
                let stride = if index == 0 && stage > 0 { 2 } else { 1 };
                let base = shape.width << stage;
                let outputs = base * shape.expansion();
                blocks.push(Residual::new(
                    &(path / name / index),
                    shape.block,
                    [inputs, base, outputs],
                    stride,
                ));
                inputs = outputs;
            }
        }
        let pool = match shape.block {
            Block::Basic | Block::Bottleneck(Topology::Torchvision) => Pool { padding: 1, round_up: false },
            Block::Bottleneck(Topology::Caffe) => Pool { padding: 0, round_up: true },
        };
        Self { stem, pool, blocks }
    }

    /// Images `[B, 3, h, w]` to the last map `[B, channels, h / 32, w / 32]`. If a side is not a multiple of 32, the
    /// topology decides whether it is rounded up or down.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Tensor {
        let Pool { padding, round_up } = self.pool;
        let stem = relu(self.stem.forward(images, mode));
        let map = stem.max_pool2d([3, 3], [2, 2], [padding, padding], [1, 1], round_up);
        self.blocks.iter().fold(map, |map, block| block.forward(&map, mode))
    }
}

/// A convolution without bias and its batch norm.
#[derive(Debug)]
struct ConvNorm {
    conv: Conv,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(conv: &Path<'_>, norm: &Path<'_>, window: Window) -> Self {
        let channels = window.outputs();
        Self { conv: Conv::new(conv, window, Init::KaimingFanOut), norm: BatchNorm::new(norm, channels) }
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        self.norm.forward(&self.conv.forward(input), mode)
    }
}

/// Convolutions with ReLU between them, plus the input, then ReLU.
#[derive(Debug)]
struct Residual {
    convs: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl Residual {
    fn new(path: &Path<'_>, block: Block, [inputs, base, outputs]: [i64; 3], stride: i64) -> Self {
        let windows = match block {
            Block::Basic => {
                vec![Window::square(inputs, base, 3).stride(stride), Window::square(base, base, 3)]
            }
            Block::Bottleneck(topology) => {
                let (first, second) = match topology {
                    Topology::Torchvision => (1, stride),
                    Topology::Caffe => (stride, 1),
                };
                vec![
                    Window::square(inputs, base, 1).stride(first),
                    Window::square(base, base, 3).stride(second),
                    Window::square(base, outputs, 1),
                ]
            }
        };
        let named = |(index, window)| {
            let number = index + 1;
            ConvNorm::new(&(path / format!("conv{number}")), &(path / format!("bn{number}")), window)
        };
        let convs = windows.into_iter().enumerate().map(named).collect();
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            let down = path / "downsample";
            ConvNorm::new(&(&down / "0"), &(&down / "1"), Window::square(inputs, outputs, 1).stride(stride))
        });
        Self { convs, downsample }
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        let mut map = input.shallow_clone();
        for (index, conv) in self.convs.iter().enumerate() {
            map = if index == 0 { conv.forward(&map, mode) } else { conv.forward(&relu(map), mode) };
        }
        map += match &self.downsample {
            Some(conv) => conv.forward(input, mode),
            None => input.shallow_clone(),
        };
        relu(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{check, deviation, fill, noise, parameters, store};
    use crate::models::blocks::{Linear, global_mean};

    const TORCHVISION: Shape = Shape::resnet50(64, Topology::Torchvision);
    const CAFFE: Shape = Shape::resnet50(64, Topology::Caffe);

    #[test]
    fn sizes_and_names_are_the_published_ones() {
        for (shape, total, tensors) in
            [(Shape::resnet18(64), 11_176_512, 100), (TORCHVISION, 23_508_032, 265), (CAFFE, 23_508_032, 265)]
        {
            let store = store();
            ResNet::new(&store.root(), shape, Naming::Torchvision);
            assert_eq!((parameters(&store), store.len()), (total, tensors));
        }
    }

    #[test]
    fn names_follow_torchvision_or_position() {
        for (naming, conv, norm) in [
            (Naming::Torchvision, "layer2.0.downsample.0.weight", "layer4.1.bn2.running_var"),
            (Naming::Position, "5.0.downsample.0.weight", "7.1.bn2.running_var"),
        ] {
            let store = store();
            ResNet::new(&store.root(), Shape::resnet18(64), naming);
            let variables = store.variables();
            assert_eq!(variables[conv].size(), [128, 64, 1, 1]);
            assert_eq!(variables[norm].size(), [512]);
        }
    }

    #[test]
    fn resnet50_gives_the_golden_values_in_both_topologies() {
        let images = noise(204, &[1, 3, 64, 64]) * 4.0;
        for (shape, feature) in [(TORCHVISION, "r50_tv_feat"), (CAFFE, "r50_caffe_feat")] {
            let mut store = store();
            let network = ResNet::new(&store.root(), shape, Naming::Torchvision);
            let classifier = Linear::new(&(store.root() / "fc"), 2048, 1000, Init::Uniform);
            fill(&mut store);
            let map = network.forward(&images, Mode::Eval);
            assert_eq!(map.size(), [1, 2048, 2, 2]);
            check(feature, &map, 1e-9);
            if shape == TORCHVISION {
                check("r50_tv_fc", &classifier.forward(&global_mean(&map)), 1e-9);
            }
            store.float();
            let single = network.forward(&images.to_kind(tch::Kind::Float), Mode::Eval);
            assert!(deviation(&single, &map) < 1e-4);
        }
    }

    #[test]
    fn topologies_round_an_odd_side_differently() {
        let store = store();
        let sizes = [Topology::Torchvision, Topology::Caffe].map(|topology| {
            let shape = Shape { blocks: [1; 4], ..Shape::resnet50(4, topology) };
            let network = ResNet::new(&(store.root() / format!("{topology:?}")), shape, Naming::Torchvision);
            network
                .forward(&Tensor::zeros([1, 3, 65, 65], (tch::Kind::Float, tch::Device::Cpu)), Mode::Eval)
                .size()
        });
        // The pooling reduces the stem's 33 to 17 with padding, and to 16 without.
        assert_eq!(sizes, [[1, 128, 3, 3], [1, 128, 2, 2]]);
    }
}
