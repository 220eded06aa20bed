//! Users to workers: which of them take no more jobs until that is taken back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The workers that users have drained, by name. Whether the coordinator trusts a worker is another matter
/// ([`crate::books::Standing`]): nothing counts against these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drains {
    pub v: u32,
    pub workers: BTreeMap<String, Drain>,
}

/// How a worker was drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Who has drained it, for people.
    pub by: String,
    /// It hands back what it trains, too, instead of finishing it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub now: bool,
}

impl Drains {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;

    /// How this worker was drained, if it was.
    pub fn of(&self, worker: &str) -> Option<&Drain> {
        self.workers.get(worker)
    }
}

impl Default for Drains {
    fn default() -> Self {
        Self { v: Self::VERSION, workers: BTreeMap::new() }
    }
}
