//! Reads a run folder strictly, so that no report is built from a damaged file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::ids::JobId;
use shared::predictions::{Matrix, SampleList, from_npy};
use shared::result::{JobResult, TEST, VALIDATION};
use shared::version::{DecodeError, Versions};

use super::check::{Samples, check_matrix};
use super::{
    JobFailure, PLAN, RunDir, RunDirError, RunRecord, StoredDrain, StoredFailure, StoredPlan, StoredResult,
    VERSION,
};
use crate::sweep::plan::{Plan, PlannedJob};

/// How many results are read before they are taken.
const AT_ONCE: usize = 4096;

impl RunDir {
    /// Opens an existing run folder.
    ///
    /// # Errors
    /// When the folder has no plan.
    pub fn open(root: &Path) -> Result<Self, RunDirError> {
        if !root.join(PLAN).is_file() {
            return Err(RunDirError::NotARun { path: root.to_owned() });
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Whether the folder is still there: people delete or move it while a sweep runs.
    ///
    /// # Errors
    /// [`RunDirError::Gone`] when it is not.
    pub fn check(&self) -> Result<(), RunDirError> {
        let plan = self.root.join(PLAN);
        let missing =
            std::fs::metadata(&plan).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        if missing { Err(RunDirError::Gone { path: self.root.clone() }) } else { Ok(()) }
    }

    /// The stored plan.
    ///
    /// # Errors
    /// When the plan cannot be read, is damaged, or has another version.
    pub fn plan(&self) -> Result<Plan, RunDirError> {
        let stored: StoredPlan = self.read_plan()?;
        Ok(stored.plan)
    }

    /// The name of the stored plan's sweep.
    pub(super) fn name(&self) -> Result<String, RunDirError> {
        #[derive(Deserialize)]
        struct StoredName {
            plan: Name,
        }
        #[derive(Deserialize)]
        struct Name {
            name: String,
        }
        let stored: StoredName = self.read_plan()?;
        Ok(stored.plan.name)
    }

    fn read_plan<T: DeserializeOwned>(&self) -> Result<T, RunDirError> {
        let path = self.root.join(PLAN);
        let bytes = read(&path)?.ok_or_else(|| RunDirError::NotARun { path: self.root.clone() })?;
        decode(&path, &bytes, VERSION, |error| RunDirError::damaged_run(&path, error))
    }

    /// The stored sample list of these predictions, if it has been written.
    ///
    /// # Errors
    /// When the list cannot be read or is damaged.
    pub fn samples(&self, split: &str) -> Result<Option<SampleList>, RunDirError> {
        let path = self.samples_path(split);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let text =
            String::from_utf8(bytes).map_err(|error| RunDirError::damaged_run(&path, error.to_string()))?;
        SampleList::from_csv(&text)
            .map(Some)
            .map_err(|error| RunDirError::damaged_run(&path, error.to_string()))
    }

    /// Reads and checks everything that belongs to the stored plan.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged; the error names the first one.
    pub fn load(&self) -> Result<RunRecord, RunDirError> {
        let plan = self.plan()?;
        let mut record = RunRecord {
            plan,
            samples: BTreeMap::new(),
            results: BTreeMap::new(),
            predictions: BTreeMap::new(),
            models: BTreeSet::new(),
            failures: BTreeMap::new(),
            drained: self.drained()?,
            forecasts: self.forecasts()?,
        };
        let mut unfinished = Vec::new();
        let RunRecord { plan, results, predictions, models, .. } = &mut record;
        let samples = self.each_result(plan, &mut unfinished, |result, matrices| {
            predictions.insert(result.job, matrices);
            if self.has_model(&result) {
                models.insert(result.job);
            }
            results.insert(result.job, result);
        })?;
        for job in unfinished {
            if let Some(failure) = self.failure(job)? {
                record.failures.insert(job, failure);
            }
        }
        record.samples = samples.into_iter().map(|(split, samples)| (split, samples.list)).collect();
        Ok(record)
    }

    /// The result of one of the plan's jobs with its predictions, if it has one.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn result_of(&self, plan: &Plan, job: JobId) -> Result<Option<StoredResult>, RunDirError> {
        let Some(result) = self.result(job)? else { return Ok(None) };
        let predictions = self.matrices(&result, plan.dataset_digest.as_ref(), &mut BTreeMap::new())?;
        Ok(Some(StoredResult { result, predictions }))
    }

    /// The results alone. Their matrices are checked as well, but not held.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn results(&self) -> Result<BTreeMap<JobId, JobResult>, RunDirError> {
        self.results_of(&self.plan()?)
    }

    /// The same for the plan that is stored here.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn results_of(&self, plan: &Plan) -> Result<BTreeMap<JobId, JobResult>, RunDirError> {
        let mut results = BTreeMap::new();
        let take = |result: JobResult, _| drop(results.insert(result.job, result));
        self.each_result(plan, &mut Vec::new(), take)?;
        Ok(results)
    }

    /// Reads and checks the results of the plan's jobs, in its order and without their logs, and returns the sample lists of
    /// their matrices.
    fn each_result(
        &self,
        plan: &Plan,
        unfinished: &mut Vec<JobId>,
        mut take: impl FnMut(JobResult, BTreeMap<String, Matrix>),
    ) -> Result<BTreeMap<String, Samples>, RunDirError> {
        let mut samples = BTreeMap::new();
        for split in [VALIDATION, TEST] {
            self.read_samples(split, &mut samples)?;
        }
        for jobs in plan.jobs.chunks(AT_ONCE) {
            // Reading is most of the work, and each result has a file of its own.
            let read = |job: &PlannedJob| Ok(self.result(job.id)?.map(JobResult::without_log));
            let results: Vec<Result<Option<JobResult>, RunDirError>> = jobs.par_iter().map(read).collect();
            for (job, result) in jobs.iter().zip(results) {
                if let Some(result) = result? {
                    let matrices = self.matrices(&result, plan.dataset_digest.as_ref(), &mut samples)?;
                    take(result, matrices);
                } else {
                    unfinished.push(job.id);
                }
            }
        }
        Ok(samples)
    }

    /// Reads a sample list unless it is in `known`; not all are there.
    fn read_samples(&self, split: &str, known: &mut BTreeMap<String, Samples>) -> Result<(), RunDirError> {
        if !known.contains_key(split)
            && let Some(list) = self.samples(split)?
        {
            known.insert(split.to_owned(), Samples::from(list));
        }
        Ok(())
    }

    /// A job's result, if it is stored. Its matrices are not looked at.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub(crate) fn result(&self, job: JobId) -> Result<Option<JobResult>, RunDirError> {
        Self::result_at(job, &self.result_path(job))
    }

    /// A result of a job at any place in the folder.
    pub(super) fn result_at(job: JobId, path: &Path) -> Result<Option<JobResult>, RunDirError> {
        let Some(bytes) = read(path)? else { return Ok(None) };
        let damaged = |problem: String| RunDirError::damaged_result(job, path, problem);
        let result: JobResult = decode(path, &bytes, JobResult::VERSION, damaged)?;
        if result.job != job {
            return Err(damaged(format!("it is the result of job {}", result.job)));
        }
        // The names in it lead to other files.
        result.check().map_err(damaged)?;
        Ok(Some(result))
    }

    /// The matrices of a result. `dataset` is that of the plan; sample lists are read as they are needed.
    fn matrices(
        &self,
        result: &JobResult,
        dataset: Option<&String>,
        samples: &mut BTreeMap<String, Samples>,
    ) -> Result<BTreeMap<String, Matrix>, RunDirError> {
        let job = result.job;
        if result.inputs.dataset.as_ref() != dataset {
            return Err(RunDirError::damaged_result(
                job,
                &self.result_path(job),
                "it was trained on another dataset than the plan names",
            ));
        }
        let mut matrices = BTreeMap::new();
        for (split, stored) in &result.predictions {
            self.read_samples(split, samples)?;
            let samples = samples.get(split).ok_or_else(|| {
                RunDirError::damaged_run(&self.samples_path(split), "results need it, and it is missing")
            })?;
            let path = self.probabilities_path(job, split);
            let damaged = |problem: String| RunDirError::damaged_result(job, &path, problem);
            let bytes = read(&path)?.ok_or_else(|| damaged("it is missing".to_owned()))?;
            matrices.insert(split.clone(), check_matrix(stored, &bytes, samples).map_err(damaged)?);
        }
        Ok(matrices)
    }

    /// A job's matrix, if it is stored. It was compared with its result when it was stored, and is not again.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub(crate) fn matrix(&self, job: JobId, split: &str) -> Result<Option<Matrix>, RunDirError> {
        let path = self.probabilities_path(job, split);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let matrix = from_npy(&bytes);
        matrix.map(Some).map_err(|error| RunDirError::damaged_result(job, &path, error.to_string()))
    }

    /// The drained workers. A folder of an earlier version lists none.
    fn drained(&self) -> Result<BTreeMap<String, String>, RunDirError> {
        let folder = self.root.join("workers");
        let mut drained = BTreeMap::new();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(drained),
            Err(error) => return Err(RunDirError::io("read", &folder)(error)),
        };
        for entry in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "json")) {
            let path = entry.path();
            let Some(bytes) = read(&path)? else { continue };
            let damaged = |error| RunDirError::damaged_run(&path, error);
            let stored: StoredDrain = decode(&path, &bytes, VERSION, damaged)?;
            drained.insert(stored.worker, stored.reason);
        }
        Ok(drained)
    }

    pub(super) fn failure(&self, job: JobId) -> Result<Option<JobFailure>, RunDirError> {
        let path = self.failure_path(job);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let stored: StoredFailure =
            decode(&path, &bytes, VERSION, |error| RunDirError::damaged_result(job, &path, error))?;
        Ok(Some(stored.failure))
    }
}

/// The file's bytes; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, RunDirError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RunDirError::io("read", path)(error)),
    }
}

/// Decodes JSON after checking its version, so that a file of another version is not reported as damaged.
fn decode<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    newest: u32,
    damaged: impl Fn(String) -> RunDirError,
) -> Result<T, RunDirError> {
    Versions::up_to(newest).decode(bytes).map_err(|error| match error {
        DecodeError::Version(source) => RunDirError::Version { path: path.to_owned(), source },
        DecodeError::Json(error) => damaged(error.to_string()),
    })
}
