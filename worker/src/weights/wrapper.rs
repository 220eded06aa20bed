//! Finds the state dict in the files of training scripts: nested in dictionaries, and with prefixes on every name.
//!
//! `torch.compile` puts `_orig_mod.` in front of every name, `DataParallel` `module.`, and Lightning the name of the
//! attribute, such as `model.`. A prefix that all names share is stripped if the rest are the names of a known layout.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Tensors;
use super::layout::{self, Layout};

/// Names under which training scripts save a state dict.
const KEYS: [&str; 7] =
    ["model_state_dict", "state_dict", "student", "teacher", "model", "ema_state_dict", "net"];

/// How many nested prefixes are tried, more than any script uses.
const MAX_DEPTH: usize = 8;
/// How many prefixes are tried for a hint.
const MAX_HINTS: usize = 256;

/// The tensors of one state dict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateDict {
    /// From the short name to the name in the file.
    pub(super) names: BTreeMap<String, String>,
    /// The dictionary in which it was found.
    pub(super) key: Option<String>,
    /// Stripped from every name.
    pub(super) prefix: String,
    /// True for DINO's self-supervised checkpoints: a backbone next to its projection head.
    pub(super) is_dino: bool,
    /// Tensors in the file that do not belong to it (the optimiser's, another network's): name and reason.
    pub(super) outside: Vec<(String, String)>,
}

/// Why no state dict was chosen: the file has several, or not the requested one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapperError {
    #[error("the file contains several networks, {}: choose one with --key", .0.join(" and "))]
    Several(Vec<String>),
    #[error("the file has no `{key}`; it has {}", found.join(", "))]
    NoKey { key: String, found: Vec<String> },
    #[error("no name starts with `{prefix}`; they start with {}", found.join(", "))]
    NoPrefix { prefix: String, found: Vec<String> },
}

/// The state dict under `key`, or the only one in the file, limited to the names that start with `prefix`.
///
/// Without a key, the prefix may also be a prefix of the full names, as `inspect --tensors` lists them.
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

    /// The key of the state dict; `None` if it is not nested in a dictionary.
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

    /// The first parts of all names with several parts.
    fn tops(&self) -> Vec<String> {
        let tops: BTreeSet<&str> =
            self.names.keys().filter_map(|name| Some(name.split_once('.')?.0)).collect();
        tops.into_iter().map(str::to_owned).collect()
    }

    /// Keeps the names that start with `prefix`, and strips it.
    fn enter(&mut self, prefix: &str) {
        for (name, full) in std::mem::take(&mut self.names) {
            match name.strip_prefix(prefix) {
                Some(short) => drop(self.names.insert(short.to_owned(), full)),
                None => self.outside.push((full, format!("outside of `{}`", prefix.trim_end_matches('.')))),
            }
        }
    }

    /// Strips the prefixes that all names share, if that gives the names of a known layout.
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

    /// DINO stores the network under `backbone.` and its projection head under `head.`, which is dropped. Heads of other
    /// trainings have other names, and must not be recognised as DINO's, because that would decide the topology.
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
        let reason = "DINO's projection head, which is used only in its training";
        self.outside.extend(heads.into_values().map(|full| (full, reason.to_owned())));
    }
}
