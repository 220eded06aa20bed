//! Which part of the training split a job sees: strong models see all of it, weak ones a seeded share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Drop, Irrelevant};
use crate::settings::Problem;

/// The training subset of one job, drawn by [`crate::subset::stratified`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubsetSpec {
    /// Share of each class, drawn without replacement; 1 is the whole training split.
    pub subset_fraction: f64,
    /// Seed of that draw.
    pub subset_seed: u64,
}

impl Default for SubsetSpec {
    fn default() -> Self {
        Self { subset_fraction: 1.0, subset_seed: 0 }
    }
}

impl SubsetSpec {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let fraction = self.subset_fraction > 0.0 && self.subset_fraction <= 1.0;
        Problem::unless(fraction, problems, "subset_fraction", "must be above 0 and at most 1");
    }

    pub(super) fn irrelevant(&self, drop: &mut Drop<'_>) {
        if self.subset_fraction >= 1.0 {
            drop(&["subset_seed"], Irrelevant::Because("subset_fraction"));
        }
    }
}
