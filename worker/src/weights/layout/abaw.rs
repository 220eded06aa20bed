//! The authors' two-branch network (Yeonggi-hong/ECCV2022-ABAW-competition), with the names that `MTL_finetuning` saves.
//!
//! `em_feature` is DAN on VGGFace2's ResNet50. It also contains an unused DAN classifier and backbone, which are dropped.
//! `lm_feature` is VGGFace2's ResNet50 (`base.0` …), a torchvision ResNet50 with a linear layer, or cvnets' MobileViTv2
//! with numbered children.

use shared::mtl::network::{Backbone, NetworkSpec};

use super::mobilevitv2::{FinalNorms, cvnets, shape_below};
use super::{Disposition, LayoutError, Shapes, dan};

const DEAD: &str = "a layer that the authors' forward pass never calls";
const CHILDREN: [&str; 8] = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"];

pub(super) fn name(name: &str, norms: &FinalNorms) -> Disposition {
    let parts: Vec<&str> = name.split('.').collect();
    let named = |prefix: &str, rest: &[&str]| Disposition::Named(format!("{prefix}.{}", rest.join(".")));
    match parts.as_slice() {
        ["em_feature", "features", "0", rest @ ..] => named("emotion.features", rest),
        ["em_feature", "conv1x1_1", rest @ ..] => named("emotion.reduce.0", rest),
        ["em_feature", "conv1x1_2", rest @ ..] => named("emotion.reduce.1", rest),
        ["em_feature", "model", head, rest @ ..] if head.starts_with("cat_head") => {
            named(&format!("emotion.{head}"), rest)
        }
        ["em_feature", "model", "features" | "fc" | "bn", ..] | ["em_feature", "fc" | "bn", ..] => {
            Disposition::Dropped(DEAD)
        }
        ["em_fc" | "lm_fc", ..] => Disposition::Dropped(DEAD),
        ["conv1x1_lm", rest @ ..] => named("appearance.project", rest),
        ["classfier", rest @ ..] => named("shared", rest),
        ["lm_feature", "base", child, rest @ ..] => {
            match child.parse().ok().and_then(|index: usize| CHILDREN.get(index)) {
                Some(child) => named(&format!("appearance.features.{child}"), rest),
                None => Disposition::Unknown,
            }
        }
        ["lm_feature", "fc", field] => Disposition::Named(format!("appearance.project.0.{field}")),
        ["lm_feature", "0", ..] => match cvnets_name(&parts).map(|name| cvnets(&name, norms)) {
            Some(Disposition::Named(name)) => Disposition::Named(format!("appearance.features.{name}")),
            Some(Disposition::Dropped(reason)) => Disposition::Dropped(reason),
            Some(Disposition::Unknown) | None => Disposition::Unknown,
        },
        ["lm_feature", child, rest @ ..] if CHILDREN.contains(child) => {
            named(&format!("appearance.features.{child}"), rest)
        }
        _ => Disposition::Unknown,
    }
}

/// The MobileViTv2 of the landmark branch with cvnets' own names.
pub(super) fn as_cvnets(shapes: &Shapes) -> Shapes {
    let of = |(name, shape): (&String, &Vec<usize>)| {
        Some((cvnets_name(&name.split('.').collect::<Vec<_>>())?, shape.clone()))
    };
    shapes.iter().filter_map(of).collect()
}

/// `lm_feature.0.0` is `conv_1`, `lm_feature.0.n` is `layer_n`.
fn cvnets_name(parts: &[&str]) -> Option<String> {
    match parts {
        ["lm_feature", "0", "0", rest @ ..] => Some(format!("conv_1.{}", rest.join("."))),
        ["lm_feature", "0", layer @ ("1" | "2" | "3" | "4" | "5"), rest @ ..] => {
            Some(format!("layer_{layer}.{}", rest.join(".")))
        }
        _ => None,
    }
}

/// The network with the backbones that the names imply. In the authors' code, only VGGFace2's has DAN's heads.
pub(super) fn network(given: &Shapes, renamed: &Shapes) -> Result<NetworkSpec, LayoutError> {
    let any = |start: &str| given.keys().any(|name| name.starts_with(start));
    if !any("em_feature.features.0.") || !any("em_feature.model.cat_head") {
        return Err(LayoutError::Unknown(given.keys().take(3).cloned().collect()));
    }
    let emotion = super::resnet::size(renamed, "emotion.features.0.weight", "emotion.features.", 4);
    let mut spec = NetworkSpec {
        emotion_backbone: Backbone::Vggface2Resnet50,
        backbone: Backbone::Vggface2Resnet50,
        width: emotion.width,
        blocks: Some(emotion.blocks),
        heads: dan::heads(renamed),
        ..NetworkSpec::default()
    };
    if any("lm_feature.0.") {
        let shape = shape_below(renamed, "appearance.features.");
        spec.backbone = Backbone::Mobilevitv2;
        spec.mobilevitv2_width = shape.width;
        spec.mobilevitv2_depths = Some(shape.depths);
    } else if any("lm_feature.conv1.") {
        spec.backbone = Backbone::DinoResnet50;
    }
    Ok(spec)
}
