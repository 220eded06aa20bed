//! The description inside a file of weights, and whether a job can use the file. Only the worker reads the tensors.
//!
//! `ferry-worker weights convert` writes the description as JSON under `ferry` in the metadata of a safetensors file.
//! For a model that a sweep trained, it follows from the settings in the file.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::mistaken::Mistaken;
use crate::mtl::MtlSpec;
use crate::mtl::augment::Normalization;
use crate::mtl::network::{Backbone, NetworkSpec};
use crate::seal::FACTS;
use crate::settings::Settings;
use crate::version::{DecodeError, VersionError, Versions};

pub use crate::mtl::transfer::Slot;

/// The `format` of a model that a sweep trained.
pub const MODEL_FORMAT: &str = "ferry-model";

/// The input that a file's weights were trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preprocessing {
    /// RGB in [0, 1], minus ImageNet's mean, over its deviation.
    Imagenet,
    /// BGR in [0, 255] minus VGGFace2's mean.
    Vggface2Bgr,
    /// RGB in [0, 1], not normalised further (MobileViTv2).
    ZeroToOne,
}

impl From<Normalization> for Preprocessing {
    fn from(normalization: Normalization) -> Self {
        match normalization {
            Normalization::Imagenet => Self::Imagenet,
            Normalization::Vggface2Bgr => Self::Vggface2Bgr,
        }
    }
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Imagenet => "imagenet",
            Self::Vggface2Bgr => "vggface2_bgr",
            Self::ZeroToOne => "zero_to_one",
        })
    }
}

/// Where a ResNet50 halves its maps. The names of the weights do not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    Torchvision,
    Caffe,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchvision => "torchvision",
            Self::Caffe => "caffe",
        })
    }
}

/// The topology of a ResNet50; other backbones have only one.
pub const fn topology(backbone: Backbone) -> Option<Topology> {
    match backbone {
        Backbone::Vggface2Resnet50 => Some(Topology::Caffe),
        Backbone::DinoResnet50 => Some(Topology::Torchvision),
        Backbone::Resnet18 | Backbone::Mobilevitv2 => None,
    }
}

/// The parts of the network that a file has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Holds {
    /// A backbone for either branch, under torchvision's or timm's names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<Backbone>,
    /// The backbone of an emotion branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emotion: Option<Backbone>,
    /// The backbone of an appearance branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub appearance: Option<Backbone>,
    /// Attention heads.
    #[serde(skip_serializing_if = "is_zero")]
    pub heads: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let backbones = [
            ("a backbone", self.backbone),
            ("an emotion backbone", self.emotion),
            ("an appearance backbone", self.appearance),
        ];
        for (part, backbone) in backbones {
            parts.extend(backbone.map(|backbone| format!("{part} ({})", in_words(backbone))));
        }
        if self.heads > 0 {
            parts.push(format!("{} attention heads", self.heads));
        }
        f.write_str(&if parts.is_empty() { "no part of the network".to_owned() } else { parts.join(", ") })
    }
}

fn in_words(backbone: Backbone) -> &'static str {
    match backbone {
        Backbone::Vggface2Resnet50 => "ResNet50 in Caffe's topology",
        Backbone::DinoResnet50 => "ResNet50 in torchvision's topology",
        Backbone::Resnet18 => "ResNet18",
        Backbone::Mobilevitv2 => "MobileViTv2",
    }
}

fn in_a_sweep(backbone: Backbone) -> String {
    serde_json::to_value(backbone).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Where a converted file came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Digest of the file that was converted.
    pub sha256: String,
    pub format: String,
}

/// The description inside a file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    pub format: String,
    pub version: u32,
    /// The program or model whose names and architecture the source had.
    pub layout: String,
    pub holds: Holds,
    /// `None` where the source does not say.
    pub preprocessing: Option<Preprocessing>,
    pub source: Origin,
    /// Source name to the name in this file, where they differ.
    #[serde(default)]
    pub renamed: BTreeMap<String, String>,
    /// Tensors of the source that are not in this file, and why.
    #[serde(default)]
    pub dropped: BTreeMap<String, String>,
    /// Tensors that were not f32 in the source, with their type there.
    #[serde(default)]
    pub converted: BTreeMap<String, String>,
}

/// Why a file's description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    #[error("not a whole safetensors file: {0}")]
    Format(safetensors::SafeTensorError),
    #[error("{0}")]
    Mistaken(Mistaken),
    #[error("its description cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is a `{0}`, which holds no weights to start from")]
    Kind(String),
    #[error("its description {0}")]
    Version(#[from] VersionError),
    #[error("the settings in it cannot be used: {0}")]
    Settings(#[from] crate::settings::SettingError),
}

impl From<DecodeError> for ProvenanceError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Version(source) => source.into(),
            DecodeError::Json(source) => source.into(),
        }
    }
}

/// Names of the f32 tensors that contain a NaN or an infinity. A training that starts from one can only fail.
pub fn not_finite(tensors: &SafeTensors<'_>) -> Vec<String> {
    let is_finite = |bytes: &[u8]| {
        let (values, _) = bytes.as_chunks();
        values.iter().all(|&value| f32::from_le_bytes(value).is_finite())
    };
    let broken = tensors.iter().filter(|(_, view)| view.dtype() == Dtype::F32 && !is_finite(view.data()));
    let mut names: Vec<String> = broken.map(|(name, _)| name.to_owned()).collect();
    names.sort();
    names
}

impl Provenance {
    /// The value of [`Self::format`].
    pub const FORMAT: &str = "ferry-weights";
    /// Version of this description's layout.
    pub const VERSION: u32 = 1;
    /// The layout of a model that a sweep trained.
    pub const MODEL: &str = "ferry";

    /// The description in `file`; `None` if Ferry wrote none.
    ///
    /// # Errors
    /// When the file is not whole safetensors, or its description cannot be read, is of a newer version, or belongs to
    /// a file that is not weights.
    pub fn of_safetensors(file: &[u8]) -> Result<Option<Self>, ProvenanceError> {
        let (_, header) = SafeTensors::read_metadata(file).map_err(|error| {
            Mistaken::recognise(file).map_or(ProvenanceError::Format(error), ProvenanceError::Mistaken)
        })?;
        let Some(text) = header.metadata().as_ref().and_then(|metadata| metadata.get(FACTS)) else {
            return Ok(None);
        };
        let facts: Value = serde_json::from_str(text)?;
        match facts["format"].as_str().unwrap_or_default() {
            Self::FORMAT => Ok(Some(Versions::up_to(Self::VERSION).spelled_out().decode(text.as_bytes())?)),
            MODEL_FORMAT => Ok(Some(Self::of_model(&facts)?)),
            other => Err(ProvenanceError::Kind(other.to_owned())),
        }
    }

    fn of_model(facts: &Value) -> Result<Self, ProvenanceError> {
        let settings: Settings = serde_json::from_value(facts["settings"].clone())?;
        let spec = MtlSpec::of(&settings)?;
        Ok(Self {
            format: Self::FORMAT.to_owned(),
            version: Self::VERSION,
            layout: Self::MODEL.to_owned(),
            holds: Holds {
                backbone: None,
                emotion: Some(spec.network.emotion_backbone),
                appearance: Some(spec.network.backbone),
                heads: spec.network.heads,
            },
            preprocessing: Some(spec.augment.normalization.into()),
            source: Origin {
                sha256: facts["sha256"].as_str().unwrap_or_default().to_owned(),
                format: format!("model of job {}", facts["job"].as_str().unwrap_or("?")),
            },
            renamed: BTreeMap::new(),
            dropped: BTreeMap::new(),
            converted: BTreeMap::new(),
        })
    }

    /// Checks that the file can fill `slot` of a network.
    ///
    /// # Errors
    /// One sentence that says why not, and what to change.
    pub fn serves(&self, slot: Slot, network: &NetworkSpec) -> Result<(), String> {
        let holds = &self.holds;
        let (found, setting, wanted) = match slot {
            Slot::Heads if holds.heads == network.heads => return Ok(()),
            Slot::Heads if holds.heads > 0 => {
                return Err(format!(
                    "it has {} attention heads, the job `heads: {}`",
                    holds.heads, network.heads
                ));
            }
            Slot::Heads => return Err(format!("it has no attention heads but {holds}")),
            Slot::Emotion => (holds.emotion.or(holds.backbone), "emotion_backbone", network.emotion_backbone),
            Slot::Appearance => (holds.appearance.or(holds.backbone), "backbone", network.backbone),
        };
        match found {
            Some(found) if found == wanted => Ok(()),
            Some(found) => Err(format!(
                "it holds a {}, the job's `{setting}: {}` is a {}: set `{setting}: {}` or take other weights",
                in_words(found),
                in_a_sweep(wanted),
                in_words(wanted),
                in_a_sweep(found)
            )),
            None => Err(format!("it has nothing for `{setting}` but {holds}")),
        }
    }

    /// A remark if the weights were trained on other input than the job's, which is allowed.
    pub fn remark(&self, normalization: Normalization) -> Option<String> {
        let (trained, given) = (self.preprocessing?, Preprocessing::from(normalization));
        (trained != given).then(|| {
            let advice = match trained {
                Preprocessing::Imagenet | Preprocessing::Vggface2Bgr => {
                    format!("; `normalization: {trained}` is what they expect")
                }
                Preprocessing::ZeroToOne => String::new(),
            };
            format!("these weights were trained on `{trained}` input, the job gives them `{given}`{advice}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(holds: Holds) -> Provenance {
        Provenance {
            format: Provenance::FORMAT.to_owned(),
            version: Provenance::VERSION,
            layout: "vggface2".to_owned(),
            holds,
            preprocessing: Some(Preprocessing::Vggface2Bgr),
            source: Origin { sha256: String::new(), format: String::new() },
            renamed: BTreeMap::new(),
            dropped: BTreeMap::new(),
            converted: BTreeMap::new(),
        }
    }

    #[test]
    fn a_wrong_topology_is_refused_in_one_sentence() {
        let file = of(Holds { backbone: Some(Backbone::Vggface2Resnet50), ..Holds::default() });
        let network = NetworkSpec { backbone: Backbone::DinoResnet50, ..NetworkSpec::default() };
        assert_eq!(file.serves(Slot::Emotion, &network), Ok(()));
        assert_eq!(
            file.serves(Slot::Appearance, &network).unwrap_err(),
            "it holds a ResNet50 in Caffe's topology, the job's `backbone: dino_resnet50` is a ResNet50 in \
             torchvision's topology: set `backbone: vggface2_resnet50` or take other weights"
        );
        assert_eq!(
            file.serves(Slot::Heads, &network).unwrap_err(),
            "it has no attention heads but a backbone (ResNet50 in Caffe's topology)"
        );
    }

    #[test]
    fn heads_are_counted() {
        let file = of(Holds { emotion: Some(Backbone::Resnet18), heads: 4, ..Holds::default() });
        assert_eq!(file.serves(Slot::Heads, &NetworkSpec::default()), Ok(()));
        let two = NetworkSpec { heads: 2, ..NetworkSpec::default() };
        assert_eq!(
            file.serves(Slot::Heads, &two).unwrap_err(),
            "it has 4 attention heads, the job `heads: 2`"
        );
        let reason = file.serves(Slot::Appearance, &two).unwrap_err();
        assert!(reason.starts_with("it has nothing for `backbone` but an emotion backbone"), "{reason}");
    }

    #[test]
    fn other_input_is_remarked_upon() {
        let file = of(Holds::default());
        assert_eq!(file.remark(Normalization::Vggface2Bgr), None);
        let remark = file.remark(Normalization::Imagenet).unwrap();
        assert!(remark.ends_with("`normalization: vggface2_bgr` is what they expect"), "{remark}");
    }
}
