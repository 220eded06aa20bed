//! Fills variables from a file. All names, shapes and types are compared before any byte is copied.
//!
//! tch's functions are not strict enough. Its `load` broadcasts a tensor of one value over a longer variable, turns an
//! f32 variable into f16, and stops half-way at the first wrong shape. Its `load_partial` does not report unused tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use safetensors::{Dtype, SafeTensors};
use shared::mtl::network::NetworkSpec;
use shared::seal::{self, SealError};
use shared::weights::{Provenance, ProvenanceError, Slot, not_finite};
use tch::{Kind, TchError, Tensor};

use super::layout::{Shapes, some};
use crate::variables::Variables;

/// All differences between a file and the variables that it should fill.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mismatch {
    /// Variables without a tensor in the file.
    pub missing: Vec<String>,
    /// Tensors without a variable.
    pub unused: Vec<String>,
    /// Wrong shapes: name, found, needed.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors that are not f32: name and type.
    pub types: Vec<(String, String)>,
}

impl Mismatch {
    /// Compares two sets of shapes.
    ///
    /// # Errors
    ///
    /// The differences, if there are any.
    pub fn between(found: &Shapes, expected: &Shapes) -> Result<(), Self> {
        let names = |shapes: &Shapes| shapes.keys().cloned().collect::<BTreeSet<_>>();
        let (have, need) = (names(found), names(expected));
        let differing = need.intersection(&have).filter(|name| found[*name] != expected[*name]);
        let mismatch = Self {
            missing: need.difference(&have).cloned().collect(),
            unused: have.difference(&need).cloned().collect(),
            shapes: differing.map(|n| (n.clone(), found[n].clone(), expected[n].clone())).collect(),
            types: Vec::new(),
        };
        mismatch.or_nothing()
    }

    fn or_nothing(self) -> Result<(), Self> {
        if self == Self::default() { Ok(()) } else { Err(self) }
    }
}

/// True if PyTorch would silently broadcast a tensor of shape `found` to `needed`.
fn would_broadcast(found: &[usize], needed: &[usize]) -> bool {
    found.len() <= needed.len() && found.iter().rev().zip(needed.iter().rev()).all(|(f, n)| f == n || *f == 1)
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("missing: {}", some(&self.missing)));
        }
        if !self.unused.is_empty() {
            parts.push(format!("not needed: {}", some(&self.unused)));
        }
        if !self.shapes.is_empty() {
            let shape = |(name, found, needed): &(String, Vec<usize>, Vec<usize>)| {
                let note = if would_broadcast(found, needed) { " (never broadcast)" } else { "" };
                format!("{name} is {found:?}{note}, not {needed:?}")
            };
            parts.push(format!("wrong shape: {}", some(&self.shapes.iter().map(shape).collect::<Vec<_>>())));
        }
        if !self.types.is_empty() {
            let kinds: Vec<_> = self.types.iter().map(|(name, kind)| format!("{name} is {kind}")).collect();
            parts.push(format!("not f32: {}", some(&kinds)));
        }
        f.write_str(&parts.join("; "))
    }
}

impl std::error::Error for Mismatch {}

/// Why a part of a network was not filled. It is unchanged then.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {problem}", slot.setting())]
pub struct LoadError {
    pub slot: Slot,
    #[source]
    pub problem: FileError,
}

/// Why a weights file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    #[error("the file has no description by Ferry; convert it with `ferry-worker weights convert`")]
    Undescribed,
    #[error("{0}")]
    Unfit(String),
    #[error("NaN or infinite values in {}", some(.0))]
    NotFinite(Vec<String>),
    #[error("the file does not fit the network: {0}")]
    Mismatch(#[from] Mismatch),
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// Fills the variables of `slot` from a converted file or a trained model: all of them or none.
///
/// # Errors
///
/// The file is damaged, lacks Ferry's description, has values that are not finite, or does not fit the slot and the
/// network.
pub fn fill(slot: Slot, file: &[u8], network: &NetworkSpec, variables: &Variables) -> Result<(), LoadError> {
    fill_part(slot, file, network, variables).map_err(|problem| LoadError { slot, problem })
}

fn fill_part(slot: Slot, file: &[u8], network: &NetworkSpec, variables: &Variables) -> Result<(), FileError> {
    let provenance = Provenance::of_safetensors(file)?.ok_or(FileError::Undescribed)?;
    provenance.serves(slot, network).map_err(FileError::Unfit)?;
    let (stored, _) = seal::open(file)?;
    let broken = not_finite(&stored);
    if !broken.is_empty() {
        return Err(FileError::NotFinite(broken));
    }
    let own = variables.iter().filter(|(name, _)| name.starts_with(slot.prefix())).collect();
    copy(&stored, &targets(slot, &provenance, &stored), &own)
}

/// First compares, then reads everything, then copies.
fn copy(
    stored: &SafeTensors<'_>,
    targets: &BTreeMap<String, String>,
    own: &BTreeMap<&String, &Tensor>,
) -> Result<(), FileError> {
    check(stored, targets, own)?;
    let mut values = Vec::new();
    for (target, source) in targets {
        let view = stored.tensor(source).map_err(SealError::from)?;
        let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
        values.push((own[target], Tensor::f_from_data_size(view.data(), &shape, Kind::Float)?));
    }
    tch::no_grad(|| {
        for (variable, value) in &values {
            variable.shallow_clone().f_copy_(value)?;
        }
        Ok(())
    })
}

/// From variable to tensor in the file, for every tensor that belongs to `slot`.
fn targets(slot: Slot, provenance: &Provenance, stored: &SafeTensors<'_>) -> BTreeMap<String, String> {
    let branch = match slot {
        Slot::Heads => true,
        Slot::Emotion => provenance.holds.emotion.is_some(),
        Slot::Appearance => provenance.holds.appearance.is_some(),
    };
    let name = |name: &str| {
        if branch {
            return name.starts_with(slot.prefix()).then(|| name.to_owned());
        }
        let name = if slot == Slot::Emotion { by_position(name) } else { name.to_owned() };
        Some(format!("{}{name}", slot.prefix()))
    };
    stored.names().into_iter().filter_map(|source| Some((name(source)?, source.to_owned()))).collect()
}

/// The emotion branch's name of a ResNet's variable: it uses positions where torchvision uses names.
fn by_position(name: &str) -> String {
    let (top, rest) = name.split_once('.').unwrap_or((name, ""));
    let position = match top {
        "conv1" => "0",
        "bn1" => "1",
        "layer1" => "4",
        "layer2" => "5",
        "layer3" => "6",
        "layer4" => "7",
        other => other,
    };
    format!("{position}.{rest}")
}

fn check(
    stored: &SafeTensors<'_>,
    targets: &BTreeMap<String, String>,
    own: &BTreeMap<&String, &Tensor>,
) -> Result<(), Mismatch> {
    let (mut found, mut types) = (Shapes::new(), Vec::new());
    for (target, source) in targets {
        let Ok(view) = stored.tensor(source) else { continue };
        found.insert(target.clone(), view.shape().to_vec());
        if view.dtype() != Dtype::F32 {
            types.push((source.clone(), format!("{:?}", view.dtype()).to_lowercase()));
        }
    }
    let shape = |tensor: &Tensor| tensor.size().iter().map(|&length| length as usize).collect();
    let expected: Shapes = own.iter().map(|(name, tensor)| ((*name).clone(), shape(tensor))).collect();
    let mismatch = Mismatch::between(&found, &expected).err().unwrap_or_default();
    Mismatch { types, ..mismatch }.or_nothing()
}
