//! Writes a run folder. Everything is checked before it is written.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::expression::CLASSES;
use shared::files;
use shared::ids::JobId;
use shared::pack::Split;
use shared::predictions::{SampleList, from_npy};
use shared::result::{JobResult, SplitResult};

use super::{
    JobFailure, PLAN, RunDir, RunDirError, SCORE_TOLERANCE, StoredDrain, StoredFailure, StoredPlan, VERSION,
    score,
};
use crate::sweep::plan::{DatasetSource, Plan};

impl RunDir {
    /// The folder for the run of `plan`: `usual`, or, if that holds a run of the same sweep that this plan would
    /// replace, the first of `usual-2`, `usual-3`, … that is free or holds a run that this plan continues.
    ///
    /// # Errors
    /// When one of these folders cannot be read, or is damaged.
    pub fn place(usual: &Path, plan: &Plan) -> Result<PathBuf, RunDirError> {
        let mut root = usual.to_owned();
        for number in 2.. {
            if !root.join(PLAN).exists() {
                break;
            }
            let stored = Self::open(&root)?.plan()?;
            // `create` refuses the folder of a sweep with another name.
            if stored.name != plan.name || continues(&stored, plan) {
                break;
            }
            let mut name = usual.file_name().unwrap_or_default().to_owned();
            name.push(format!("-{number}"));
            root = usual.with_file_name(name);
        }
        Ok(root)
    }

    /// Creates the run folder `root` (such as `runs/demo`) or opens an existing one, and stores the plan. Results of an
    /// earlier plan of the same sweep stay. Only the last part of an absolute dataset path is stored, because the
    /// digest identifies the dataset.
    ///
    /// # Errors
    /// When the plan has no dataset yet, the folder belongs to another sweep or is damaged, or it cannot be written.
    pub fn create(root: &Path, plan: &Plan) -> Result<Self, RunDirError> {
        if plan.dataset_digest.is_none() {
            return Err(RunDirError::NoDataset { sweep: plan.name.clone() });
        }
        if root.join(PLAN).exists() {
            let found = Self::open(root)?.plan()?.name;
            if found != plan.name {
                return Err(RunDirError::OtherSweep {
                    path: root.to_owned(),
                    found,
                    wanted: plan.name.clone(),
                });
            }
        }
        for folder in ["results", "failures", "probabilities", "workers"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(RunDirError::io("create", &folder))?;
        }
        let run = Self { root: root.to_owned() };
        let stored = StoredPlan { v: VERSION, plan: without_absolute_path(plan) };
        Self::write_json(&run.root.join(PLAN), &stored)?;
        Ok(run)
    }

    /// Stores the row order of a scored split's matrices.
    ///
    /// # Errors
    /// When the list cannot be stored as CSV, or the file cannot be written.
    pub fn write_samples(&self, split: Split, samples: &SampleList) -> Result<(), RunDirError> {
        let csv = samples.to_csv();
        if samples.ids.len() != samples.labels.len() || SampleList::from_csv(&csv).as_ref() != Ok(samples) {
            let problem = "an id holds a line break, or ids and labels differ in number".to_owned();
            return Err(RunDirError::Samples { split, problem });
        }
        write_file(&self.samples_path(split), csv.as_bytes())
    }

    /// Stores an accepted result with its matrices.
    ///
    /// # Errors
    /// When the result does not belong to this run, its matrices have other bytes, rows, samples or scores than it says
    /// (nothing is written then), or a file cannot be written.
    pub fn write_result(
        &self,
        result: &JobResult,
        val_npy: &[u8],
        test_npy: Option<&[u8]>,
    ) -> Result<(), RunDirError> {
        let job = result.job;
        let plan = self.plan()?;
        if !plan.jobs.iter().any(|planned| planned.id == job) {
            return Err(RunDirError::UnknownJob { job });
        }
        let refused = |problem: String| RunDirError::Refused { job, problem };
        if plan.dataset_digest.as_ref() != Some(&result.dataset_digest) {
            return Err(refused("it was trained on another dataset".to_owned()));
        }
        let mut files = vec![(Split::Validation, &result.validation, val_npy)];
        match (&result.test, test_npy) {
            (Some(test), Some(bytes)) => files.push((Split::Test, test, bytes)),
            (None, None) => {}
            _ => {
                return Err(refused(
                    "its record and its files disagree on whether there is a test split".to_owned(),
                ));
            }
        }
        for (split, record, bytes) in &files {
            let samples = self.samples(*split)?.ok_or_else(|| {
                refused(format!("the {split} sample list is not stored yet; write it before any result"))
            })?;
            check_matrix(record, bytes, &samples)
                .map_err(|problem| refused(format!("{split}: {problem}")))?;
        }
        self.keep_replaced(result)?;
        for (split, _, bytes) in files {
            write_file(&self.probabilities_path(job, split), bytes)?;
        }
        // The record comes last, so that a reader who finds it also finds its matrices.
        Self::write_json(&self.result_path(job), result)?;
        remove_if_there(&self.failure_path(job))
    }

    /// Stores why a job failed for good. A later result of the same job replaces it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_failure(&self, job: JobId, failure: &JobFailure) -> Result<(), RunDirError> {
        if !self.plan()?.jobs.iter().any(|planned| planned.id == job) {
            return Err(RunDirError::UnknownJob { job });
        }
        let stored = StoredFailure { v: VERSION, job, failure: failure.clone() };
        Self::write_json(&self.failure_path(job), &stored)
    }

    /// Stores why a worker was taken out of this sweep.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_drain(&self, worker: &str, reason: &str) -> Result<(), RunDirError> {
        // A worker's name comes over the bus, so only harmless characters of it become part of a path.
        let name: String = worker.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let folder = self.root.join("workers");
        fs::create_dir_all(&folder).map_err(RunDirError::io("create", &folder))?;
        let stored = StoredDrain { v: VERSION, worker: worker.to_owned(), reason: reason.to_owned() };
        Self::write_json(&folder.join(format!("{name}.json")), &stored)
    }

    /// Stores a report file directly under the folder.
    pub(crate) fn write_report(&self, name: &str, text: &str) -> Result<PathBuf, RunDirError> {
        let path = self.root.join(name);
        write_file(&path, text.as_bytes())?;
        Ok(path)
    }

    fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RunDirError> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|error| RunDirError::io("encode", path)(io::Error::other(error)))?;
        text.push('\n');
        write_file(path, text.as_bytes())
    }
}

/// Checks a matrix against the record of its split and the run's samples. Returns its rows, or what is wrong.
pub(super) fn check_matrix(
    record: &SplitResult,
    bytes: &[u8],
    samples: &SampleList,
) -> Result<Vec<[f32; CLASSES]>, String> {
    let digest = hex::encode(Sha256::digest(bytes));
    if digest != record.probabilities.sha256 {
        return Err(format!(
            "the probabilities have SHA-256 {digest}, the record says {}",
            record.probabilities.sha256
        ));
    }
    let rows = from_npy(bytes).map_err(|error| error.to_string())?;
    if rows.len() != samples.ids.len() {
        return Err(format!(
            "the probabilities have {} rows, the sample list has {}",
            rows.len(),
            samples.ids.len()
        ));
    }
    if record.samples_digest != samples.digest() {
        return Err("the probabilities are in the order of another sample list".to_owned());
    }
    let recomputed = score(&rows, samples).map(|score| score.macro_f1);
    let recorded = record.score.map(|score| score.macro_f1);
    match (recomputed, recorded) {
        (None, None) => Ok(rows),
        (Some(a), Some(b)) if (a - b).abs() <= SCORE_TOLERANCE => Ok(rows),
        _ => Err(format!("the record's macro F1 is {recorded:?}, its probabilities give {recomputed:?}")),
    }
}

/// True if a report of `plan` has everything that one of `stored` has: the same dataset, and at least the same jobs.
fn continues(stored: &Plan, plan: &Plan) -> bool {
    let jobs: BTreeSet<JobId> = plan.jobs.iter().map(|job| job.id).collect();
    stored.dataset_digest == plan.dataset_digest && stored.jobs.iter().all(|job| jobs.contains(&job.id))
}

fn without_absolute_path(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    if let DatasetSource::Pack(path) = &plan.dataset
        && path.is_absolute()
    {
        plan.dataset = DatasetSource::Pack(path.file_name().map(PathBuf::from).unwrap_or_default());
    }
    plan
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), RunDirError> {
    files::write(path, bytes).map_err(RunDirError::io("write", path))
}

fn remove_if_there(path: &Path) -> Result<(), RunDirError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RunDirError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
