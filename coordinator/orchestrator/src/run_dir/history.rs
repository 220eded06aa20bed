//! Results that were replaced: a job that is trained again leaves its earlier result in the run folder.

use std::fs;
use std::io;
use std::path::PathBuf;

use shared::ids::JobId;
use shared::result::JobResult;

use super::write::remove_if_there;
use super::{JobFailure, RunDir, RunDirError, stem};

/// What a run folder has of one job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobFiles {
    pub result: Option<JobResult>,
    /// Why it failed for good.
    pub failure: Option<JobFailure>,
    /// Results that were replaced, by attempt.
    pub earlier: Vec<JobResult>,
}

impl RunDir {
    /// What the folder has of a job, without its matrices.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged.
    pub fn files_of(&self, job: JobId) -> Result<JobFiles, RunDirError> {
        let folder = self.root.join("earlier").join(job.to_string());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries.flatten().map(|entry| entry.path().join("result.json")).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(RunDirError::io("read", &folder)(error)),
        };
        let mut earlier = Vec::new();
        for path in entries {
            earlier.extend(Self::result_at(job, &path)?);
        }
        earlier.sort_by_key(|result| result.attempt);
        Ok(JobFiles { result: self.result(job)?, failure: self.failure(job)?, earlier })
    }

    /// Moves a job's result with its matrices and its model to `earlier/<job>/<attempt>/`, and returns that path.
    /// `None` if there is no result.
    ///
    /// # Errors
    /// When the result is damaged, or the folder cannot be written.
    pub fn set_aside(&self, job: JobId) -> Result<Option<PathBuf>, RunDirError> {
        match self.result(job)? {
            Some(result) => self.set_result_aside(&result).map(Some),
            None => Ok(None),
        }
    }

    /// Copies everything first, then removes the record before the files that it points to, so that a reader who finds
    /// a record also finds its files. Another process may do the same at the same time.
    fn set_result_aside(&self, result: &JobResult) -> Result<PathBuf, RunDirError> {
        let job = result.job;
        let place = self.root.join("earlier").join(job.to_string()).join(result.attempt.0.to_string());
        fs::create_dir_all(&place).map_err(RunDirError::io("create", &place))?;
        let mut files = vec![(self.result_path(job), "result.json".to_owned())];
        let matrices = result.predictions.keys();
        files.extend(
            matrices.map(|split| (self.probabilities_path(job, split), format!("{}.npy", stem(split)))),
        );
        files.push((self.root.join(Self::model_name(job)), "model.safetensors".to_owned()));
        for (from, name) in &files {
            match fs::copy(from, place.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RunDirError::io("copy", from)(error));
                }
                Ok(_) | Err(_) => {}
            }
        }
        for (from, _) in &files {
            remove_if_there(from)?;
        }
        Ok(place)
    }

    /// Keeps the result that a new one, of another attempt, is about to replace.
    pub(super) fn keep_replaced(&self, new: &JobResult) -> Result<(), RunDirError> {
        // A result that cannot be read is no loss.
        if let Ok(Some(old)) = self.result(new.job)
            && (old.attempt, &old.worker) != (new.attempt, &new.worker)
        {
            self.set_result_aside(&old)?;
        }
        Ok(())
    }
}
