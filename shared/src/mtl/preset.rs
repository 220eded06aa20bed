//! Named sets of settings: the paper's text, what its authors' released code does where the two differ, and small
//! networks that learn from scratch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MtlSpec;
use super::augment::{AugmentSpec, AugmentationDraw, BasicOff};
use super::loss::{AffinityLabels, ClassWeights, LossSpec, MixaugTerms};
use super::network::{Backbone, HeadFusion, NetworkSpec, SharedStatistics};
use super::training::TrainingSpec;

/// Where settings that a sweep file does not name take their values from.
///
/// A preset is not itself a setting of a job: it stands for settings, and only those count in the job's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The paper's Table 1 with the decisions of docs/model.md.
    #[default]
    Paper,
    /// The values of Yeonggi-hong/ECCV2022-ABAW-competition where they differ from the paper's.
    AuthorsCode,
    /// Small networks that learn from scratch: minutes on a CPU, a few thousand images.
    Small,
}

impl Preset {
    /// Its key among the settings of a sweep file.
    pub const KEY: &'static str = "preset";

    pub const ALL: [Self; 3] = [Self::Paper, Self::AuthorsCode, Self::Small];

    /// The name in sweep files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::AuthorsCode => "authors-code",
            Self::Small => "small",
        }
    }

    /// The settings that it stands for.
    pub fn spec(self) -> MtlSpec {
        let paper = MtlSpec::default();
        match self {
            Self::Paper => paper,
            Self::AuthorsCode => MtlSpec {
                network: NetworkSpec { head_fusion: HeadFusion::Sum, ..paper.network },
                loss: LossSpec {
                    class_weights: ClassWeights::InverseShare,
                    affinity_labels: AffinityLabels::Partner,
                    mixaug_terms: MixaugTerms::All,
                    ..paper.loss
                },
                augment: AugmentSpec {
                    basic_off: BasicOff::Jitter,
                    augmentation_draw: AugmentationDraw::Batch,
                    ..paper.augment
                },
                training: TrainingSpec { weight_decay: 0.0, ..paper.training },
                subset: paper.subset,
                transfer: paper.transfer,
                arithmetic: paper.arithmetic,
            },
            Self::Small => small(paper),
        }
    }
}

/// Table 1 fine-tunes large pre-trained networks. A small network that starts from random weights is trained for a few
/// hundred steps. It needs larger steps that shrink more slowly, an Adam that forgets sooner, gentler augmentation,
/// fewer heads that are summed (log-softmax over untrained heads hides the feature), and batch statistics per branch,
/// since shared ones do not settle in so few steps.
fn small(paper: MtlSpec) -> MtlSpec {
    MtlSpec {
        network: NetworkSpec {
            backbone: Backbone::Resnet18,
            emotion_backbone: Backbone::Resnet18,
            width: 16,
            blocks: Some([1, 1, 1, 1]),
            mobilevitv2_width: 0.25,
            mobilevitv2_depths: Some([1, 1, 1]),
            heads: 2,
            head_fusion: HeadFusion::Sum,
            shared_statistics: SharedStatistics::Separate,
        },
        augment: AugmentSpec {
            image_size: 48,
            jitter_brightness: 0.2,
            jitter_contrast: 0.2,
            jitter_saturation: 0.2,
            jitter_hue: 0.05,
            affine: 0.3,
            affine_degrees: 8.0,
            affine_translate: 0.05,
            affine_scale: 0.92,
            erasing: 0.1,
            ..paper.augment
        },
        training: TrainingSpec {
            batch_size: 32,
            epochs: 10,
            learning_rate: 4e-3,
            lr_decay: 0.86,
            adam_beta1: 0.8,
            adam_beta2: 0.99,
            ..paper.training
        },
        ..paper
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_presets_differ_where_the_code_contradicts_the_paper() {
        let [paper, code] = [Preset::Paper, Preset::AuthorsCode].map(|preset| preset.spec().settings());
        let differing: Vec<_> = paper.iter().filter(|(name, value)| code[*name] != **value).collect();
        let names: Vec<_> = differing.into_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "affinity_labels",
                "augmentation_draw",
                "basic_off",
                "class_weights",
                "head_fusion",
                "mixaug_terms",
                "weight_decay"
            ]
        );
    }

    #[test]
    fn presets_can_be_built_and_go_by_their_names() {
        for preset in Preset::ALL {
            assert!(preset.spec().problems().is_empty());
            assert_eq!(serde_json::to_value(preset).unwrap(), json!(preset.name()));
        }
        assert_eq!(Preset::default().spec(), MtlSpec::default());
    }
}
