//! Reads the state of all sweeps on a server, without changing anything.

use serde::Serialize;
use shared::books::{JobRecord, JobState, Standing, WorkerRecord};
use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;
use shared::metrics::{Goal, Metrics};
use shared::protocol::{Drains, Presence, Priority, ScoredEnsemble, Steering, SweepRecord, Wish, subjects};
use shared::result::JobResult;
use shared::trainer::DatasetSize;

use super::books::Books;
use super::progress::finished_epochs;
use super::work::Work;
use crate::selection::Facts;
use crate::sweep::plan::{EnsembleRule, Plan, PlannedJob};
use crate::view::labels::Labels;

/// One sweep, as its records show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepStatus {
    pub name: String,
    /// What the jobs' scores are called.
    pub score_name: String,
    /// Which scores are better.
    pub goal: Goal,
    /// What is left to do, for the workers that are there.
    pub left: Work,
    /// Those of the plan, in its order.
    pub ensembles: Vec<EnsembleStatus>,
    pub jobs: Vec<JobStatus>,
}

/// An ensemble of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum EnsembleStatus {
    /// As the run that conducts the sweep last told.
    Scored(ScoredEnsemble),
    /// No run has told of it yet.
    Untold { name: String },
}

/// One job of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobStatus {
    pub id: JobId,
    pub label: String,
    /// `pending`, `running`, `paused`, `cancelled`, `done` or `failed`.
    pub state: &'static str,
    /// While it has not ended: how early it is trained.
    #[serde(skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    pub worker: Option<String>,
    /// Finished epochs, of `epochs`.
    pub epoch: u32,
    pub epochs: u32,
    /// The metric by which jobs are compared, so far.
    pub score: Option<f64>,
    /// Of its result, or of its last report.
    pub metrics: Metrics,
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
    /// Workers that users have drained.
    pub drains: Drains,
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
    status_with(bus, sweeps).await
}

/// These sweeps, with everything else that the server knows.
///
/// # Errors
/// As [`read_status`].
pub async fn status_with(bus: &Bus, sweeps: Vec<SweepStatus>) -> anyhow::Result<Status> {
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
    let (workers, drains) = (bus.workers().await?, bus.drains().await?);
    Ok(Status { sweeps, workers, standings, drains, store })
}

/// One sweep, read in a few passes, whatever its size.
pub(super) async fn sweep(bus: &Bus, plan: &Plan) -> Result<SweepStatus, BusError> {
    let books = Books::read(bus, plan).await?;
    let left = books.left(plan, &bus.workers().await?);
    let board = bus.scoreboard(&plan.name).await?.unwrap_or_default();
    let ensemble = |rule: &EnsembleRule| match board.of(&rule.name) {
        Some(scored) => EnsembleStatus::Scored(scored.clone()),
        None => EnsembleStatus::Untold { name: rule.name.clone() },
    };
    let labels = Labels::of(plan);
    let status = |job: &PlannedJob| {
        let known = Known {
            record: books.record(job.id),
            result: books.results.get(&job.id),
            steering: books.steering(job.id),
        };
        job_status(plan, job, &labels, &known)
    };
    Ok(SweepStatus {
        name: plan.name.clone(),
        score_name: plan.score_name(),
        goal: plan.ranking.goal,
        left,
        ensembles: plan.ensembles.iter().map(ensemble).collect(),
        jobs: plan.jobs.iter().map(status).collect(),
    })
}

/// What the books say of a job.
struct Known<'a> {
    record: Option<&'a JobRecord>,
    result: Option<&'a JobResult>,
    steering: Steering,
}

fn job_status(plan: &Plan, job: &PlannedJob, labels: &Labels, known: &Known<'_>) -> JobStatus {
    let kind = plan.kind();
    let epochs = kind.map_or(0, |kind| kind.effort(&job.settings.to_map(), DatasetSize::default()).epochs);
    let mut status = JobStatus::pending(job.id, labels.get(job.id), epochs);
    let Some(record) = known.record else { return status };
    status.epoch = finished_epochs(record, epochs);
    status.score = record.last_score();
    status.metrics =
        record.history.reports.last().map_or_else(Metrics::default, |last| last.point.metrics.clone());
    (status.attempts, status.losses, status.deferrals) = (record.attempts, record.losses, record.deferrals);
    status.failures = record.failures.len();
    status.log = record.failures.last().map_or_else(Vec::new, |last| last.log.clone());
    if !record.state.is_final() {
        status.priority = known.steering.priority.unwrap_or(plan.priority);
    }
    match &record.state {
        JobState::Pending => {
            status.state = match known.steering.wish {
                Wish::Train => "pending",
                Wish::Pause => "paused",
                Wish::Cancel => "cancelled",
            };
        }
        JobState::Running { token, .. } => {
            status.state = "running";
            status.worker = Some(token.owner.name().to_owned());
        }
        JobState::Done { token, .. } => {
            status.state = "done";
            status.worker = Some(token.owner.name().to_owned());
            if let Some(result) = known.result {
                status.score = plan.ranking.score(&result.metrics);
                status.metrics = result.metrics.clone();
                let warnings =
                    kind.map_or_else(Vec::new, |kind| kind.warnings(result, &job.settings.to_map()));
                status.warnings = warnings.iter().map(ToString::to_string).collect();
            }
        }
        JobState::Failed { reason } | JobState::Parked { reason } => {
            status.state = "failed";
            status.error = Some(reason.clone());
            status.reproduce = labels.reproduce(job.id);
        }
    }
    status
}

impl SweepStatus {
    /// True if every job is done, or cancelled on request.
    pub fn is_over(&self) -> bool {
        self.jobs.iter().all(|job| matches!(job.state, "done" | "cancelled"))
    }
}

impl JobStatus {
    /// A job that nobody has trained yet.
    pub fn pending(id: JobId, label: String, epochs: u32) -> Self {
        Self {
            id,
            label,
            state: "pending",
            priority: Priority::NORMAL,
            worker: None,
            epoch: 0,
            epochs,
            score: None,
            metrics: Metrics::default(),
            warnings: Vec::new(),
            attempts: 0,
            failures: 0,
            losses: 0,
            deferrals: 0,
            error: None,
            log: Vec::new(),
            reproduce: None,
        }
    }

    /// What a selection of jobs may ask for.
    pub(super) fn facts(&self) -> Facts {
        Facts {
            state: self.state,
            priority: self.priority,
            worker: self.worker.clone(),
            epoch: self.epoch,
            attempts: self.attempts,
            score: self.score,
            metrics: self.metrics.clone(),
        }
    }
}
