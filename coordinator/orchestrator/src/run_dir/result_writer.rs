//! Stores results as they come in, each at the same cost however many jobs the sweep has.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use shared::ids::JobId;
use shared::predictions::SampleList;
use shared::result::{JobResult, Predictions, TEST, VALIDATION};

use super::check::{OTHER_ORDER, Samples, check_matrix, sha256};
use super::write::{json, remove_if_there, write_cached};
use super::{RunDir, RunDirError, SHORT_VALIDATION};
use crate::sweep::plan::Plan;

/// The files of a result that go into the run folder with it, by the name of the predictions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultFiles {
    /// `.npy`
    pub matrices: BTreeMap<String, Bytes>,
    /// The sample lists that the result brings along, as CSV.
    pub samples: BTreeMap<String, Bytes>,
}

/// Writes results into a run folder. It has read what every result is checked against: the plan and the sample lists.
#[derive(Debug)]
pub struct ResultWriter {
    run: RunDir,
    jobs: BTreeSet<JobId>,
    dataset: Option<String>,
    samples: BTreeMap<String, Samples>,
}

impl RunDir {
    /// What stores results in this folder. Sample lists of the dataset must be there already.
    ///
    /// # Errors
    /// When the plan or a sample list cannot be read, or is damaged.
    pub fn result_writer(&self) -> Result<ResultWriter, RunDirError> {
        self.result_writer_for(&self.plan()?)
    }

    /// The same for a plan that was just stored here.
    ///
    /// # Errors
    /// When a sample list cannot be read, or is damaged.
    pub fn result_writer_for(&self, plan: &Plan) -> Result<ResultWriter, RunDirError> {
        let mut samples = BTreeMap::new();
        for split in [VALIDATION, TEST] {
            samples.extend(self.samples(split)?.map(|list| (split.to_owned(), Samples::from(list))));
        }
        Ok(ResultWriter {
            run: self.clone(),
            jobs: plan.jobs.iter().map(|job| job.id).collect(),
            dataset: plan.dataset_digest.clone(),
            samples,
        })
    }
}

impl ResultWriter {
    /// Takes results of the jobs of a changed plan.
    pub fn take(&mut self, plan: &Plan) {
        self.jobs = plan.jobs.iter().map(|job| job.id).collect();
    }

    /// Stores an accepted result with its files. A sample list that comes with it is stored if it is the first of its
    /// name. What it writes may be torn by a power cut before the next [`RunDir::sync`].
    ///
    /// # Errors
    /// When the result does not belong to this run, its files have other bytes, rows, samples or scores than it says
    /// (nothing is written then), or a file cannot be written.
    pub fn write(&mut self, result: &JobResult, files: &ResultFiles) -> Result<(), RunDirError> {
        let job = result.job;
        if !self.jobs.contains(&job) {
            return Err(RunDirError::UnknownJob { job });
        }
        let refused = |problem: String| RunDirError::Refused { job, problem };
        self.check(result, files).map_err(refused)?;
        let mut brought = BTreeMap::new();
        for (split, record) in &result.predictions {
            let of_split = |problem: String| refused(format!("{split}: {problem}"));
            if !self.samples.contains_key(split)
                && let Some(list) = self.run.samples(split)?
            {
                self.samples.insert(split.clone(), Samples::from(list));
            }
            let samples = match self.samples.get(split) {
                Some(known) if record.samples.is_some() && known.digest != record.samples_digest => {
                    return Err(of_split(OTHER_ORDER.to_owned()));
                }
                Some(known) => known,
                None => {
                    let own = own_samples(split, record, files).map_err(refused)?;
                    &*brought.entry(split.clone()).or_insert(own)
                }
            };
            let bytes = files.matrices.get(split).map_or(&[][..], |bytes| bytes);
            check_matrix(record, bytes, samples).map_err(of_split)?;
        }
        for (split, samples) in brought {
            self.run.write_samples(&split, &samples.list)?;
            self.samples.insert(split, samples);
        }
        self.run.keep_replaced(result)?;
        for (split, bytes) in &files.matrices {
            write_cached(&self.run.probabilities_path(job, split), bytes)?;
        }
        // The record comes last, so that a reader who finds it also finds its matrices.
        let path = self.run.result_path(job);
        write_cached(&path, &json(&path, result)?)?;
        remove_if_there(&self.run.failure_path(job))
    }

    /// What can be said without the matrices. Afterwards the names of the predictions may become paths.
    fn check(&self, result: &JobResult, files: &ResultFiles) -> Result<(), String> {
        result.check()?;
        if result.inputs.dataset != self.dataset {
            return Err("it was trained on another dataset".to_owned());
        }
        if result.predictions.contains_key(SHORT_VALIDATION) {
            return Err(format!("`{SHORT_VALIDATION}` is a name for files of `{VALIDATION}`"));
        }
        let (recorded, stored) = (&result.predictions, &files.matrices);
        let only_one = recorded.keys().find(|name| !stored.contains_key(*name));
        match only_one.or_else(|| stored.keys().find(|name| !recorded.contains_key(*name))) {
            None => Ok(()),
            Some(split) => {
                // Of the names of the files, nothing is known yet.
                let split: String = split.chars().take(80).collect();
                Err(format!("its record and its files disagree on whether there is a {split} split"))
            }
        }
    }
}

/// The sample list that comes with a result, where none of this name is stored.
fn own_samples(split: &str, record: &Predictions, files: &ResultFiles) -> Result<Samples, String> {
    let Some(blob) = &record.samples else {
        return Err(format!("the {split} sample list is not stored yet; write it before any result"));
    };
    let bytes = files.samples.get(split).ok_or_else(|| format!("its {split} sample list is missing"))?;
    let digest = sha256(bytes);
    if digest != blob.sha256 {
        return Err(format!(
            "{split}: the sample list has SHA-256 {digest}, the record says {}",
            blob.sha256
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| format!("{split}: {error}"))?;
    let list = SampleList::from_csv(text).map_err(|error| format!("{split}: {error}"))?;
    Ok(Samples::from(list))
}
