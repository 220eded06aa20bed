//! Reads the state of all sweeps on a server, without changing anything.

use serde::Serialize;
use shared::books::{JobState, Standing, WorkerRecord};
use shared::bus::{Bucket, Bus};
use shared::ids::JobId;
use shared::protocol::{Presence, SweepRecord, Wish, subjects};

use crate::sweep::plan::Plan;
use crate::view::labels::Labels;

/// One sweep, as its records show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepStatus {
    pub name: String,
    /// What the jobs' scores are called.
    pub score_name: String,
    pub jobs: Vec<JobStatus>,
}

/// One job of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobStatus {
    pub id: JobId,
    pub label: String,
    /// `pending`, `running`, `paused`, `cancelled`, `done` or `failed`.
    pub state: &'static str,
    pub worker: Option<String>,
    /// Finished epochs, of `epochs`.
    pub epoch: u32,
    pub epochs: u32,
    /// The metric by which jobs are compared, so far.
    pub score: Option<f64>,
    /// Reasons not to trust the score of a finished job, each in a sentence.
    pub warnings: Vec<String>,
    pub attempts: u32,
    /// Attempts that ended with an error of the training.
    pub failures: usize,
    /// Workers that were lost since the last finished epoch.
    pub losses: u32,
    /// How often it was returned to the queue because of the server, the network or a disk, which does not count
    /// against it.
    #[serde(rename = "setbacks")]
    pub deferrals: u32,
    /// Why it failed for good.
    pub error: Option<String>,
    /// The last lines of the log of the training that failed last.
    pub log: Vec<String>,
    /// The command that shows the error of a failed job.
    pub reproduce: Option<String>,
}

/// Everything that the server knows.
#[derive(Debug, Clone, Default)]
pub struct Status {
    pub sweeps: Vec<SweepStatus>,
    /// Workers that reported recently.
    pub workers: Vec<Presence>,
    /// Workers on probation or drained.
    pub standings: Vec<WorkerRecord>,
    pub store: Vec<BucketStatus>,
}

/// What one bucket of the store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BucketStatus {
    pub bucket: &'static str,
    /// Bytes that the server keeps, including unfinished uploads.
    pub bytes: u64,
    pub objects: usize,
    /// Bytes of these objects.
    pub live_bytes: u64,
    /// Uploads that were never finished; they are removed after ten minutes without progress.
    pub uploads: usize,
}

/// All sweeps by name, the workers, and the store.
///
/// # Errors
/// When the server cannot be reached, or a record cannot be read.
pub async fn read_status(bus: &Bus) -> anyhow::Result<Status> {
    let mut keys = bus.keys(subjects::SWEEP_KEYS).await?;
    keys.sort();
    let mut sweeps = Vec::new();
    for key in keys {
        let record: SweepRecord = bus.read(&key, SweepRecord::VERSION).await?;
        let plan: Plan = serde_json::from_slice(&bus.get_blob(Bucket::Results, &record.plan).await?)?;
        sweeps.push(sweep(bus, &plan).await?);
    }
    let mut standings = bus.standings().await?;
    standings.retain(|record| record.standing != Standing::Trusted);
    let mut store = Vec::new();
    for bucket in Bucket::ALL {
        let inventory = bus.inventory(bucket).await?;
        store.push(BucketStatus {
            bucket: bucket.name(),
            bytes: inventory.bytes,
            objects: inventory.objects.len(),
            live_bytes: inventory.objects.iter().map(|object| object.size).sum(),
            uploads: inventory.uploads.len(),
        });
    }
    Ok(Status { sweeps, workers: bus.workers().await?, standings, store })
}

async fn sweep(bus: &Bus, plan: &Plan) -> anyhow::Result<SweepStatus> {
    let (labels, kind) = (Labels::of(plan), plan.kind());
    let mut jobs = Vec::new();
    for job in &plan.jobs {
        let record = bus.record(job.id).await?.map(|entry| entry.record);
        let mut status = JobStatus {
            id: job.id,
            label: labels.get(job.id),
            state: "pending",
            worker: None,
            epoch: record.as_ref().map_or(0, shared::books::JobRecord::saved_epochs),
            epochs: kind.map_or(0, |kind| kind.effort(&job.settings.to_map(), 0).epochs),
            score: record.as_ref().and_then(shared::books::JobRecord::last_score),
            warnings: Vec::new(),
            attempts: record.as_ref().map_or(0, |record| record.attempts),
            failures: record.as_ref().map_or(0, |record| record.failures.len()),
            losses: record.as_ref().map_or(0, |record| record.losses),
            deferrals: record.as_ref().map_or(0, |record| record.deferrals),
            error: None,
            log: record
                .as_ref()
                .and_then(|r| r.failures.last())
                .map_or_else(Vec::new, |last| last.log.clone()),
            reproduce: None,
        };
        match record.map(|record| record.state) {
            None => {}
            Some(JobState::Pending) => {
                let known = bus.order_entry(job.id).await?;
                match known.map_or(Wish::Train, |known| known.order.execution.steering.wish) {
                    Wish::Train => {}
                    Wish::Pause => status.state = "paused",
                    Wish::Cancel => status.state = "cancelled",
                }
            }
            Some(JobState::Running { token, progress, .. }) => {
                status.state = "running";
                status.worker = Some(token.owner.name().to_owned());
                status.epoch = progress.epoch;
            }
            Some(JobState::Done { token, stopped_after }) => {
                let result = bus.result(job.id).await?;
                status.state = "done";
                status.worker = Some(token.owner.name().to_owned());
                status.epoch = stopped_after.unwrap_or(status.epochs);
                status.score = plan.ranking.score(&result.metrics);
                let warnings =
                    kind.map_or_else(Vec::new, |kind| kind.warnings(&result, &job.settings.to_map()));
                status.warnings = warnings.iter().map(ToString::to_string).collect();
            }
            Some(JobState::Failed { reason } | JobState::Parked { reason }) => {
                status.state = "failed";
                status.error = Some(reason);
                status.reproduce = labels.reproduce(job.id);
            }
        }
        jobs.push(status);
    }
    Ok(SweepStatus { name: plan.name.clone(), score_name: plan.score_name(), jobs })
}
