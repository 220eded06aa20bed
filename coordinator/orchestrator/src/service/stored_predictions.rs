//! The predictions in a run folder, as the ensembles of a running sweep read them again.

use std::sync::atomic::{AtomicBool, Ordering};

use shared::ids::JobId;
use shared::predictions::SampleList;
use shared::result::VALIDATION;

use crate::ensemble::live::{Finished, Predicted, Predictions};
use crate::run_dir::RunDir;
use crate::sweep::plan::Plan;

/// The predictions in a run folder.
#[derive(Debug)]
pub(super) struct StoredPredictions {
    run_dir: RunDir,
    /// Once they were read: a stored list never changes.
    samples: Option<SampleList>,
}

impl StoredPredictions {
    pub(super) fn of(run_dir: RunDir) -> Self {
        Self { run_dir, samples: None }
    }
}

impl Predictions for StoredPredictions {
    fn of_job(&mut self, job: JobId) -> Result<Option<Predicted>, String> {
        let in_words = |error: crate::run_dir::RunDirError| error.to_string();
        let Some(mut result) = self.run_dir.result(job).map_err(in_words)? else { return Ok(None) };
        let Some(record) = result.predictions.remove(VALIDATION) else { return Ok(None) };
        let Some(probabilities) = self.run_dir.matrix(job, VALIDATION).map_err(in_words)? else {
            return Ok(None);
        };
        let (dataset_digest, samples_digest) = (result.inputs.dataset, record.samples_digest);
        Ok(Some(Predicted { dataset_digest, samples_digest, probabilities }))
    }

    fn samples(&mut self) -> Result<Option<&SampleList>, String> {
        if self.samples.is_none() {
            self.samples = self.run_dir.samples(VALIDATION).map_err(|error| error.to_string())?;
        }
        Ok(self.samples.as_ref())
    }

    fn finished(&mut self, plan: &Plan) -> Result<Vec<(JobId, Finished)>, String> {
        let mut finished = Vec::new();
        for job in &plan.jobs {
            let result = self.run_dir.result(job.id).map_err(|error| error.to_string())?;
            finished.extend(result.map(|result| (job.id, Finished::of(&result, &plan.ranking))));
        }
        Ok(finished)
    }
}

/// Predictions that can be read until nobody needs them any more.
pub(super) struct UntilStopped<'a> {
    pub(super) predictions: &'a mut dyn Predictions,
    pub(super) stop: &'a AtomicBool,
}

impl Predictions for UntilStopped<'_> {
    fn of_job(&mut self, job: JobId) -> Result<Option<Predicted>, String> {
        if self.stop.load(Ordering::Relaxed) {
            return Err("the run has ended".to_owned());
        }
        self.predictions.of_job(job)
    }

    fn samples(&mut self) -> Result<Option<&SampleList>, String> {
        self.predictions.samples()
    }

    fn finished(&mut self, plan: &Plan) -> Result<Vec<(JobId, Finished)>, String> {
        self.predictions.finished(plan)
    }
}
