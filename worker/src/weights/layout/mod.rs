//! Recognises the origin of a state dict by its names, and maps them to Ferry's names.

mod abaw;
mod dan;
mod mobilevitv2;
mod resnet;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use clap::ValueEnum;
use shared::mtl::network::{Backbone, NetworkSpec};
use shared::weights::{Holds, Preprocessing, Provenance, Topology};

pub use super::fragments::{Shapes, Size};

use super::fragments;
use crate::models::ModelError;

/// Where names and architecture come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// torchvision's ResNets.
    Torchvision,
    /// VGGFace2's ResNet50 with torchvision's names and Caffe's topology (cydonia999/VGGFace2-pytorch).
    Vggface2,
    /// VGGFace2's ResNet50 with its first names (ox-vgg/vgg_face2).
    OxVgg,
    /// DINO's ResNet50 (facebookresearch/dino).
    Dino,
    /// DAN on ResNet18 (yaoing/DAN).
    Dan,
    /// MobileViTv2 of timm.
    Timm,
    /// MobileViTv2 of apple/ml-cvnets.
    Cvnets,
    /// The two-branch network of Yeonggi-hong/ECCV2022-ABAW-competition.
    Abaw,
    /// A model that a sweep trained, or a converted file.
    Ferry,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchvision => "torchvision",
            Self::Vggface2 => "vggface2",
            Self::OxVgg => "ox-vgg",
            Self::Dino => "dino",
            Self::Dan => "dan",
            Self::Timm => "timm",
            Self::Cvnets => "cvnets",
            Self::Abaw => "abaw",
            Self::Ferry => "ferry",
        })
    }
}

/// What the user declares about a file, because its names do not tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared {
    pub layout: Option<Layout>,
    pub topology: Option<Topology>,
    /// Found next to the state dict, in a form that only DINO saves.
    pub is_dino: bool,
}

/// Why a state dict is not recognised as a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error(
        "these are not the names of a network that Ferry knows: {}, …; it knows ResNet18 and 50, MobileViTv2, DAN and \
         the authors' two-branch network", .0.join(", ")
    )]
    Unknown(Vec<String>),
    #[error("the names are those of {found}, not of {declared}: omit --layout or use --layout {found}")]
    Other { declared: Layout, found: Layout },
    #[error(
        "a ResNet50, whose names do not tell its topology: say where the weights come from, --layout torchvision or \
         dino (stride in the 3x3 convolution), or --layout vggface2 (Caffe's: stride in the first 1x1 convolution)"
    )]
    Topology,
    #[error("{why}, so its topology is {known}, not {declared}")]
    Contradiction { why: &'static str, known: Topology, declared: Topology },
    #[error("a squeeze-and-excitation ResNet (conv4, conv5 in its blocks), which Ferry does not support")]
    SqueezeExcitation,
    #[error("tensors that the network does not have: {}", some(.0))]
    Extra(Vec<String>),
    #[error("the file has no description by Ferry, so it is neither a model of a sweep nor a converted file")]
    NotFerry,
    #[error("two tensors would both be named `{0}`")]
    Twice(String),
    #[error(transparent)]
    Model(#[from] ModelError),
}

pub(super) fn some(names: &[String]) -> String {
    let first = names.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{first} and {} more", names.len() - 8) } else { first }
}

/// What happens to one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disposition {
    /// It is kept under this name.
    Named(String),
    /// It is not part of Ferry's network, for this reason.
    Dropped(&'static str),
    /// No network of this layout has it.
    Unknown,
}

const CLASSIFIER: &str = "the classifier of another task";
const COUNTER: &str = "a counter that nothing uses";

/// A recognised state dict.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub layout: Layout,
    /// From the given name to Ferry's.
    pub names: BTreeMap<String, String>,
    /// From the given name to the reason.
    pub dropped: BTreeMap<String, String>,
    pub holds: Holds,
    /// The topology of the ResNet50, or of the emotion branch if there are two branches.
    pub topology: Option<Topology>,
    pub preprocessing: Preprocessing,
    /// Names and shapes of the network that the file should fill.
    pub expected: Shapes,
}

/// Recognises the names of `shapes` and maps each of them.
///
/// # Errors
///
/// The names are not those of a known network, a topology must be declared, or the declaration contradicts the file.
pub fn understand(shapes: &Shapes, declared: Declared) -> Result<Mapping, LayoutError> {
    let found = recognise(shapes)?;
    let layout = match declared.layout {
        None => found,
        Some(layout) if family(layout) == family(found) => layout,
        Some(layout) => return Err(LayoutError::Other { declared: layout, found }),
    };
    let declared = Declared { layout: declared.layout.map(|_| layout), ..declared };
    let rule: Box<dyn Fn(&str) -> Disposition> = match layout {
        Layout::Torchvision | Layout::Vggface2 | Layout::Dino => Box::new(resnet::torchvision),
        Layout::OxVgg => Box::new(resnet::ox_vgg),
        Layout::Dan => Box::new(dan::name),
        Layout::Timm => Box::new(mobilevitv2::timm),
        Layout::Cvnets => {
            let last = mobilevitv2::final_norms(shapes);
            Box::new(move |name: &str| mobilevitv2::cvnets(name, &last))
        }
        Layout::Abaw => {
            let last = mobilevitv2::final_norms(&abaw::as_cvnets(shapes));
            Box::new(move |name: &str| abaw::name(name, &last))
        }
        Layout::Ferry => return Err(LayoutError::NotFerry),
    };
    let (names, dropped) = apply(shapes, &*rule)?;
    let renamed: Shapes = names.iter().map(|(from, to)| (to.clone(), shapes[from].clone())).collect();
    let network = identify(layout, shapes, &renamed, declared)?;
    Ok(Mapping { names, dropped, ..network })
}

type Fates = (BTreeMap<String, String>, BTreeMap<String, String>);

fn apply(shapes: &Shapes, rule: &dyn Fn(&str) -> Disposition) -> Result<Fates, LayoutError> {
    let (mut names, mut dropped, mut unknown) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut taken = BTreeSet::new();
    for name in shapes.keys() {
        let fate =
            if name.ends_with("num_batches_tracked") { Disposition::Dropped(COUNTER) } else { rule(name) };
        match fate {
            Disposition::Named(new) => {
                if !taken.insert(new.clone()) {
                    return Err(LayoutError::Twice(new));
                }
                names.insert(name.clone(), new);
            }
            Disposition::Dropped(reason) => drop(dropped.insert(name.clone(), reason.to_owned())),
            Disposition::Unknown => unknown.push(name.clone()),
        }
    }
    if unknown.is_empty() { Ok((names, dropped)) } else { Err(LayoutError::Extra(unknown)) }
}

/// The first of all layouts with the same names, which is what the names alone tell.
fn family(layout: Layout) -> Layout {
    match layout {
        Layout::Torchvision | Layout::Vggface2 | Layout::Dino => Layout::Torchvision,
        Layout::OxVgg | Layout::Dan | Layout::Timm | Layout::Cvnets | Layout::Abaw | Layout::Ferry => layout,
    }
}

/// True for the names of a network that Ferry recognises, including one that it recognises but does not support.
pub(super) fn is_known<V>(names: &BTreeMap<String, V>) -> bool {
    !matches!(recognise(names), Err(LayoutError::Unknown(_)))
}

/// The layout with these names.
pub(super) fn recognise<V>(names: &BTreeMap<String, V>) -> Result<Layout, LayoutError> {
    let has = |name: &str| names.contains_key(name);
    let any = |start: &str| names.keys().any(|name| name.starts_with(start));
    if any("classfier.") || any("em_feature.") {
        return Ok(Layout::Abaw);
    }
    if has("conv1_7x7_s2.weight") {
        return Ok(Layout::OxVgg);
    }
    if has("features.0.weight") && any("cat_head0.") {
        return Ok(Layout::Dan);
    }
    if has("stem.conv.weight") && any("stages.") {
        return Ok(Layout::Timm);
    }
    if has("conv_1.block.conv.weight") && any("layer_1.") {
        return Ok(Layout::Cvnets);
    }
    if has("conv1.weight") && any("layer1.0.") {
        let excited = names.keys().any(|name| name.starts_with("layer") && name.contains(".conv4."));
        return if excited { Err(LayoutError::SqueezeExcitation) } else { Ok(Layout::Torchvision) };
    }
    Err(LayoutError::Unknown(names.keys().take(3).cloned().collect()))
}

/// The network of the renamed tensors: its parts, and every name and shape that it needs.
fn identify(
    layout: Layout,
    given: &Shapes,
    renamed: &Shapes,
    declared: Declared,
) -> Result<Mapping, LayoutError> {
    let mapping = |layout, holds, topology, preprocessing, expected| Mapping {
        layout,
        names: BTreeMap::new(),
        dropped: BTreeMap::new(),
        holds,
        topology,
        preprocessing,
        expected,
    };
    match layout {
        Layout::Torchvision | Layout::Vggface2 | Layout::Dino | Layout::OxVgg => {
            let (layout, backbone) = resnet::settle(layout, given, declared)?;
            let expected = fragments::resnet(backbone, resnet::size(renamed, "conv1.weight", "layer", 1));
            let holds = Holds { backbone: Some(backbone), ..Holds::default() };
            let preprocessing = match layout {
                Layout::Vggface2 | Layout::OxVgg => Preprocessing::Vggface2Bgr,
                _ => Preprocessing::Imagenet,
            };
            Ok(mapping(layout, holds, shared::weights::topology(backbone), preprocessing, expected))
        }
        Layout::Timm | Layout::Cvnets => {
            let expected = fragments::mobilevitv2(mobilevitv2::shape(renamed));
            let holds = Holds { backbone: Some(Backbone::Mobilevitv2), ..Holds::default() };
            Ok(mapping(layout, holds, None, Preprocessing::ZeroToOne, expected))
        }
        Layout::Dan => {
            let heads = dan::heads(renamed);
            let size = resnet::size(renamed, "emotion.features.0.weight", "emotion.features.", 4);
            let expected = fragments::dan(Backbone::Resnet18, size, heads);
            let holds = Holds { emotion: Some(Backbone::Resnet18), heads, ..Holds::default() };
            Ok(mapping(layout, holds, None, Preprocessing::Imagenet, expected))
        }
        Layout::Abaw => {
            let spec = abaw::network(given, renamed)?;
            let holds = Holds {
                backbone: None,
                emotion: Some(spec.emotion_backbone),
                appearance: Some(spec.backbone),
                heads: spec.heads,
            };
            let topology = shared::weights::topology(spec.emotion_backbone);
            Ok(mapping(layout, holds, topology, Preprocessing::Imagenet, whole(&spec)?))
        }
        Layout::Ferry => Err(LayoutError::NotFerry),
    }
}

/// All variables except the class centres, which the authors do not save.
fn whole(spec: &NetworkSpec) -> Result<Shapes, LayoutError> {
    let mut shapes = fragments::mtl(spec)?;
    shapes.remove("affinity.centres");
    Ok(shapes)
}

impl Mapping {
    /// The mapping of a file written by Ferry, which changes no name.
    pub(super) fn of_ferry(shapes: &Shapes, provenance: &Provenance) -> Self {
        Self {
            layout: Layout::Ferry,
            names: shapes.keys().map(|name| (name.clone(), name.clone())).collect(),
            dropped: BTreeMap::new(),
            holds: provenance.holds.clone(),
            topology: provenance.holds.backbone.and_then(shared::weights::topology),
            preprocessing: provenance.preprocessing.unwrap_or(Preprocessing::Imagenet),
            expected: shapes.clone(),
        }
    }
}
