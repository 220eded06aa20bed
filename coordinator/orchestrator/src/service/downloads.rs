//! Fetches from the server what finished jobs left there, verified by digest: results, probabilities and models.

use std::time::Duration;

use anyhow::Context;
use shared::blob::BlobRef;
use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;
use shared::result::JobResult;
use shared::retry::{Backoff, Retry};

use crate::report;
use crate::run_dir::{ResultFiles, RunDir};
use shared::plural::count;

/// A result with its matrices, verified against their digests.
#[derive(Debug)]
pub struct FetchedResult {
    pub result: JobResult,
    pub files: ResultFiles,
}

/// Fetches a finished job's result with its probabilities.
pub(super) async fn fetch_result(bus: &Bus, job: JobId) -> Result<FetchedResult, BusError> {
    let result = bus.result(job).await?;
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

/// Fetches the wanted models into the run folder, except those already there, so that they can be used without a
/// server.
pub(super) async fn fetch_models(
    bus: &Bus,
    run_dir: &RunDir,
    wanted: Models,
    tell: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let record = run_dir.load()?;
    let jobs = match wanted {
        Models::None => return Ok(()),
        Models::All => record.results.keys().copied().collect(),
        Models::Members => report::members(&record)?,
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
