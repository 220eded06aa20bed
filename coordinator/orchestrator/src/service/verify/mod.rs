//! Trains a part of a job again, beside its result, and compares. Reads the run folder and the books, and writes neither.

mod retrainer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;

use shared::books::{JobRecord, JobState};
use shared::bus::{Bus, BusError};
use shared::job::{Job, TrainerId};
use shared::predictions::PredictionsError;
use shared::protocol::{CheckpointEvery, JobOrder};
use shared::result::JobResult;
use shared::retraining::{Fault, RetrainedResult, Retraining, RetrainingEvent};
use shared::trainer::TrainerKind;

pub use retrainer::RetrainSetup;
use retrainer::Retrainer;

use crate::run_dir::{RunDir, RunDirError, StoredResult};
use crate::sweep::plan::{Plan, PlannedJob};
use crate::verification::{Circumstances, Comparison, Evidence, NothingToCompare, Outcome, Section, compare};

/// Why a job was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("job {job} cannot be verified: {source}")]
    Nothing { job: String, source: NothingToCompare },
    #[error(
        "job {job} is done, but its result is not in the run folder: run the same `ferry run` command again, which stores \
         it there"
    )]
    NotStored { job: String },
    #[error("this version of Ferry does not know the trainer {0} of the sweep")]
    UnknownTrainer(TrainerId),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("{} cannot be started: {source}", program.display())]
    Start { program: PathBuf, source: std::io::Error },
    #[error("the job was not trained again: {error}")]
    Failed { error: String, fault: Fault },
    #[error("ferry-worker ended ({0}) before the training did; what it said is above")]
    Ended(ExitStatus),
    #[error("ferry-worker has another version than this program ({0}): use the one that was built with it")]
    Foreign(serde_json::Error),
    #[error("what ferry-worker tells cannot be read: {0}")]
    Listen(std::io::Error),
    #[error("the predictions `{name}` of the second training cannot be read: {source}")]
    Predictions { name: String, source: PredictionsError },
}

/// What is known of a job's training.
#[derive(Debug, Clone)]
pub struct Past {
    pub evidence: Evidence,
    pub circumstances: Circumstances,
    /// What its record wants readers to know.
    pub notes: Vec<String>,
    order: JobOrder,
}

/// A part of a job that was trained again.
#[derive(Debug, Clone)]
pub struct Verified {
    pub section: Section,
    pub comparison: Comparison,
    pub then: Circumstances,
    pub now: Circumstances,
    /// What the record of the job, and the second training, want readers to know.
    pub notes_then: Vec<String>,
    pub notes_now: Vec<String>,
}

/// What a job's result and the books tell of its training. `bus` reaches the books, if there are any.
///
/// # Errors
/// When there is no report of it, or it cannot be read.
pub async fn past(
    run: &RunDir,
    plan: &Plan,
    job: &PlannedJob,
    bus: Option<&Bus>,
) -> Result<Past, VerifyError> {
    if plan.kind().is_none() {
        return Err(VerifyError::UnknownTrainer(plan.trainer.clone()));
    }
    let record = match bus {
        Some(bus) => bus.record(job.id).await?.map(|entry| entry.record),
        None => None,
    };
    let short = || job.id.short();
    let mut order = plan.order(job);
    order.execution.checkpoint_every = CheckpointEvery::Epoch;
    let (mut evidence, circumstances, notes) = match (run.result_of(plan, job.id)?, record) {
        (Some(StoredResult { result, predictions }), record) => {
            order.execution.steering.limit = result.stopped_after;
            let record = record.filter(|record| is_of(record, &result));
            let (checkpoints, notes) = record.map_or_else(Default::default, |r| (r.checkpoints, r.notes));
            let circumstances = Circumstances {
                trainer: result.trainer.clone(),
                device: Some(result.device.clone()),
                software: result.software.clone(),
            };
            let epochs = result.epochs();
            let outcome = Some(Outcome { epochs, metrics: result.metrics, predictions });
            (Evidence { reports: result.history, outcome, checkpoints }, circumstances, notes)
        }
        (None, Some(record)) => {
            if matches!(record.state, JobState::Done { .. }) {
                return Err(VerifyError::NotStored { job: short() });
            }
            let reports = record.history.reports.into_iter().map(|reported| reported.point).collect();
            let circumstances = Circumstances { trainer: plan.trainer.clone(), device: None, software: None };
            let evidence = Evidence { reports, outcome: None, checkpoints: record.checkpoints };
            (evidence, circumstances, record.notes)
        }
        (None, None) => {
            return Err(VerifyError::Nothing { job: short(), source: NothingToCompare::NoReport });
        }
    };
    // Another revision of the trainer makes another job of the same settings, which has no checkpoint of this one.
    order.job = order.content.id();
    if order.job != job.id {
        evidence.checkpoints.clear();
    }
    Ok(Past { evidence, circumstances, notes, order })
}

/// Whether a record is of the attempt that gave this result.
fn is_of(record: &JobRecord, result: &JobResult) -> bool {
    match &record.state {
        JobState::Done { token, .. } => token.attempt == result.attempt && token.owner == result.worker,
        JobState::Pending | JobState::Running { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
            false
        }
    }
}

/// Trains `section` of a job again. `begun` is called when nothing more is asked of the server, and `reported` after
/// each report with its epoch.
///
/// # Errors
/// When the worker program cannot be started, or does not get to the end of the section.
pub async fn verify(
    past: Past,
    section: Section,
    setup: &RetrainSetup,
    begun: impl AsyncFnOnce(),
    mut reported: impl FnMut(u32),
) -> Result<Verified, VerifyError> {
    let Past { evidence, circumstances: then, notes: notes_then, order } = past;
    let (kind, job) = (kind_of(&order.content)?, order.job.short());
    let (from, until, to_the_end) = (section.from.clone(), section.until, section.to_the_end);
    let retraining = Retraining { v: Retraining::VERSION, order, from, until, to_the_end };
    let mut retrainer = Retrainer::start(setup, &retraining)?;
    let (mut begun, mut again) = (Some(begun), Evidence::default());
    let mut now = Circumstances { trainer: then.trainer.clone(), device: None, software: None };
    let mut notes_now = Vec::new();
    loop {
        match retrainer.next().await? {
            RetrainingEvent::Begun { trainer, device, software } => {
                now = Circumstances { trainer, device: Some(device), software: Some(software) };
                if let Some(begun) = begun.take() {
                    begun().await;
                }
            }
            RetrainingEvent::Reported { point } => {
                reported(point.epoch);
                again.reports.push(point);
            }
            RetrainingEvent::Noted { note } => notes_now.push(note),
            RetrainingEvent::Failed { error, fault } => return Err(VerifyError::Failed { error, fault }),
            RetrainingEvent::Ended { result } => {
                again.outcome = result.map(|result| outcome(&retrainer, until, result)).transpose()?;
                break;
            }
        }
    }
    let comparison = compare(&evidence, &section, &again, &|metric| !kind.is_about_machine(metric));
    if comparison.numbers == 0 {
        return Err(VerifyError::Nothing { job, source: NothingToCompare::NoNumber });
    }
    Ok(Verified { section, comparison, then, now, notes_then, notes_now })
}

fn kind_of(job: &Job) -> Result<&'static dyn TrainerKind, VerifyError> {
    let kind = shared::kinds::find(job.trainer.kind.as_str());
    kind.ok_or_else(|| VerifyError::UnknownTrainer(job.trainer.clone()))
}

fn outcome(
    retrainer: &Retrainer,
    epochs: u32,
    RetrainedResult { metrics, predictions }: RetrainedResult,
) -> Result<Outcome, VerifyError> {
    let mut matrices = BTreeMap::new();
    for name in predictions {
        let matrix = retrainer.matrix(&name)?;
        matrices.insert(name, matrix);
    }
    Ok(Outcome { epochs, metrics, predictions: matrices })
}
