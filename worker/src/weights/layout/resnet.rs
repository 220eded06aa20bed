//! ResNets: torchvision's names, and the original names of VGGFace2's weights.

use shared::mtl::network::Backbone;
use shared::weights::Topology;

use super::{CLASSIFIER, Declared, Disposition, Layout, LayoutError, Shapes, Size};

/// People in VGGFace2's training set. Only its classifier has this many rows.
const IDENTITIES: usize = 8631;

/// torchvision's names, which Ferry also uses.
pub(super) fn torchvision(name: &str) -> Disposition {
    let top = name.split('.').next().unwrap_or_default();
    match top {
        "conv1" | "bn1" | "layer1" | "layer2" | "layer3" | "layer4" => Disposition::Named(name.to_owned()),
        "fc" => Disposition::Dropped(CLASSIFIER),
        _ => Disposition::Unknown,
    }
}

/// Names such as `conv{s}_{i}_1x1_reduce`: stage s − 1, block i − 1.
pub(super) fn ox_vgg(name: &str) -> Disposition {
    let Some((layer, field)) = name.rsplit_once('.') else { return Disposition::Unknown };
    if layer.starts_with("classifier") {
        return Disposition::Dropped(CLASSIFIER);
    }
    let (layer, is_norm) = layer.strip_suffix("_bn").map_or((layer, false), |layer| (layer, true));
    let named =
        |conv: &str, norm: &str| Disposition::Named(format!("{}.{field}", if is_norm { norm } else { conv }));
    if layer == "conv1_7x7_s2" {
        return named("conv1", "bn1");
    }
    let parts = layer.strip_prefix("conv").and_then(|rest| {
        let (stage, rest) = rest.split_once('_')?;
        let (block, part) = rest.split_once('_')?;
        let number = |text: &str| text.parse::<u32>().ok();
        Some((number(stage)?.checked_sub(1)?, number(block)?.checked_sub(1)?, part))
    });
    let Some((stage, block, part)) = parts else { return Disposition::Unknown };
    let block = format!("layer{stage}.{block}");
    let (conv, norm) = match part {
        "1x1_reduce" => ("conv1", "bn1"),
        "3x3" => ("conv2", "bn2"),
        "1x1_increase" => ("conv3", "bn3"),
        "1x1_proj" => ("downsample.0", "downsample.1"),
        _ => return Disposition::Unknown,
    };
    named(&format!("{block}.{conv}"), &format!("{block}.{norm}"))
}

/// Which ResNet it is. The names do not tell the topology of a bottleneck, so it must follow from other evidence or be
/// declared.
pub(super) fn settle(
    layout: Layout,
    shapes: &Shapes,
    declared: Declared,
) -> Result<(Layout, Backbone), LayoutError> {
    let bottleneck = shapes.contains_key("layer1.0.conv3.weight") || layout == Layout::OxVgg;
    if !bottleneck {
        return Ok((Layout::Torchvision, Backbone::Resnet18));
    }
    let identities = shapes.get("fc.weight").and_then(|shape| shape.first()) == Some(&IDENTITIES);
    let evidence = if layout == Layout::OxVgg {
        Some(("the names are those of ox-vgg's Caffe model", Topology::Caffe))
    } else if identities {
        Some(("its classifier has VGGFace2's 8631 identities", Topology::Caffe))
    } else if declared.is_dino {
        Some(("it is a checkpoint of DINO's training", Topology::Torchvision))
    } else {
        None
    };
    let by_layout = match declared.layout {
        Some(Layout::Torchvision | Layout::Dino) => Some(Topology::Torchvision),
        Some(Layout::Vggface2 | Layout::OxVgg) => Some(Topology::Caffe),
        _ => None,
    };
    let mut topologies =
        [evidence, by_layout.map(|t| ("--layout says so", t)), declared.topology.map(|t| ("", t))]
            .into_iter()
            .flatten();
    let Some((why, topology)) = topologies.next() else { return Err(LayoutError::Topology) };
    if let Some((_, other)) = topologies.find(|(_, other)| *other != topology) {
        return Err(LayoutError::Contradiction { why, known: topology, declared: other });
    }
    Ok(match topology {
        Topology::Caffe if layout == Layout::OxVgg => (layout, Backbone::Vggface2Resnet50),
        Topology::Caffe => (Layout::Vggface2, Backbone::Vggface2Resnet50),
        Topology::Torchvision if declared.is_dino || declared.layout == Some(Layout::Dino) => {
            (Layout::Dino, Backbone::DinoResnet50)
        }
        Topology::Torchvision => (Layout::Torchvision, Backbone::DinoResnet50),
    })
}

/// The size according to the names and the shape of the first convolution. Stage s is named `{stages}{first + s}.`.
pub(super) fn size(shapes: &Shapes, stem: &str, stages: &str, first: usize) -> Size {
    let width = shapes.get(stem).and_then(|shape| shape.first()).copied().unwrap_or(64);
    let blocks = std::array::from_fn(|stage| {
        let prefix = format!("{stages}{}.", first + stage);
        let block = |name: &String| name.strip_prefix(&prefix)?.split('.').next()?.parse::<u32>().ok();
        shapes.keys().filter_map(block).max().map_or(1, |last| (last + 1).min(MOST_BLOCKS))
    });
    Size { width: (width as u32).clamp(4, MOST_WIDTH), blocks }
}

/// More than any ResNet has. A name in a damaged file must not lead to a network that fills the memory.
const MOST_BLOCKS: u32 = 36;
const MOST_WIDTH: u32 = 128;
