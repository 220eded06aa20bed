//! Named sets of settings: the paper's text, and what its authors' released code does where the two differ.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::JobSpec;
use super::augment::{AugmentSpec, AugmentationDraw, BasicOff};
use super::loss::{AffinityLabels, ClassWeights, LossSpec, MixaugTerms};
use super::network::{HeadFusion, NetworkSpec};
use super::training::TrainingSpec;

/// Where settings that a sweep file does not name take their values from.
///
/// A preset is no setting of a job: it stands for settings, and those make the job's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The paper's Table 1 with the decisions of docs/model.md.
    #[default]
    Paper,
    /// The values of Yeonggi-hong/ECCV2022-ABAW-competition where they differ from the paper's.
    AuthorsCode,
}

impl Preset {
    pub const ALL: [Self; 2] = [Self::Paper, Self::AuthorsCode];

    /// The name in sweep files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::AuthorsCode => "authors-code",
        }
    }

    /// The settings that it stands for.
    pub fn spec(self) -> JobSpec {
        let paper = JobSpec::default();
        match self {
            Self::Paper => paper,
            Self::AuthorsCode => JobSpec {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_presets_differ_where_the_code_contradicts_the_paper() {
        let [paper, code] = Preset::ALL.map(|preset| preset.spec().settings());
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
        assert_eq!(Preset::default().spec(), JobSpec::default());
    }
}
