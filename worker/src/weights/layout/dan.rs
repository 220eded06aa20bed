//! DAN's names: those of Ferry's emotion branch.

use super::{CLASSIFIER, Fate, Shapes};

pub(super) fn name(name: &str) -> Fate {
    let top = name.split('.').next().unwrap_or_default();
    match top {
        "features" => Fate::Named(format!("emotion.{name}")),
        "fc" | "bn" => Fate::Dropped(CLASSIFIER),
        _ if top.starts_with("cat_head") => Fate::Named(format!("emotion.{name}")),
        _ => Fate::Unknown,
    }
}

/// Number of attention heads.
pub(super) fn heads(renamed: &Shapes) -> u32 {
    let index = |name: &String| name.strip_prefix("emotion.cat_head")?.split('.').next()?.parse::<u32>().ok();
    renamed.keys().filter_map(index).max().map_or(0, |last| (last + 1).min(64))
}
