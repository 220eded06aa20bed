//! What was foretold of the sweep's end, beside the results; and results of earlier sweeps, to learn from their times.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shared::result::JobResult;
use shared::version::{DecodeError, Versions};

use super::write::{json, write_cached};
use super::{RunDir, RunDirError};
use crate::cost::forecast::Forecasts;

const FORECASTS: &str = "forecasts.json";

/// Layout version of the file.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    #[serde(flatten)]
    forecasts: Forecasts,
}

impl RunDir {
    /// What was foretold of the sweep's end; `None` if nothing was.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or has another version.
    pub fn forecasts(&self) -> Result<Option<Forecasts>, RunDirError> {
        let path = self.forecasts_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RunDirError::io("read", &path)(error)),
        };
        let stored: Stored = Versions::up_to(VERSION).decode(&bytes).map_err(|error| match error {
            DecodeError::Version(source) => RunDirError::Version { path: path.clone(), source },
            DecodeError::Json(error) => RunDirError::damaged_run(&path, error.to_string()),
        })?;
        Ok(Some(stored.forecasts))
    }

    /// Stores what is foretold of the sweep's end.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_forecasts(&self, forecasts: &Forecasts) -> Result<(), RunDirError> {
        let path = self.forecasts_path();
        let stored = Stored { v: VERSION, forecasts: forecasts.clone() };
        write_cached(&path, &json(&path, &stored)?)
    }

    fn forecasts_path(&self) -> PathBuf {
        self.root.join(FORECASTS)
    }

    /// Up to `most` results of the plan's jobs, from all over the plan. Those that cannot be read are left out, and their
    /// matrices are not looked at.
    ///
    /// # Errors
    /// When the plan cannot be read.
    pub fn some_results(&self, most: usize) -> Result<Vec<JobResult>, RunDirError> {
        let plan = self.plan()?;
        let there: Vec<_> = plan.jobs.iter().filter(|job| self.result_path(job.id).is_file()).collect();
        let some = there.iter().step_by(there.len().div_ceil(most).max(1));
        Ok(some.filter_map(|job| self.result(job.id).ok().flatten()).collect())
    }
}
