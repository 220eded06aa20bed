//! The state dict inside what training scripts save: within dictionaries, and with prefixes on every name.
//!
//! `torch.compile` puts `_orig_mod.` in front of every name, `DataParallel` `module.`, Lightning `model.` or whatever the
//! attribute is called. A prefix that all names share is stripped where the rest are the names of a known layout.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Tensors;
use super::layout::{self, Layout};

/// Names under which training scripts save a state dict.
const KEYS: [&str; 7] =
    ["model_state_dict", "state_dict", "student", "teacher", "model", "ema_state_dict", "net"];

/// Prefixes within each other that are looked at: more than any script nests.
const MAX_DEPTH: usize = 8;
/// Prefixes that are looked at for a hint.
const MAX_HINTS: usize = 256;

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
    #[error("no name begins with `{prefix}`; they begin with {}", found.join(", "))]
    NoPrefix { prefix: String, found: Vec<String> },
}

/// The state dict under `key`, or the only one there is; of it the names that begin with `prefix`.
///
/// Without a key, the prefix may also be one of the full names, as `inspect --tensors` lists them.
pub(super) fn state_dict(
    tensors: &Tensors,
    key: Option<&str>,
    prefix: Option<&str>,
) -> Result<StateDict, WrapperError> {
    let mut dict = StateDict::plain(tensors);
    let prefix = prefix.map(|prefix| format!("{}.", prefix.trim_end_matches('.')));
    let is_full = key.is_none() && prefix.as_deref().is_some_and(|prefix| dict.has(prefix));
    if !is_full && let Some(key) = dict.choose(key)? {
        dict.enter(&format!("{key}."));
        dict.key = Some(key);
    }
    if let Some(prefix) = prefix {
        if !dict.has(&prefix) {
            return Err(WrapperError::NoPrefix { prefix, found: dict.tops() });
        }
        dict.enter(&prefix);
        dict.prefix = prefix;
    }
    dict.strip_prefixes();
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

    /// Prefixes below which the names are those of a known layout.
    pub(super) fn networks_below(&self) -> Vec<(String, Layout)> {
        let prefixes = self
            .names
            .keys()
            .flat_map(|name| name.match_indices('.').take(MAX_DEPTH).map(|(dot, _)| name[..=dot].to_owned()));
        let prefixes: BTreeSet<String> = prefixes.collect();
        let below = |prefix: String| {
            let mut inner = self.clone();
            inner.enter(&prefix);
            let found = layout::recognise(&inner.names).ok()?;
            Some((prefix.trim_end_matches('.').to_owned(), found))
        };
        prefixes.into_iter().take(MAX_HINTS).filter_map(below).collect()
    }

    /// The key of the state dict; `None` where it is not in a dictionary.
    fn choose(&self, key: Option<&str>) -> Result<Option<String>, WrapperError> {
        let tops = self.tops();
        let known: Vec<String> =
            KEYS.into_iter().map(str::to_owned).filter(|key| tops.contains(key)).collect();
        match (key.map(str::to_owned), known.as_slice()) {
            (Some(key), _) if tops.contains(&key) => Ok(Some(key)),
            (Some(key), _) => Err(WrapperError::NoKey { key, found: tops }),
            (None, []) => Ok(None),
            (None, [only]) => Ok(Some(only.clone())),
            (None, _) => Err(WrapperError::Several(known)),
        }
    }

    fn has(&self, prefix: &str) -> bool {
        self.names.keys().any(|name| name.starts_with(prefix))
    }

    /// First parts of the names that have several.
    fn tops(&self) -> Vec<String> {
        let tops: BTreeSet<&str> =
            self.names.keys().filter_map(|name| Some(name.split_once('.')?.0)).collect();
        tops.into_iter().map(str::to_owned).collect()
    }

    /// Keeps the names that begin with `prefix`, without it.
    fn enter(&mut self, prefix: &str) {
        for (name, full) in std::mem::take(&mut self.names) {
            match name.strip_prefix(prefix) {
                Some(short) => drop(self.names.insert(short.to_owned(), full)),
                None => self.outside.push((full, format!("outside of `{}`", prefix.trim_end_matches('.')))),
            }
        }
    }

    /// Removes what stands in front of every name, if that leads to the names of a known layout.
    fn strip_prefixes(&mut self) {
        let mut inner = self.clone();
        for _ in 0..MAX_DEPTH {
            if layout::is_known(&inner.names) {
                *self = inner;
                return;
            }
            inner.drop_projection_head();
            let Some(prefix) = inner.common_prefix() else { return };
            inner.enter(&prefix);
            inner.prefix.push_str(&prefix);
        }
    }

    /// The first part of every name.
    fn common_prefix(&self) -> Option<String> {
        let (top, _) = self.names.keys().next()?.split_once('.')?;
        let prefix = format!("{top}.");
        self.names.keys().all(|name| name.starts_with(&prefix)).then_some(prefix)
    }

    /// DINO keeps the network under `backbone.` and its projection under `head.`, which goes. The heads of other trainings
    /// have other names: they must not make their network DINO's, whose topology would then be taken for granted.
    fn drop_projection_head(&mut self) {
        let is_head = |name: &str| name.starts_with("head.mlp.") || name.starts_with("head.last_layer.");
        let is_backbone = |name: &str| name.starts_with("backbone.");
        let is_dino = self.names.keys().any(|name| is_head(name))
            && self.names.keys().all(|name| is_head(name) || is_backbone(name))
            && self.has("backbone.");
        if !is_dino {
            return;
        }
        let (heads, names): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.names).into_iter().partition(|(name, _)| is_head(name));
        self.is_dino = true;
        self.names = names;
        let reason = "DINO's projection head, of no use after its training";
        self.outside.extend(heads.into_values().map(|full| (full, reason.to_owned())));
    }
}
