//! The state dict inside what training scripts save: nested dictionaries, `module.` and `backbone.` in front.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Tensors;

/// Names under which training scripts save a state dict.
const KEYS: [&str; 7] =
    ["model_state_dict", "state_dict", "student", "teacher", "model", "ema_state_dict", "net"];

/// The tensors of one state dict: short name to the name in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateDict {
    pub(super) names: BTreeMap<String, String>,
    /// The dictionary that it was found in.
    pub(super) key: Option<String>,
    /// Stripped from every name.
    pub(super) prefix: String,
    /// True for the self-supervised checkpoints of DINO: a backbone beside its projection head.
    pub(super) is_dino: bool,
    /// Tensors of the file outside of it (the optimiser's, another network's): name and reason.
    pub(super) outside: Vec<(String, String)>,
}

/// Several state dicts in one file, or not the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapperError {
    #[error("the file holds several networks, {}: choose one with --key", .0.join(" and "))]
    Several(Vec<String>),
    #[error("the file has no `{key}`; it has {}", found.join(", "))]
    NoKey { key: String, found: Vec<String> },
}

/// The state dict under `key`, or the only one there is.
pub(super) fn state_dict(tensors: &Tensors, key: Option<&str>) -> Result<StateDict, WrapperError> {
    let tops: BTreeSet<&str> = tensors.keys().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    let known: Vec<&str> = KEYS.into_iter().filter(|key| tops.contains(key)).collect();
    let chosen = match (key, known.as_slice()) {
        (Some(key), _) if tops.contains(key) => Some(key),
        (Some(key), _) => {
            let found = tops.iter().map(|&top| top.to_owned()).collect();
            return Err(WrapperError::NoKey { key: key.to_owned(), found });
        }
        (None, []) => None,
        (None, [only]) => Some(*only),
        (None, several) => {
            return Err(WrapperError::Several(several.iter().map(|&k| k.to_owned()).collect()));
        }
    };
    let (mut names, mut outside) = (BTreeMap::new(), Vec::new());
    for name in tensors.keys() {
        match chosen {
            None => drop(names.insert(name.clone(), name.clone())),
            Some(key) => match name.strip_prefix(key).and_then(|rest| rest.strip_prefix('.')) {
                Some(short) => drop(names.insert(short.to_owned(), name.clone())),
                None => outside.push((name.clone(), format!("outside of `{key}`"))),
            },
        }
    }
    let mut dict =
        StateDict { names, key: chosen.map(str::to_owned), prefix: String::new(), is_dino: false, outside };
    dict.strip("module.");
    dict.strip_backbone();
    Ok(dict)
}

impl StateDict {
    /// Every tensor under its own name.
    pub(super) fn plain(tensors: &Tensors) -> Self {
        Self {
            names: tensors.keys().map(|name| (name.clone(), name.clone())).collect(),
            key: None,
            prefix: String::new(),
            is_dino: false,
            outside: Vec::new(),
        }
    }

    /// Removes `prefix` where every name has it.
    fn strip(&mut self, prefix: &str) {
        if self.names.keys().all(|name| name.starts_with(prefix)) {
            let names = std::mem::take(&mut self.names);
            self.names =
                names.into_iter().map(|(name, full)| (name[prefix.len()..].to_owned(), full)).collect();
            self.prefix.push_str(prefix);
        }
    }

    /// DINO keeps the network under `backbone.` and its projection under `head.`, which goes.
    fn strip_backbone(&mut self) {
        let of = |name: &str, part: &str| name.starts_with(part);
        let (backbone, head) = ("backbone.", "head.");
        if !self.names.keys().any(|name| of(name, backbone))
            || !self.names.keys().all(|name| of(name, backbone) || of(name, head))
        {
            return;
        }
        let (heads, names): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.names).into_iter().partition(|(name, _)| of(name, head));
        self.is_dino = !heads.is_empty();
        self.names = names;
        let reason = "DINO's projection head, of no use after its training";
        self.outside.extend(heads.into_values().map(|full| (full, reason.to_owned())));
        self.strip(backbone);
    }
}
