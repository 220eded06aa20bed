//! Reading where the sweeps of a server stand, without touching anything.

use serde::Serialize;
use shared::books::JobState;
use shared::bus::{Bucket, Bus};
use shared::ids::JobId;
use shared::protocol::{Presence, SweepRecord, subjects};

use crate::sweep::plan::Plan;
use crate::view::labels::Labels;

/// One sweep as the books have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepStatus {
    pub name: String,
    pub jobs: Vec<JobStatus>,
}

/// One job of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobStatus {
    pub id: JobId,
    pub label: String,
    /// `pending`, `running`, `done` or `failed`.
    pub state: &'static str,
    pub worker: Option<String>,
    /// Finished epochs, of `epochs`.
    pub epoch: u32,
    pub epochs: u32,
    /// Validation macro F1 so far, in percent.
    pub macro_f1: Option<f64>,
    pub attempts: u32,
    /// Why it failed.
    pub error: Option<String>,
}

/// All sweeps that the books know, by name, and the workers that reported lately.
pub async fn read_status(bus: &Bus) -> anyhow::Result<(Vec<SweepStatus>, Vec<Presence>)> {
    let mut keys = bus.keys(subjects::SWEEP_KEYS).await?;
    keys.sort();
    let mut sweeps = Vec::new();
    for key in keys {
        let record: SweepRecord = bus.read(&key, SweepRecord::VERSION).await?;
        let plan: Plan = serde_json::from_slice(&bus.get_blob(Bucket::Results, &record.plan).await?)?;
        sweeps.push(sweep(bus, &plan).await?);
    }
    Ok((sweeps, bus.workers().await?))
}

async fn sweep(bus: &Bus, plan: &Plan) -> anyhow::Result<SweepStatus> {
    let labels = Labels::of(plan);
    let mut jobs = Vec::new();
    for job in &plan.jobs {
        let record = bus.record(job.id).await?.map(|entry| entry.record);
        let mut status = JobStatus {
            id: job.id,
            label: labels.get(job.id),
            state: "pending",
            worker: None,
            epoch: record.as_ref().map_or(0, shared::books::JobRecord::saved_epochs),
            epochs: job.spec.training.epochs,
            macro_f1: None,
            attempts: record.as_ref().map_or(0, |record| record.attempts),
            error: None,
        };
        match record.map(|record| record.state) {
            None | Some(JobState::Pending) => {}
            Some(JobState::Running { token, progress, .. }) => {
                status.state = "running";
                status.worker = Some(token.owner.name().to_owned());
                status.epoch = progress.epoch;
                status.macro_f1 = progress.macro_f1;
            }
            Some(JobState::Done { token }) => {
                let result = bus.result(job.id).await?;
                status.state = "done";
                status.worker = Some(token.owner.name().to_owned());
                status.epoch = status.epochs;
                status.macro_f1 = result.best().map(|best| best.validation.macro_f1);
            }
            Some(JobState::Failed { reason }) => {
                status.state = "failed";
                status.error = Some(reason);
            }
        }
        jobs.push(status);
    }
    Ok(SweepStatus { name: plan.name.clone(), jobs })
}
