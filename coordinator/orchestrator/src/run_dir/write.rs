//! Writes a run folder. Everything is checked before it is written.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use shared::files::{self, Access, Durability};
use shared::ids::JobId;
use shared::predictions::SampleList;

use super::{JobFailure, PLAN, RunDir, RunDirError, StoredDrain, StoredFailure, StoredPlan, VERSION};
use crate::sweep::plan::{DatasetSource, Plan, PlannedJob};

/// What a run folder holds.
#[derive(Debug)]
pub enum Found {
    Nothing,
    /// The plan that was looked for.
    Same,
    /// Another one, perhaps of another sweep.
    Other(Box<Plan>),
}

impl RunDir {
    /// The folder for the run of `plan`: `usual`, or, if that holds a run of the same sweep that this plan would
    /// replace, the first of `usual-2`, `usual-3`, … that is free or holds a run that this plan continues. `edited` are
    /// the jobs that the sweep had before its file was edited, which need not be in the plan. Also returns what is stored
    /// there.
    ///
    /// # Errors
    /// When one of these folders cannot be read, or is damaged.
    pub fn place(
        usual: &Path,
        plan: &Plan,
        edited: &BTreeSet<JobId>,
    ) -> Result<(PathBuf, Found), RunDirError> {
        let (mut root, mut number) = (usual.to_owned(), 1);
        while root.join(PLAN).exists() {
            let Some(stored) = Self::open(&root)?.plan_unless_same(plan)? else {
                return Ok((root, Found::Same));
            };
            // `create` refuses the folder of a sweep with another name.
            if stored.name != plan.name || continues(&stored, plan, edited) {
                return Ok((root, Found::Other(Box::new(stored))));
            }
            number += 1;
            let mut name = usual.file_name().unwrap_or_default().to_owned();
            name.push(format!("-{number}"));
            root = usual.with_file_name(name);
        }
        Ok((root, Found::Nothing))
    }

    /// Creates the run folder `root` (such as `runs/demo`) or opens an existing one, and stores the plan. Results of an
    /// earlier plan of the same sweep stay. Only the last part of an absolute dataset path is stored, because the
    /// digest identifies the dataset.
    ///
    /// # Errors
    /// When the plan has no dataset yet, the folder belongs to another sweep or is damaged, or it cannot be written.
    pub fn create(root: &Path, plan: &Plan) -> Result<Self, RunDirError> {
        if !plan.has_inputs() {
            return Err(RunDirError::NoDataset { sweep: plan.name.clone() });
        }
        if root.join(PLAN).exists() {
            let found = Self::open(root)?.name()?;
            if found != plan.name {
                return Err(RunDirError::OtherSweep {
                    path: root.to_owned(),
                    found,
                    wanted: plan.name.clone(),
                });
            }
        }
        let run = Self::make(root)?;
        run.write_plan(plan)?;
        Ok(run)
    }

    /// Makes the folder and those in it, as far as they are missing. It is a run folder once a plan is stored in it.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn make(root: &Path) -> Result<Self, RunDirError> {
        for folder in ["results", "failures", "probabilities", "workers"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(RunDirError::io("create", &folder))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Replaces the plan by another one of the same sweep.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_plan(&self, plan: &Plan) -> Result<(), RunDirError> {
        let stored = StoredPlan { v: VERSION, plan: without_absolute_path(plan) };
        Self::write_json(&self.root.join(PLAN), &stored)
    }

    /// The stored plan; `None` if it is `plan`, which is usual, so that it need not be decoded.
    fn plan_unless_same(&self, plan: &Plan) -> Result<Option<Plan>, RunDirError> {
        let path = self.root.join(PLAN);
        let text = json(&path, &StoredPlan { v: VERSION, plan: without_absolute_path(plan) })?;
        let is_same = fs::read(&path).is_ok_and(|stored| stored == text);
        if is_same { Ok(None) } else { Ok(Some(self.plan()?)) }
    }

    /// Stores the row order of the matrices of these predictions.
    ///
    /// # Errors
    /// When the list cannot be stored as CSV, or the file cannot be written.
    pub fn write_samples(&self, split: &str, samples: &SampleList) -> Result<(), RunDirError> {
        let csv = samples.to_csv();
        if samples.ids.len() != samples.labels.len() || SampleList::from_csv(&csv).as_ref() != Ok(samples) {
            let problem = "an id holds a line break, or ids and labels differ in number".to_owned();
            return Err(RunDirError::Samples { split: split.to_owned(), problem });
        }
        write_file(&self.samples_path(split), csv.as_bytes())
    }

    /// Stores why a job failed for good. A later result of the same job replaces it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_failure(&self, job: JobId, failure: &JobFailure) -> Result<(), RunDirError> {
        self.write_failures([(job, failure.clone())])
    }

    /// Stores why several jobs failed, and reads the plan only once for it.
    ///
    /// # Errors
    /// As [`Self::write_failure`].
    pub fn write_failures(
        &self,
        failures: impl IntoIterator<Item = (JobId, JobFailure)>,
    ) -> Result<(), RunDirError> {
        let failures: Vec<(JobId, JobFailure)> = failures.into_iter().collect();
        if failures.is_empty() {
            return Ok(());
        }
        let planned: BTreeSet<JobId> = self.plan()?.jobs.iter().map(|job| job.id).collect();
        if let Some(&(job, _)) = failures.iter().find(|(job, _)| !planned.contains(job)) {
            return Err(RunDirError::UnknownJob { job });
        }
        for (job, failure) in failures {
            let stored = StoredFailure { v: VERSION, job, failure };
            Self::write_json(&self.failure_path(job), &stored)?;
        }
        Ok(())
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

    pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RunDirError> {
        write_file(path, &json(path, value)?)
    }

    /// Makes sure that everything in the folder outlives a power cut. It costs as much as what is not on the disk yet.
    ///
    /// # Errors
    /// When the folder is gone, or the disk does not take it.
    pub fn sync(&self) -> Result<(), RunDirError> {
        let synced = fs::File::open(&self.root).and_then(|folder| Ok(rustix::fs::syncfs(&folder)?));
        synced.map_err(RunDirError::io("sync", &self.root))
    }
}

/// True if a report of `plan` has everything that one of `stored` has: the same dataset, and at least the same jobs, apart
/// from those that were added on request or that the sweep had before its file was edited.
fn continues(stored: &Plan, plan: &Plan, edited: &BTreeSet<JobId>) -> bool {
    let jobs: BTreeSet<JobId> = plan.jobs.iter().map(|job| job.id).collect();
    let added = &stored.requested.jobs;
    stored.dataset_digest == plan.dataset_digest
        && stored
            .jobs
            .iter()
            .all(|PlannedJob { id, .. }| jobs.contains(id) || added.contains(id) || edited.contains(id))
}

fn without_absolute_path(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    if let Some(DatasetSource::Pack(path)) = &mut plan.dataset
        && path.is_absolute()
    {
        *path = path.file_name().map(PathBuf::from).unwrap_or_default();
    }
    plan
}

/// A value as the text of a file.
pub(super) fn json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, RunDirError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| RunDirError::io("encode", path)(io::Error::other(error)))?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a file that may be torn by a power cut before the next [`RunDir::sync`]: the server has its content, too.
pub(super) fn write_cached(path: &Path, bytes: &[u8]) -> Result<(), RunDirError> {
    files::write_with(path, Access::Umask, Durability::Cached, bytes).map_err(RunDirError::io("write", path))
}

pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), RunDirError> {
    files::write(path, bytes).map_err(RunDirError::io("write", path))
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), RunDirError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RunDirError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
