//! Weights that a job starts from instead of random ones, named by their content.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Drop, Irrelevant};
use crate::blob::digest;
use crate::settings::Problem;

/// A part of the network that a file of weights can fill. Each slot has a setting of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The backbone of the emotion branch.
    Emotion,
    /// The backbone of the appearance branch.
    Appearance,
    /// All attention heads.
    Heads,
}

impl Slot {
    pub const ALL: [Self; 3] = [Self::Emotion, Self::Appearance, Self::Heads];

    /// The setting that names the file.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Emotion => "emotion_weights",
            Self::Appearance => "appearance_weights",
            Self::Heads => "head_weights",
        }
    }

    /// Prefix of the names of the variables that the slot fills.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Emotion => "emotion.features.",
            Self::Appearance => "appearance.features.",
            Self::Heads => "emotion.cat_head",
        }
    }
}

/// Files of weights that fill parts of the network before the first epoch.
///
/// A sweep file names a path; the plan turns it into `sha256:` and the digest of the file's bytes, so that a job's
/// identity is the content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TransferSpec {
    /// Weights of the emotion branch's backbone: a file from `ferry-worker weights convert` or a trained model, as a
    /// path relative to the sweep file's folder or as `sha256:` and 64 hexadecimal digits; null draws random weights.
    pub emotion_weights: Option<String>,
    /// Weights of the appearance branch's backbone, named in the same way.
    pub appearance_weights: Option<String>,
    /// Weights of all attention heads, named in the same way.
    pub head_weights: Option<String>,
}

impl TransferSpec {
    /// The setting of `slot`.
    pub const fn get(&self, slot: Slot) -> Option<&String> {
        match slot {
            Slot::Emotion => self.emotion_weights.as_ref(),
            Slot::Appearance => self.appearance_weights.as_ref(),
            Slot::Heads => self.head_weights.as_ref(),
        }
    }

    /// Slots to fill, each with the digest of its file.
    pub fn digests(&self) -> impl Iterator<Item = (Slot, &str)> {
        Slot::ALL.into_iter().filter_map(|slot| Some((slot, digest(self.get(slot)?)?)))
    }

    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        for slot in Slot::ALL {
            let good = self.get(slot).is_none_or(|name| digest(name).is_some());
            Problem::unless(good, problems, slot.setting(), "must be `sha256:` and 64 hexadecimal digits");
        }
    }

    pub(super) fn irrelevant(&self, drop: &mut Drop<'_>) {
        for slot in Slot::ALL {
            if self.get(slot).is_none() {
                drop(&[slot.setting()], Irrelevant::Default);
            }
        }
    }
}
