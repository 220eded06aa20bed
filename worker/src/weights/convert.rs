//! Converts any readable file to Ferry's own format: renames, converts to f32, and records where everything came from.

use std::collections::BTreeMap;

use serde_json::Value;
use shared::weights::{Origin, Preprocessing, Provenance};

use super::content::ReadError;
use super::layout::{Declared, Layout, LayoutError, Mapping, Shapes, some, understand};
use super::load::Mismatch;
use super::wrapper::{self, WrapperError};
use super::{Dtype, Source};
use crate::archive::{self, ArchiveError, Facts, Tensors};

/// What the user says about a file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub declared: Declared,
    /// The dictionary to use if a file has several.
    pub key: Option<String>,
    /// Use only the names that start with this.
    pub prefix: Option<String>,
    pub preprocessing: Option<Preprocessing>,
}

/// Why a file cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error(transparent)]
    Wrapper(#[from] WrapperError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("not all names belong to one network, but those below {}", below(.0))]
    Below(Vec<(String, Layout)>),
    #[error("negative variances in {}: no network can compute with them; the file is damaged", some(.0))]
    NegativeVariance(Vec<String>),
    #[error("NaN or infinite values in {}: no training can start from them", some(.0))]
    NotFinite(Vec<String>),
    #[error("the network is not complete: {0}")]
    Mismatch(#[from] Mismatch),
    #[error("cannot read tensor `{name}`: {source}")]
    Tensor { name: String, source: ReadError },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("cannot write its description: {0}")]
    Facts(#[from] serde_json::Error),
}

fn below(networks: &[(String, Layout)]) -> String {
    match networks {
        [(prefix, layout)] => format!("`{prefix}` do ({layout}): add --prefix {prefix}"),
        several => {
            let several: Vec<String> =
                several.iter().map(|(prefix, layout)| format!("`{prefix}` ({layout})")).collect();
            format!("{} do: choose one with --prefix", several.join(", "))
        }
    }
}

/// A recognised source: every tensor is kept, or dropped for a reason.
#[derive(Debug)]
pub struct Understood {
    pub mapping: Mapping,
    /// The dictionary in which the state dict was found.
    pub key: Option<String>,
    /// The prefix that was stripped from every name.
    pub prefix: String,
    /// From the name in the file to Ferry's name, for every kept tensor.
    pub kept: BTreeMap<String, String>,
    /// From the name in the file to the reason.
    pub dropped: BTreeMap<String, String>,
    pub preprocessing: Preprocessing,
    /// Kept tensors that are not f32.
    pub converted: BTreeMap<String, Dtype>,
}

/// Recognises the network in `source`. It must have exactly the names and shapes of that network.
///
/// # Errors
///
/// The network is not recognised, is not complete, or has values that are not finite; or the options do not match it.
pub fn examine(source: &Source, options: &Options) -> Result<Understood, ConvertError> {
    let dict = match &source.provenance {
        Some(_) => wrapper::StateDict::plain(&source.tensors),
        None => wrapper::state_dict(&source.tensors, options.key.as_deref(), options.prefix.as_deref())?,
    };
    let shape = |full: &String| source.tensors[full].shape.clone();
    let shapes: Shapes = dict.names.iter().map(|(name, full)| (name.clone(), shape(full))).collect();
    let declared = Declared { is_dino: dict.is_dino, ..options.declared };
    let mut mapping = match &source.provenance {
        Some(provenance) => Mapping::of_ferry(&shapes, provenance),
        None => understand(&shapes, declared).map_err(|error| with_hint(error, &dict))?,
    };
    if mapping.topology.is_none() {
        mapping.topology = mapping.holds.emotion.and_then(shared::weights::topology);
    }
    let found = mapping.names.iter().map(|(name, new)| (new.clone(), shapes[name].clone())).collect();
    Mismatch::between(&found, &mapping.expected)?;
    let kept: BTreeMap<_, _> =
        mapping.names.iter().map(|(name, new)| (dict.names[name].clone(), new.clone())).collect();
    let mut dropped: BTreeMap<_, _> =
        mapping.dropped.iter().map(|(name, reason)| (dict.names[name].clone(), reason.clone())).collect();
    dropped.extend(dict.outside);
    check_finite(source, kept.keys())?;
    check_variances(source, kept.keys())?;
    let dtype = |full: &String| (full.clone(), source.tensors[full].dtype);
    let converted = kept.keys().map(dtype).filter(|(_, dtype)| *dtype != Dtype::F32).collect();
    let preprocessing = options.preprocessing.unwrap_or(mapping.preprocessing);
    Ok(Understood { key: dict.key, prefix: dict.prefix, kept, dropped, preprocessing, converted, mapping })
}

/// If the names are not recognised, looks for networks below prefixes that not all names share.
fn with_hint(error: LayoutError, dict: &wrapper::StateDict) -> ConvertError {
    match error {
        LayoutError::Unknown(_) => match dict.networks_below() {
            networks if networks.is_empty() => error.into(),
            networks => ConvertError::Below(networks),
        },
        other => other.into(),
    }
}

/// Kept values must be finite, also after the conversion to f32. Otherwise a training that starts from them fails.
fn check_finite<'a>(source: &Source, names: impl Iterator<Item = &'a String>) -> Result<(), ConvertError> {
    let mut wrong = Vec::new();
    for name in names {
        let finite = source.tensors[name].to_f32().and_then(|tensor| Ok(tensor.f_isfinite()?.f_all()?));
        let finite = finite.map_err(|source| ConvertError::Tensor { name: name.clone(), source })?;
        if finite.int64_value(&[]) == 0 {
            wrong.push(format!("`{name}`"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(ConvertError::NotFinite(wrong)) }
}

/// Batch normalisation takes the root of a stored variance: a network with a negative one answers NaN.
fn check_variances<'a>(source: &Source, names: impl Iterator<Item = &'a String>) -> Result<(), ConvertError> {
    let mut wrong = Vec::new();
    for name in names.filter(|name| name.ends_with("running_var")) {
        let negative = source.tensors[name].to_f32().and_then(|tensor| Ok(tensor.f_lt(0.0)?.f_any()?));
        let negative = negative.map_err(|source| ConvertError::Tensor { name: name.clone(), source })?;
        if negative.int64_value(&[]) != 0 {
            wrong.push(format!("`{name}`"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(ConvertError::NegativeVariance(wrong)) }
}

/// The bytes of the converted file. The same source and options give the same bytes.
///
/// # Errors
///
/// A tensor cannot be read.
pub fn convert(source: &Source, understood: &Understood) -> Result<Vec<u8>, ConvertError> {
    let mut tensors = Tensors::new();
    for (full, new) in &understood.kept {
        let tensor = source.tensors[full].to_f32();
        let tensor = tensor.map_err(|source| ConvertError::Tensor { name: full.clone(), source })?;
        tensors.insert(new.clone(), tensor);
    }
    let facts = serde_json::to_value(provenance(source, understood))?;
    let Value::Object(mut facts) = facts else { unreachable!("a struct becomes a JSON object") };
    if let Some(topology) = understood.mapping.topology {
        facts.insert("topology".to_owned(), serde_json::to_value(topology)?);
    }
    Ok(archive::write(&tensors, Facts::from_iter(facts))?)
}

fn provenance(source: &Source, understood: &Understood) -> Provenance {
    let renamed = understood.kept.iter().filter(|(old, new)| old != new);
    Provenance {
        format: Provenance::FORMAT.to_owned(),
        version: Provenance::VERSION,
        layout: understood.mapping.layout.to_string(),
        holds: understood.mapping.holds.clone(),
        preprocessing: Some(understood.preprocessing),
        source: Origin { sha256: source.sha256.clone(), format: source.format.to_string() },
        renamed: renamed.map(|(old, new)| (old.clone(), new.clone())).collect(),
        dropped: understood.dropped.clone(),
        converted: understood
            .converted
            .iter()
            .map(|(name, dtype)| (name.clone(), dtype.to_string()))
            .collect(),
    }
}
