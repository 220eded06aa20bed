//! The sweep of a history: jobs of a trainer that no program knows, without a dataset.

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestrator::sweep::plan::Plan;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::ids::JobId;
use shared::job::{Job, TrainerId};
use shared::trainer::Effort;

use super::history::{History, Script};
use crate::in_process;

/// The settings of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) seed: u64,
    pub(super) epochs: u32,
}

impl Spec {
    /// # Errors
    ///
    /// The job is not one of a simulation.
    pub(super) fn of(job: &Job) -> Result<Self, serde_json::Error> {
        serde_json::from_value(Value::Object(job.settings.clone()))
    }

    fn job(self) -> Job {
        in_process::job(&trainer(), &[("seed", self.seed), ("epochs", self.epochs.into())])
    }
}

/// The trainer of all jobs.
pub(super) fn trainer() -> TrainerId {
    in_process::trainer("simulated")
}

/// A history's jobs.
pub(super) struct Sweep {
    pub(super) plan: Arc<Plan>,
    pub(super) jobs: BTreeMap<JobId, (Spec, Script)>,
}

impl Sweep {
    pub(super) fn of(history: &History) -> Self {
        let specs = history.jobs.iter().enumerate().map(|(index, script)| {
            let spec = Spec { seed: index as u64, epochs: script.epochs };
            (spec.job().id(), (spec, *script))
        });
        let jobs: BTreeMap<_, _> = specs.collect();
        let all = jobs.values().map(|(spec, _)| spec.job());
        let plan = Plan {
            checkpoint_every: history.checkpoint_every,
            ..in_process::plan("simulated", trainer(), all)
        };
        Self { plan: Arc::new(plan), jobs }
    }

    /// How much work each job is, as far as the coordinator knows.
    pub(super) fn efforts(&self) -> impl Iterator<Item = (JobId, Effort)> {
        let effort = |spec: &Spec| Effort { epochs: spec.epochs, units: 1.0, class: 0 };
        self.jobs.iter().map(move |(&job, (spec, _))| (job, effort(spec)))
    }

    /// Scripts by the seed in the job's settings, by which a training finds its script.
    pub(super) fn scripts(&self) -> BTreeMap<u64, Script> {
        self.jobs.values().map(|(spec, script)| (spec.seed, *script)).collect()
    }
}
