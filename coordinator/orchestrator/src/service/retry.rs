//! Asks for a job to be trained again, while a sweep runs or before the next run.

use std::collections::BTreeMap;

use shared::books::JobState;
use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;
use shared::metrics::Ranking;
use shared::protocol::{SweepRecord, subjects};

use crate::sweep::plan::Plan;
use crate::view::labels::Labels;

/// A job that has ended and can be trained again.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedJob {
    pub job: JobId,
    pub label: String,
    /// The sweeps that ask for it.
    pub sweeps: Vec<String>,
    /// How it ended, in words.
    pub outcome: String,
}

/// Why a job cannot be trained again.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    #[error("no job's id begins with `{wanted}`: `ferry status --json` lists the jobs with their ids")]
    Unknown { wanted: String },
    #[error("`{wanted}` is the beginning of several ids: {}; give more of it", .ids.join(", "))]
    Ambiguous { wanted: String, ids: Vec<String> },
    #[error("job {} ({label}) is {now}: it has not ended yet, so there is nothing to train again", job.short())]
    Open { job: JobId, label: String, now: String },
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("the plan of sweep {sweep} on the server cannot be read: {source}")]
    Plan { sweep: String, source: serde_json::Error },
}

/// A job that could be meant.
struct Found {
    label: String,
    sweeps: Vec<String>,
    score_name: String,
    ranking: Ranking,
}

/// The one job whose id begins with `wanted`, in any sweep that the books know.
///
/// # Errors
/// When there is no such job, there are several, it has not ended, or the server does not answer.
pub async fn find_ended(bus: &Bus, wanted: &str) -> Result<EndedJob, RetryError> {
    let mut found: BTreeMap<JobId, Found> = BTreeMap::new();
    let mut keys = bus.keys(subjects::SWEEP_KEYS).await?;
    keys.sort();
    for key in keys {
        let SweepRecord { name, plan, .. } = bus.read(&key, SweepRecord::VERSION).await?;
        let text = bus.get_blob(Bucket::Results, &plan).await?;
        let plan: Plan = serde_json::from_slice(&text)
            .map_err(|source| RetryError::Plan { sweep: name.clone(), source })?;
        let labels = Labels::of(&plan);
        for job in plan.jobs.iter().map(|job| job.id).filter(|job| job.begins_with(wanted)) {
            let new = || Found {
                label: labels.get(job),
                sweeps: Vec::new(),
                score_name: plan.score_name(),
                ranking: plan.ranking.clone(),
            };
            found.entry(job).or_insert_with(new).sweeps.push(name.clone());
        }
    }
    if found.len() > 1 {
        let ids = found.keys().map(ToString::to_string).collect();
        return Err(RetryError::Ambiguous { wanted: wanted.to_owned(), ids });
    }
    let Some((job, Found { label, sweeps, score_name, ranking })) =
        found.pop_first().filter(|_| !wanted.is_empty())
    else {
        return Err(RetryError::Unknown { wanted: wanted.to_owned() });
    };
    let entry = bus.record(job).await?;
    let outcome = match entry.map(|entry| entry.record.state) {
        Some(JobState::Done { .. }) => {
            let score = ranking.score(&bus.result(job).await?.metrics);
            score.map_or_else(|| "done".to_owned(), |score| format!("done with {score_name} {score:.2}"))
        }
        Some(state @ (JobState::Failed { .. } | JobState::Parked { .. })) => state.describe(),
        Some(state @ (JobState::Pending | JobState::Running { .. })) => {
            return Err(RetryError::Open { job, label, now: state.describe() });
        }
        None => return Err(RetryError::Open { job, label, now: "not in the books yet".to_owned() }),
    };
    Ok(EndedJob { job, label, sweeps, outcome })
}

/// Opens the job again and queues it.
///
/// # Errors
/// When the job has not ended, its record changed at the same moment, or the server does not answer.
pub async fn retry(bus: &Bus, EndedJob { job, label, .. }: &EndedJob) -> Result<(), RetryError> {
    let (job, label) = (*job, label.clone());
    let Some(entry) = bus.record(job).await? else {
        return Err(RetryError::Open { job, label, now: "not in the books".to_owned() });
    };
    let Some(next) = entry.record.retried() else {
        return Err(RetryError::Open { job, label, now: entry.record.state.describe() });
    };
    bus.swap(job, entry.revision, &next).await?;
    // A run regularly queues all open jobs, so this only saves time, and helps workers while no run is active.
    if let Err(error) = bus.enqueue(job).await {
        tracing::debug!(%job, %error, "not queued yet");
    }
    Ok(())
}
