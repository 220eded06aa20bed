//! The names and shapes that a weights file must have, found by building the parts of a network.

use std::collections::BTreeMap;

use shared::mtl::network::{Backbone, HeadFusion, NetworkSpec};
use tch::Device;
use tch::nn::VarStore;

use crate::models::dan::Dan;
use crate::models::mobilevitv2::{self, MobileViTv2};
use crate::models::resnet::{self, Naming, ResNet, Topology};
use crate::models::{ModelError, Mtl};

/// Shapes by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Width and blocks of a ResNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub blocks: [u32; 4],
}

/// A ResNet under torchvision's names.
pub(super) fn resnet(backbone: Backbone, size: Size) -> Shapes {
    let store = VarStore::new(Device::Cpu);
    ResNet::new(&store.root(), shape(backbone, size), Naming::Torchvision);
    shapes(&store)
}

/// A MobileViTv2 under timm's names.
pub(super) fn mobilevitv2(shape: mobilevitv2::Shape) -> Shapes {
    let store = VarStore::new(Device::Cpu);
    MobileViTv2::new(&store.root(), shape);
    shapes(&store)
}

/// An emotion branch, below `emotion`.
pub(super) fn dan(backbone: Backbone, size: Size, heads: u32) -> Shapes {
    let store = VarStore::new(Device::Cpu);
    Dan::new(&(store.root() / "emotion"), shape(backbone, size), heads, HeadFusion::LogSoftmax);
    shapes(&store)
}

/// A whole network.
pub(super) fn mtl(spec: &NetworkSpec) -> Result<Shapes, ModelError> {
    let store = VarStore::new(Device::Cpu);
    Mtl::new(&store.root(), spec)?;
    Ok(shapes(&store))
}

fn shape(backbone: Backbone, Size { width, blocks }: Size) -> resnet::Shape {
    let width = i64::from(width);
    let published = match backbone {
        Backbone::Resnet18 | Backbone::Mobilevitv2 => resnet::Shape::resnet18(width),
        Backbone::DinoResnet50 => resnet::Shape::resnet50(width, Topology::Torchvision),
        Backbone::Vggface2Resnet50 => resnet::Shape::resnet50(width, Topology::Caffe),
    };
    resnet::Shape { blocks, ..published }
}

fn shapes(store: &VarStore) -> Shapes {
    let of = |(name, tensor): (String, tch::Tensor)| {
        (name, tensor.size().iter().map(|&length| length as usize).collect())
    };
    store.variables().into_iter().map(of).collect()
}
