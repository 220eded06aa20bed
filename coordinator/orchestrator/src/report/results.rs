//! results.json: every number of the report, for scripts. F1 is in percent, paths are relative to the run folder.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shared::confusion::{Confusion, Score};
use shared::device::DeviceRecord;
use shared::ids::{JobId, WorkerId};
use shared::job::TrainerId;
use shared::metrics::{Metrics, Ranking};
use shared::mtl::report::MICRO_BATCHES;
use shared::result::{JobResult, TEST, VALIDATION};
use shared::trainer::TrainerKind;
use shared::warning::Warning;

use super::error::ReportError;
use crate::ensemble::{MemberProbabilities, Scores, Selection, choose, score, vote};
use crate::run_dir::{RunDir, RunRecord};
use crate::sweep::job_settings::JobSettings;
use crate::sweep::plan::{EnsembleRule, PaperScores, PlannedJob};
use crate::view::labels::Labels;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    pub sweep: String,
    pub trainer: TrainerId,
    /// The metric by which jobs are compared.
    pub ranking: Ranking,
    /// Null if the jobs read no dataset.
    pub dataset_digest: Option<String>,
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
    pub params: JobSettings,
    /// The value of the metric that ranks; null also if it is missing or not a number.
    pub score: Option<f64>,
    /// The metrics that the job ended with.
    pub metrics: Option<Metrics>,
    /// Number of epochs trained.
    pub epochs: Option<u32>,
    /// The same if it ended early on request, and may still go on; absent if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_after: Option<u32>,
    /// Also null if the trainer chose none.
    pub best_epoch: Option<u32>,
    /// From the predictions; null also without any.
    pub val_macro_f1: Option<f64>,
    /// Also null if the test labels are not known.
    pub test_macro_f1: Option<f64>,
    pub val_per_class_f1: Option<Vec<f64>>,
    pub test_per_class_f1: Option<Vec<f64>>,
    pub train_seconds: Option<f64>,
    /// The most micro-batches that a step was cut into because batches did not fit into memory; 1 means that none was.
    /// Also null for trainers that do not cut them.
    pub micro_batches: Option<u32>,
    pub worker: Option<WorkerId>,
    pub attempts: Option<u32>,
    pub device: Option<DeviceRecord>,
    /// Also null for a result without predictions.
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
    pub val: Option<String>,
    pub test: Option<String>,
    /// Predictions with other names.
    #[serde(flatten)]
    pub others: BTreeMap<String, String>,
}

/// One ensemble. It is final when every candidate that could matter has finished. Until then its members and scores are
/// those of the jobs known so far; scores are null while there is no member, and if a member has no predictions.
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
    pub val_per_class_f1: Option<Vec<f64>>,
    pub test_per_class_f1: Option<Vec<f64>>,
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

/// Computes every number from what the run folder stores.
pub(super) fn build(record: &RunRecord) -> Result<Results, ReportError> {
    let plan = &record.plan;
    let kind = plan.kind();
    let labels = Labels::of(plan);
    let jobs: Vec<JobRow> = plan.jobs.iter().map(|job| job_row(record, kind, &labels, job)).collect();
    let unranked = jobs.iter().filter(|job| job.state == JobState::Done && job.score.is_none());
    let scores = Scores {
        ranking: jobs.iter().filter_map(|job| Some((job.id, job.score?))).collect(),
        unranked: unranked.map(|job| job.id).collect::<BTreeSet<JobId>>(),
        failed: record.failures.keys().copied().collect(),
    };
    let ensembles = plan
        .ensembles
        .iter()
        .map(|rule| ensemble_row(record, rule, choose(plan, &scores, rule)))
        .collect::<Result<_, _>>()?;
    Ok(Results {
        sweep: plan.name.clone(),
        trainer: plan.trainer.clone(),
        ranking: plan.ranking.clone(),
        dataset_digest: plan.dataset_digest.clone(),
        jobs,
        ensembles,
        drained_workers: record
            .drained
            .iter()
            .map(|(worker, reason)| DrainedWorker { worker: worker.clone(), reason: reason.clone() })
            .collect(),
    })
}

fn job_row(
    record: &RunRecord,
    kind: Option<&'static dyn TrainerKind>,
    labels: &Labels,
    job: &PlannedJob,
) -> JobRow {
    let result = record.results.get(&job.id);
    let failure = record.failures.get(&job.id);
    let state = match (result, failure) {
        (Some(_), _) => JobState::Done,
        (None, Some(_)) => JobState::Failed,
        (None, None) => JobState::Unfinished,
    };
    let [val, test] = [VALIDATION, TEST].map(|split| job_score(record, job.id, split));
    let doubts = result.zip(kind).map(|(result, kind)| kind.warnings(result, &job.settings.to_map()));
    JobRow {
        id: job.id,
        group: job.group.clone(),
        state,
        error: failure.map(|failure| failure.error.clone()),
        log: failure.map(|failure| failure.log.clone()),
        reproduce: failure.and_then(|_| labels.reproduce(job.id)),
        params: job.params.clone(),
        score: result.and_then(|r| record.plan.ranking.score(&r.metrics)),
        metrics: result.map(|r| r.metrics.clone()),
        epochs: result.map(JobResult::epochs),
        stopped_after: result.and_then(|result| result.stopped_after),
        best_epoch: result.and_then(|r| r.best_epoch),
        val_macro_f1: val.as_ref().map(|s| s.macro_f1),
        test_macro_f1: test.as_ref().map(|s| s.macro_f1),
        val_per_class_f1: val.map(|s| s.per_class_f1),
        test_per_class_f1: test.map(|s| s.per_class_f1),
        train_seconds: result.map(|r| r.train_seconds),
        micro_batches: result.and_then(micro_batches),
        worker: result.map(|r| r.worker.clone()),
        attempts: result.map(|r| r.attempt.0),
        device: result.map(|r| r.device.clone()),
        probabilities: result.and_then(paths),
        model: result.filter(|_| record.models.contains(&job.id)).and_then(model),
        warnings: doubts.into_iter().flatten().map(ScoreWarning::from).collect(),
    }
}

fn job_score(record: &RunRecord, job: JobId, split: &str) -> Option<Score> {
    let matrix = record.predictions.get(&job)?.get(split)?;
    score(matrix, record.samples.get(split)?)
}

/// The largest number that any report of the training names.
fn micro_batches(result: &JobResult) -> Option<u32> {
    let named = result.history.iter().filter_map(|point| point.metrics.get(MICRO_BATCHES));
    named.reduce(f64::max).map(|most| most as u32)
}

fn paths(result: &JobResult) -> Option<ProbabilityPaths> {
    let names = result.predictions.keys();
    let mut paths: BTreeMap<String, String> =
        names.map(|name| (name.clone(), RunDir::probabilities_name(result.job, name))).collect();
    (!paths.is_empty()).then(|| ProbabilityPaths {
        val: paths.remove(VALIDATION),
        test: paths.remove(TEST),
        others: paths,
    })
}

fn model(result: &JobResult) -> Option<ModelFile> {
    let model = result.model()?;
    let path = RunDir::model_name(result.job);
    Some(ModelFile { path, sha256: model.sha256.clone(), size: model.size })
}

fn ensemble_row(
    record: &RunRecord,
    rule: &EnsembleRule,
    selection: Selection,
) -> Result<EnsembleRow, ReportError> {
    let val = ensemble_score(record, rule, &selection, VALIDATION)?;
    let test = ensemble_score(record, rule, &selection, TEST)?;
    let doubt = val.as_ref().and_then(Warning::of_confusion);
    let f1 = |score: &Option<Score>| score.as_ref().map(|score| (score.macro_f1, score.per_class_f1.clone()));
    let ((val_macro_f1, val_per_class_f1), (test_macro_f1, test_per_class_f1)) =
        (f1(&val).unzip(), f1(&test).unzip());
    Ok(EnsembleRow {
        name: rule.name.clone(),
        selection,
        size: rule.size,
        val_macro_f1,
        test_macro_f1,
        val_per_class_f1,
        test_per_class_f1,
        val_confusion: val.map(|s| s.confusion),
        test_confusion: test.map(|s| s.confusion),
        paper: rule.paper,
        warnings: doubt.map(ScoreWarning::from).into_iter().collect(),
    })
}

/// `None` without members, if one of them has no such predictions, or without any known label.
fn ensemble_score(
    record: &RunRecord,
    rule: &EnsembleRule,
    selection: &Selection,
    split: &str,
) -> Result<Option<Score>, ReportError> {
    let members: Option<Vec<MemberProbabilities<'_>>> =
        selection.members.iter().map(|&job| member(record, job, split)).collect();
    let members = members.filter(|members| !members.is_empty());
    let (Some(samples), Some(members)) = (record.samples.get(split), members) else {
        return Ok(None);
    };
    let mean = vote(&members).map_err(|source| ReportError::Vote { ensemble: rule.name.clone(), source })?;
    Ok(score(&mean, samples))
}

/// A finished job's predictions of a split, as they vote; `None` if it has none.
pub(super) fn member<'a>(record: &'a RunRecord, job: JobId, split: &str) -> Option<MemberProbabilities<'a>> {
    let result = record.results.get(&job)?;
    Some(MemberProbabilities {
        job,
        dataset_digest: result.inputs.dataset.as_deref(),
        samples_digest: &result.predictions.get(split)?.samples_digest,
        probabilities: record.predictions.get(&job)?.get(split)?,
    })
}
