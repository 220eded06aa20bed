//! The network's shape: emotion branch, appearance branch, shared layers (paper section 2.2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Drop, Irrelevant};
use crate::settings::Problem;

/// A backbone's architecture. Pre-trained weights are a separate matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backbone {
    /// ResNet50 with Caffe's strides and pooling, as the `VGGFace2` weights need.
    Vggface2Resnet50,
    /// ResNet50 in torchvision's topology, as DINO's weights need.
    DinoResnet50,
    /// ResNet18 in torchvision's topology.
    Resnet18,
    /// MobileViTv2; its width is a setting of its own. Appearance branch only.
    Mobilevitv2,
}

/// How the attention heads become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadFusion {
    /// Log-softmax over the heads, then their sum (DAN as published).
    LogSoftmax,
    /// The plain sum (the authors' released code).
    Sum,
}

/// Which batch statistics the shared layers' batch norms keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SharedStatistics {
    /// One set of running buffers, updated by the emotion branch, then the landmark branch.
    Shared,
    /// The same affine weights, running buffers per branch.
    Separate,
}

/// The network of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkSpec {
    /// Backbone of the appearance branch.
    pub backbone: Backbone,
    /// Backbone of the emotion branch (DAN).
    pub emotion_backbone: Backbone,
    /// Channels of a ResNet's first stage; 64 is the published network. Every other width follows: the emotion
    /// feature has 8 × width channels.
    pub width: u32,
    /// Blocks in each of a ResNet's four stages; null is the published depth.
    pub blocks: Option<[u32; 4]>,
    /// Width multiplier of MobileViTv2 (0.5 to 2.0 in the publication).
    pub mobilevitv2_width: f64,
    /// Transformer blocks in the last three stages of MobileViTv2; null is the published (2, 4, 3).
    pub mobilevitv2_depths: Option<[u32; 3]>,
    /// Cross-attention heads of DAN (paper Table 1).
    pub heads: u32,
    pub head_fusion: HeadFusion,
    pub shared_statistics: SharedStatistics,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            backbone: Backbone::Vggface2Resnet50,
            emotion_backbone: Backbone::Vggface2Resnet50,
            width: 64,
            blocks: None,
            mobilevitv2_width: 2.0,
            mobilevitv2_depths: None,
            heads: 4,
            head_fusion: HeadFusion::LogSoftmax,
            shared_statistics: SharedStatistics::Shared,
        }
    }
}

impl NetworkSpec {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let emotion_is_resnet = self.emotion_backbone != Backbone::Mobilevitv2;
        Problem::unless(emotion_is_resnet, problems, "emotion_backbone", "the emotion branch needs a ResNet");
        let width = self.width >= 4 && self.width <= 512 && self.width.is_multiple_of(4);
        Problem::unless(width, problems, "width", "must be a multiple of 4 from 4 to 512");
        let blocks = self.blocks.is_none_or(|blocks| blocks.iter().all(|n| (1..=64).contains(n)));
        Problem::unless(blocks, problems, "blocks", "each of the four stages needs 1 to 64 blocks");
        let vit_width = self.mobilevitv2_width >= 0.125 && self.mobilevitv2_width <= 4.0;
        Problem::unless(vit_width, problems, "mobilevitv2_width", "must lie between 0.125 and 4");
        let depths = self.mobilevitv2_depths.is_none_or(|depths| depths.iter().all(|n| (1..=64).contains(n)));
        Problem::unless(
            depths,
            problems,
            "mobilevitv2_depths",
            "each of the three stages needs 1 to 64 blocks",
        );
        Problem::unless((1..=64).contains(&self.heads), problems, "heads", "must lie between 1 and 64");
    }

    pub(super) fn irrelevant(&self, drop: &mut Drop<'_>) {
        if self.backbone != Backbone::Mobilevitv2 {
            drop(&["mobilevitv2_width", "mobilevitv2_depths"], Irrelevant::Because("backbone"));
        }
        if self.heads == 1 {
            drop(&["head_fusion"], Irrelevant::Because("heads")); // One head is neither normalised nor summed.
        }
    }
}
