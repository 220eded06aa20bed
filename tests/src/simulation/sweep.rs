//! The sweep of a history: jobs of a trainer that no program knows, without a dataset.

use std::collections::BTreeMap;

use orchestrator::sweep::plan::Plan;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::ids::JobId;
use shared::job::{Job, TrainerId};

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
    /// The plan with which it begins.
    pub(super) plan: Plan,
    /// All jobs that it ever has.
    pub(super) jobs: BTreeMap<JobId, (Spec, Script)>,
    /// The same by number.
    numbered: Vec<Spec>,
}

impl Sweep {
    pub(super) fn of(history: &History) -> Self {
        let all: Vec<(Spec, Script)> = (0..)
            .zip(history.scripts())
            .map(|(seed, script)| (Spec { seed, epochs: script.epochs }, *script))
            .collect();
        let numbered: Vec<Spec> = all.iter().map(|(spec, _)| *spec).collect();
        let jobs = all.into_iter().map(|(spec, script)| (spec.job().id(), (spec, script))).collect();
        Self { plan: plan(history, &numbered[..history.jobs.len()]), jobs, numbered }
    }

    pub(super) fn ids(&self, jobs: &[usize]) -> Vec<JobId> {
        jobs.iter().map(|&job| self.numbered[job].job().id()).collect()
    }

    /// A plan of these jobs.
    pub(super) fn plan_of(&self, history: &History, jobs: &[usize]) -> Plan {
        let specs: Vec<Spec> = jobs.iter().map(|&job| self.numbered[job]).collect();
        plan(history, &specs)
    }

    /// Scripts by the seed in the job's settings, by which a training finds its script.
    pub(super) fn scripts(&self) -> BTreeMap<u64, Script> {
        self.jobs.values().map(|(spec, script)| (spec.seed, *script)).collect()
    }
}

fn plan(history: &History, specs: &[Spec]) -> Plan {
    Plan {
        checkpoint_every: history.checkpoint_every,
        ..in_process::plan("simulated", trainer(), specs.iter().map(|spec| spec.job()))
    }
}
