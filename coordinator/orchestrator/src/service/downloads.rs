//! Fetches from the server what finished jobs left there, verified by digest: results, probabilities and models.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use shared::blob::BlobRef;
use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;
use shared::result::JobResult;
use shared::retry::{Backoff, Retry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::report;
use crate::run_dir::{ResultFiles, RunDir, RunRecord};
use shared::plural::count;

/// A result with its matrices, verified against their digests.
#[derive(Debug)]
pub struct FetchedResult {
    pub result: JobResult,
    pub files: ResultFiles,
}

/// How many results are read at a time: the server answers many as soon as one, when it has written what came before.
const READS_AT_ONCE: usize = 256;
/// How many results with files are fetched, or wait to be stored, at a time: they may be large.
const FILES_AT_ONCE: usize = 32;

type Download = (JobId, Result<FetchedResult, BusError>, Option<OwnedSemaphorePermit>);

/// Fetches results in the background.
#[derive(Debug)]
pub(super) struct Downloads {
    bus: Bus,
    under_way: JoinSet<Download>,
    reads: Arc<Semaphore>,
    files: Arc<Semaphore>,
}

impl Downloads {
    pub(super) fn new(bus: Bus) -> Self {
        let at_once = |most| Arc::new(Semaphore::new(most));
        Self { bus, under_way: JoinSet::new(), reads: at_once(READS_AT_ONCE), files: at_once(FILES_AT_ONCE) }
    }

    pub(super) fn begin(&mut self, job: JobId) {
        let (bus, reads, files) = (self.bus.clone(), self.reads.clone(), self.files.clone());
        self.under_way.spawn(async move {
            let reading = reads.acquire_owned().await;
            let result = bus.result(job).await;
            drop(reading);
            match result {
                Ok(result) if result.predictions.is_empty() => {
                    (job, Ok(FetchedResult { result, files: ResultFiles::default() }), None)
                }
                Ok(result) => {
                    let permit = files.acquire_owned().await.ok();
                    (job, with_files(&bus, result).await, permit)
                }
                Err(error) => (job, Err(error), None),
            }
        });
    }

    /// The next result that has come; `None` if none is under way.
    pub(super) async fn next(&mut self) -> Option<(JobId, Result<FetchedResult, BusError>)> {
        match self.under_way.join_next().await? {
            Ok((job, outcome, _permit)) => Some((job, outcome)),
            Err(error) => std::panic::resume_unwind(error.into_panic()), // It is never cancelled.
        }
    }
}

/// Fetches the probabilities of a result.
async fn with_files(bus: &Bus, result: JobResult) -> Result<FetchedResult, BusError> {
    let mut files = ResultFiles::default();
    for (name, predictions) in &result.predictions {
        let matrix = bus.get_blob(Bucket::Results, &predictions.probabilities).await?;
        files.matrices.insert(name.clone(), matrix);
        if let Some(samples) = &predictions.samples {
            files.samples.insert(name.clone(), bus.get_blob(Bucket::Results, samples).await?);
        }
    }
    Ok(FetchedResult { result, files })
}

/// Which trained models go into the run folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Models {
    /// Those of the ensembles' members.
    Members,
    /// Every finished job's.
    All,
    /// None. Models that are already there stay.
    None,
}

/// Retries, in case the server is away for a moment.
const FETCH: Retry = Backoff::every(Duration::from_secs(1)).tries(3);

/// Fetches the wanted models into the run folder of `record`, except those already there, so that they can be used
/// without a server.
pub(super) async fn fetch_models(
    bus: &Bus,
    run_dir: &RunDir,
    record: &mut RunRecord,
    wanted: Models,
    tell: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let jobs = match wanted {
        Models::None => BTreeSet::new(),
        Models::All => record.results.keys().copied().collect(),
        Models::Members => report::members(record)?,
    };
    let missing: Vec<(&JobResult, &BlobRef)> = record
        .results
        .values()
        .filter(|result| jobs.contains(&result.job) && !record.models.contains(&result.job))
        .filter_map(|result| Some((result, result.model()?)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let bytes: u64 = missing.iter().map(|(_, model)| model.size).sum();
    tell(&format!(
        "storing {} ({:.1} MB) in {}",
        count(missing.len(), "model"),
        bytes as f64 / 1e6,
        run_dir.root().join("models").display()
    ));
    for (result, model) in missing {
        store(bus, run_dir, result, model).await.with_context(|| {
            format!(
                "cannot fetch the model of job {}; `--models none` ends the run without models",
                result.job
            )
        })?;
        record.models.insert(result.job);
    }
    Ok(())
}

async fn store(bus: &Bus, run_dir: &RunDir, result: &JobResult, model: &BlobRef) -> anyhow::Result<()> {
    let fetch = || async {
        let mut incoming = run_dir.receive_model(result.job)?;
        let full = |source| BusError::File { path: run_dir.root().join("models"), source };
        bus.read_blob(Bucket::Results, model, |chunk| incoming.write(chunk).map_err(full)).await?;
        Ok(incoming.keep()?)
    };
    let passes = |error: &anyhow::Error| error.downcast_ref().is_some_and(BusError::is_transient);
    let tell = |error: &anyhow::Error| tracing::warn!(job = %result.job, "fetching its model: {error}; trying again");
    FETCH.run(fetch, passes, tell).await
}
