//! The networks, one per file, with the parameter names of the published code.
//!
//! Variables of the whole network: `emotion` (`features`, `reduce`, `cat_head0` …), `appearance` (`features`,
//! `project`), `shared` (`sharedfc1`, `sharedbn1`, … `fc`, `bn`, `encode1`, `encode2`), `affinity.centres`.

pub mod appearance;
pub mod blocks;
pub mod dan;
pub mod mobilevitv2;
pub mod mtl;
mod onednn;
pub mod resnet;

use shared::mtl::network::{Backbone, NetworkSpec};

pub use blocks::Mode;
pub use mtl::{Emotion, Mtl};

/// A network that cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("`emotion_backbone`: the emotion branch needs a ResNet, not MobileViTv2")]
    EmotionBackbone,
}

/// A backbone with its size.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Architecture {
    ResNet(resnet::Shape),
    MobileViTv2(mobilevitv2::Shape),
}

impl Architecture {
    fn of(backbone: Backbone, spec: &NetworkSpec) -> Self {
        let width = i64::from(spec.width);
        let published = match backbone {
            Backbone::Vggface2Resnet50 => resnet::Shape::resnet50(width, resnet::Topology::Caffe),
            Backbone::DinoResnet50 => resnet::Shape::resnet50(width, resnet::Topology::Torchvision),
            Backbone::Resnet18 => resnet::Shape::resnet18(width),
            Backbone::Mobilevitv2 => {
                let depths = spec.mobilevitv2_depths.unwrap_or(mobilevitv2::PUBLISHED_DEPTHS);
                return Self::MobileViTv2(mobilevitv2::Shape { width: spec.mobilevitv2_width, depths });
            }
        };
        Self::ResNet(resnet::Shape { blocks: spec.blocks.unwrap_or(published.blocks), ..published })
    }
}
