//! MobileViTv2's names: timm's, which Ferry also uses, and those of cvnets.

use std::collections::BTreeMap;

use super::{CLASSIFIER, Disposition, Shapes};
use crate::models::mobilevitv2::Shape;

pub(super) fn timm(name: &str) -> Disposition {
    match name.split('.').next().unwrap_or_default() {
        "stem" | "stages" => Disposition::Named(name.to_owned()),
        "head" => Disposition::Dropped(CLASSIFIER),
        _ => Disposition::Unknown,
    }
}

/// In cvnets, the last norm of a stage is the entry after its transformers. This maps each layer to that entry's number.
pub(super) type FinalNorms = BTreeMap<String, usize>;

/// The final norm of each of cvnets' layers.
pub(super) fn final_norms(shapes: &Shapes) -> FinalNorms {
    let mut last = FinalNorms::new();
    for name in shapes.keys() {
        let parts: Vec<&str> = name.split('.').collect();
        if let [layer, "1", "global_rep", index, "weight" | "bias"] = parts.as_slice()
            && let Ok(index) = index.parse()
        {
            last.insert((*layer).to_owned(), index);
        }
    }
    last
}

pub(super) fn cvnets(name: &str, final_norms: &FinalNorms) -> Disposition {
    let parts: Vec<&str> = name.split('.').collect();
    let named = |new: Option<String>| new.map_or(Disposition::Unknown, Disposition::Named);
    match parts.as_slice() {
        ["classifier", ..] => Disposition::Dropped(CLASSIFIER),
        ["conv_1", "block", rest @ ..] => named(conv_norm("stem", rest)),
        [layer, block, rest @ ..] if layer.starts_with("layer_") => {
            let stage =
                layer["layer_".len()..].parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let Some(stage) = stage else { return Disposition::Unknown };
            let path = format!("stages.{stage}.{block}");
            named(within_block(&path, rest, final_norms.get(*layer).copied()))
        }
        _ => Disposition::Unknown,
    }
}

fn within_block(path: &str, rest: &[&str], final_norm: Option<usize>) -> Option<String> {
    let at = |part: &str, rest: &[&str]| conv_norm(&format!("{path}.{part}"), rest);
    match rest {
        ["block", "exp_1x1", "block", rest @ ..] => at("conv1_1x1", rest),
        ["block", "conv_3x3", "block", rest @ ..] => at("conv2_kxk", rest),
        ["block", "red_1x1", "block", rest @ ..] => at("conv3_1x1", rest),
        ["local_rep", "0", "block", rest @ ..] => at("conv_kxk", rest),
        ["local_rep", "1", "block", "conv", field] => Some(format!("{path}.conv_1x1.{field}")),
        ["conv_proj", "block", rest @ ..] => at("conv_proj", rest),
        ["global_rep", index, field] if index.parse().ok() == final_norm => {
            Some(format!("{path}.norm.{field}"))
        }
        ["global_rep", index, rest @ ..] => {
            index.parse::<usize>().ok()?;
            let inner = match rest {
                ["pre_norm_attn", "0", field] => format!("norm1.{field}"),
                ["pre_norm_attn", "1", conv @ ("qkv_proj" | "out_proj"), "block", "conv", field] => {
                    format!("attn.{conv}.{field}")
                }
                ["pre_norm_ffn", "0", field] => format!("norm2.{field}"),
                ["pre_norm_ffn", "1", "block", "conv", field] => format!("mlp.fc1.{field}"),
                ["pre_norm_ffn", "3", "block", "conv", field] => format!("mlp.fc2.{field}"),
                _ => return None,
            };
            Some(format!("{path}.transformer.{index}.{inner}"))
        }
        _ => None,
    }
}

/// cvnets' `conv` and `norm` are timm's `conv` and `bn`.
fn conv_norm(path: &str, rest: &[&str]) -> Option<String> {
    match rest {
        ["conv", field] => Some(format!("{path}.conv.{field}")),
        ["norm", field] => Some(format!("{path}.bn.{field}")),
        _ => None,
    }
}

/// Width and depths of the network with these timm names.
pub(super) fn shape(renamed: &Shapes) -> Shape {
    shape_below(renamed, "")
}

/// The same for names that start with `prefix`.
pub(super) fn shape_below(renamed: &Shapes, prefix: &str) -> Shape {
    let stem = renamed.get(&format!("{prefix}stem.conv.weight")).and_then(|shape| shape.first());
    let width = stem.map_or(1.0, |&channels| channels.clamp(4, 128) as f64 / 32.0);
    let depths = std::array::from_fn(|index| {
        let transformers = format!("{prefix}stages.{}.1.transformer.", index + 2);
        let block = |name: &String| name.strip_prefix(&transformers)?.split('.').next()?.parse::<u32>().ok();
        renamed.keys().filter_map(block).max().map_or(1, |last| (last + 1).min(16))
    });
    Shape { width, depths }
}
