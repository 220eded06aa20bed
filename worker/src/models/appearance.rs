//! The appearance branch: from an image to the vector from which the landmarks are predicted (paper section 2.2).
//!
//! The projection of each backbone's map to a vector follows Yeonggi-hong/ECCV2022-ABAW-competition.

use shared::mtl::network::{Backbone, NetworkSpec};
use tch::Tensor;
use tch::nn::Path;

use super::Architecture;
use super::blocks::{BatchNorm, Conv, Init, Linear, Mode, Window, global_mean};
use super::mobilevitv2::MobileViTv2;
use super::resnet::{Naming, ResNet};

/// The backbone and the projection to D channels.
#[derive(Debug)]
pub struct Appearance {
    features: Features,
    project: Projection,
}

#[derive(Debug)]
enum Features {
    ResNet(ResNet),
    MobileViTv2(MobileViTv2),
}

#[derive(Debug)]
enum Projection {
    /// The mean of the map, which already has D channels (ResNet18).
    Mean,
    /// The mean of the map, then a linear layer (DINO's ResNet50).
    Linear(Linear),
    /// 1×1 convolution and batch norm, then the mean (VGGFace2's ResNet50, MobileViTv2).
    Conv(Conv, BatchNorm),
}

impl Appearance {
    /// Variable names: torchvision's or timm's names below `features`, then `project.0` and `project.1`.
    pub fn new(path: &Path<'_>, spec: &NetworkSpec, dim: i64) -> Self {
        let (features, project) = (path / "features", path / "project");
        let (features, channels) = match Architecture::of(spec.backbone, spec) {
            Architecture::ResNet(shape) => {
                (Features::ResNet(ResNet::new(&features, shape, Naming::Torchvision)), shape.channels())
            }
            Architecture::MobileViTv2(shape) => {
                (Features::MobileViTv2(MobileViTv2::new(&features, shape)), shape.channels())
            }
        };
        let project = match spec.backbone {
            Backbone::Resnet18 => Projection::Mean,
            Backbone::DinoResnet50 => {
                Projection::Linear(Linear::new(&(&project / 0), channels, dim, Init::Uniform))
            }
            Backbone::Vggface2Resnet50 | Backbone::Mobilevitv2 => {
                let window = Window::square(channels, dim, 1);
                let conv = Conv::with_bias(&(&project / 0), window, Init::Uniform);
                Projection::Conv(conv, BatchNorm::new(&(&project / 1), dim))
            }
        };
        Self { features, project }
    }

    /// Images `[B, 3, S, S]` to vectors `[B, D]`.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Tensor {
        let map = match &self.features {
            Features::ResNet(network) => network.forward(images, mode),
            Features::MobileViTv2(network) => network.forward(images, mode),
        };
        match &self.project {
            Projection::Mean => global_mean(&map),
            Projection::Linear(linear) => linear.forward(&global_mean(&map)),
            Projection::Conv(conv, norm) => global_mean(&norm.forward(&conv.forward(&map), mode)),
        }
    }
}
