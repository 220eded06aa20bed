//! results.json: every number of the report, for scripts. F1 is in percent, paths are relative to the run folder.

use serde::Serialize;
use shared::expression::CLASSES;
use shared::ids::{JobId, WorkerId};
use shared::job::Settings;
use shared::metrics::Confusion;
use shared::pack::Split;
use shared::predictions::SampleList;
use shared::result::{DeviceRecord, JobResult, Score};
use shared::warning::Warning;

use super::error::ReportError;
use crate::ensemble::{MemberProbabilities, Scores, Selection, choose, score, vote};
use crate::run_dir::{self, RunDir, RunRecord};
use crate::sweep::plan::{EnsembleRule, PaperScores, PlannedJob};
use crate::view::labels::reproduce;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    pub sweep: String,
    pub dataset_digest: String,
    /// Every job of the plan, in its order.
    pub jobs: Vec<JobRow>,
    pub ensembles: Vec<EnsembleRow>,
    /// Workers that were taken out of the sweep.
    pub drained_workers: Vec<DrainedWorker>,
}

impl Results {
    /// What to say if no job or ensemble with a score is above chance level.
    pub fn all_at_chance(&self) -> Option<String> {
        let mut scored = self.jobs.iter().filter(|job| job.val_macro_f1.is_some()).peekable();
        scored.peek()?;
        let ensembles = self.ensembles.iter().filter(|ensemble| ensemble.val_macro_f1.is_some());
        let none_above = scored.all(|job| !job.is_above_chance())
            && ensembles.into_iter().all(|ensemble| !ensemble.is_above_chance());
        let text = "No model of this sweep is above chance level. If the networks start from random weights, try \
                    `preset: small`; if they diverged, lower `learning_rate`.";
        none_above.then(|| text.to_owned())
    }
}

/// A worker that was taken out of the sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrainedWorker {
    pub worker: String,
    pub reason: String,
}

/// A job's state, as the run folder shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Done,
    Failed,
    Unfinished,
}

/// One job. Everything that comes from its result is null until there is one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobRow {
    pub id: JobId,
    pub group: String,
    pub state: JobState,
    /// Why it failed for good.
    pub error: Option<String>,
    /// The last lines of the log of the training that failed last.
    pub log: Option<Vec<String>>,
    /// The command that shows the error again; null unless the job failed.
    pub reproduce: Option<String>,
    pub params: Settings,
    /// Number of epochs trained.
    pub epochs: Option<usize>,
    pub best_epoch: Option<u32>,
    pub val_macro_f1: Option<f64>,
    /// Also null if the test labels are not known.
    pub test_macro_f1: Option<f64>,
    pub val_per_class_f1: Option<[f64; CLASSES]>,
    pub test_per_class_f1: Option<[f64; CLASSES]>,
    pub train_seconds: Option<f64>,
    /// The most micro-batches that a step was cut into because batches did not fit into memory; 1 means that none was.
    pub micro_batches: Option<u32>,
    pub worker: Option<WorkerId>,
    pub attempts: Option<u32>,
    pub device: Option<DeviceRecord>,
    pub probabilities: Option<ProbabilityPaths>,
    /// Also null if the run folder does not have it.
    pub model: Option<ModelFile>,
    /// Reasons not to trust its score; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<ScoreWarning>,
}

impl JobRow {
    /// False if guessing reaches its validation score.
    pub fn is_above_chance(&self) -> bool {
        above_chance(&self.warnings)
    }
}

fn above_chance(warnings: &[ScoreWarning]) -> bool {
    warnings.iter().all(|warning| warning.kind != WarningKind::ChanceLevel)
}

/// A reason not to trust a score: `diverged` or `chance_level`, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScoreWarning {
    pub kind: WarningKind,
    pub text: String,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    Diverged,
    ChanceLevel,
}

impl WarningKind {
    /// A word or two, to print beside a score.
    pub(super) const fn brief(self) -> &'static str {
        match self {
            Self::Diverged => "diverged",
            Self::ChanceLevel => "chance level",
        }
    }
}

impl From<Warning> for ScoreWarning {
    fn from(warning: Warning) -> Self {
        let kind = match warning {
            Warning::Diverged { .. } => WarningKind::Diverged,
            Warning::ChanceLevel { .. } => WarningKind::ChanceLevel,
        };
        Self { kind, text: warning.to_string() }
    }
}

/// A job's model, its path relative to the run folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelFile {
    pub path: String,
    pub sha256: String,
    pub size: u64,
}

/// Paths of a job's matrices, relative to the run folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbabilityPaths {
    pub val: String,
    pub test: Option<String>,
}

/// One ensemble. It is final when every candidate that could matter has finished. Until then its members and scores are
/// those of the jobs known so far; scores are null while there is no member.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnsembleRow {
    pub name: String,
    /// Members, state, and the reason for each query's choice.
    #[serde(flatten)]
    pub selection: Selection,
    /// Number of members when all jobs are done.
    pub size: usize,
    pub val_macro_f1: Option<f64>,
    pub test_macro_f1: Option<f64>,
    pub val_per_class_f1: Option<[f64; CLASSES]>,
    pub test_per_class_f1: Option<[f64; CLASSES]>,
    /// `counts[true][predicted]`
    pub val_confusion: Option<Confusion>,
    pub test_confusion: Option<Confusion>,
    /// What the paper reports under this name.
    pub paper: Option<PaperScores>,
    /// Like those of a job.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<ScoreWarning>,
}

impl EnsembleRow {
    /// False where guessing reaches its validation score.
    pub fn is_above_chance(&self) -> bool {
        above_chance(&self.warnings)
    }
}

/// Computes every number from the stored probabilities.
pub(super) fn build(record: &RunRecord) -> Result<Results, ReportError> {
    let jobs: Vec<JobRow> = record.plan.jobs.iter().map(|job| job_row(record, job)).collect();
    let scores = Scores {
        validation: jobs.iter().filter_map(|job| Some((job.id, job.val_macro_f1?))).collect(),
        failed: record.failures.keys().copied().collect(),
    };
    let ensembles = record
        .plan
        .ensembles
        .iter()
        .map(|rule| ensemble_row(record, rule, choose(&record.plan, &scores, rule)))
        .collect::<Result<_, _>>()?;
    Ok(Results {
        sweep: record.plan.name.clone(),
        dataset_digest: record.plan.dataset_digest.clone().unwrap_or_default(),
        jobs,
        ensembles,
        drained_workers: record
            .drained
            .iter()
            .map(|(worker, reason)| DrainedWorker { worker: worker.clone(), reason: reason.clone() })
            .collect(),
    })
}

fn job_row(record: &RunRecord, job: &PlannedJob) -> JobRow {
    let result = record.results.get(&job.id);
    let failure = record.failures.get(&job.id);
    let state = match (result, failure) {
        (Some(_), _) => JobState::Done,
        (None, Some(_)) => JobState::Failed,
        (None, None) => JobState::Unfinished,
    };
    let (val, test) = job_scores(record, job.id);
    JobRow {
        id: job.id,
        group: job.group.clone(),
        state,
        error: failure.map(|failure| failure.error.clone()),
        log: failure.map(|failure| failure.log.clone()),
        reproduce: failure.map(|_| reproduce(&format!("{}.yaml", record.plan.name), job.id)),
        params: job.params.clone(),
        epochs: result.map(|r| r.epochs.len()),
        best_epoch: result.map(|r| r.best_epoch),
        val_macro_f1: val.map(|s| s.macro_f1),
        test_macro_f1: test.map(|s| s.macro_f1),
        val_per_class_f1: val.map(|s| s.per_class_f1),
        test_per_class_f1: test.map(|s| s.per_class_f1),
        train_seconds: result.map(|r| r.train_seconds),
        micro_batches: result.map(JobResult::micro_batches),
        worker: result.map(|r| r.worker.clone()),
        attempts: result.map(|r| r.attempt.0),
        device: result.map(|r| r.device.clone()),
        probabilities: result.map(paths),
        model: result.filter(|_| record.models.contains(&job.id)).map(model),
        warnings: result.map_or_else(Vec::new, |result| {
            Warning::of(result, &job.spec.loss).into_iter().map(ScoreWarning::from).collect()
        }),
    }
}

fn job_scores(record: &RunRecord, job: JobId) -> (Option<Score>, Option<Score>) {
    let Some(probabilities) = record.probabilities.get(&job) else { return (None, None) };
    let samples = &record.samples;
    let val = samples.validation.as_ref().and_then(|s| run_dir::score(&probabilities.validation, s));
    let test = samples.test.as_ref().zip(probabilities.test.as_ref());
    (val, test.and_then(|(samples, rows)| run_dir::score(rows, samples)))
}

fn paths(result: &JobResult) -> ProbabilityPaths {
    ProbabilityPaths {
        val: RunDir::probabilities_name(result.job, Split::Validation),
        test: result.test.as_ref().map(|_| RunDir::probabilities_name(result.job, Split::Test)),
    }
}

fn model(result: &JobResult) -> ModelFile {
    let path = RunDir::model_name(result.job);
    ModelFile { path, sha256: result.model.sha256.clone(), size: result.model.size }
}

fn ensemble_row(
    record: &RunRecord,
    rule: &EnsembleRule,
    selection: Selection,
) -> Result<EnsembleRow, ReportError> {
    let samples = &record.samples;
    let val =
        ensemble_score(record, rule, &selection, samples.validation.as_ref(), validation_probabilities)?;
    let test = ensemble_score(record, rule, &selection, samples.test.as_ref(), test_probabilities)?;
    Ok(EnsembleRow {
        name: rule.name.clone(),
        selection,
        size: rule.size,
        val_macro_f1: val.map(|s| s.macro_f1),
        test_macro_f1: test.map(|s| s.macro_f1),
        val_per_class_f1: val.map(|s| s.per_class_f1),
        test_per_class_f1: test.map(|s| s.per_class_f1),
        val_confusion: val.map(|s| s.confusion),
        test_confusion: test.map(|s| s.confusion),
        paper: rule.paper,
        warnings: val.as_ref().and_then(Warning::of_score).map(ScoreWarning::from).into_iter().collect(),
    })
}

/// `None` without members, without this split, or without any known label.
fn ensemble_score(
    record: &RunRecord,
    rule: &EnsembleRule,
    selection: &Selection,
    samples: Option<&SampleList>,
    probabilities: fn(&RunRecord, JobId) -> Option<MemberProbabilities<'_>>,
) -> Result<Option<Score>, ReportError> {
    let members: Option<Vec<MemberProbabilities<'_>>> =
        selection.members.iter().map(|&job| probabilities(record, job)).collect();
    let (Some(samples), Some(members)) = (samples, members.filter(|members| !members.is_empty())) else {
        return Ok(None);
    };
    let mean = vote(&members).map_err(|source| ReportError::Vote { ensemble: rule.name.clone(), source })?;
    Ok(score(&mean, samples))
}

fn validation_probabilities(record: &RunRecord, job: JobId) -> Option<MemberProbabilities<'_>> {
    let result = record.results.get(&job)?;
    Some(MemberProbabilities {
        job,
        dataset_digest: &result.dataset_digest,
        samples_digest: &result.validation.samples_digest,
        probabilities: &record.probabilities.get(&job)?.validation,
    })
}

fn test_probabilities(record: &RunRecord, job: JobId) -> Option<MemberProbabilities<'_>> {
    let result = record.results.get(&job)?;
    Some(MemberProbabilities {
        job,
        dataset_digest: &result.dataset_digest,
        samples_digest: &result.test.as_ref()?.samples_digest,
        probabilities: record.probabilities.get(&job)?.test.as_ref()?,
    })
}
