//! DAN's names, which Ferry's emotion branch also uses.

use super::{CLASSIFIER, Disposition, Shapes};

pub(super) fn name(name: &str) -> Disposition {
    let top = name.split('.').next().unwrap_or_default();
    match top {
        "features" => Disposition::Named(format!("emotion.{name}")),
        "fc" | "bn" => Disposition::Dropped(CLASSIFIER),
        _ if top.starts_with("cat_head") => Disposition::Named(format!("emotion.{name}")),
        _ => Disposition::Unknown,
    }
}

/// Number of attention heads.
pub(super) fn heads(renamed: &Shapes) -> u32 {
    let index = |name: &String| name.strip_prefix("emotion.cat_head")?.split('.').next()?.parse::<u32>().ok();
    renamed.keys().filter_map(index).max().map_or(0, |last| (last + 1).min(64))
}
