//! Bringing a finished job's result and probabilities here.

use bytes::Bytes;
use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;
use shared::result::JobResult;

/// A result with its matrices, verified against their digests.
#[derive(Debug)]
pub struct Fetched {
    pub result: JobResult,
    pub validation: Bytes,
    pub test: Option<Bytes>,
}

pub(super) async fn fetch(bus: &Bus, job: JobId) -> Result<Fetched, BusError> {
    let result = bus.result(job).await?;
    let validation = bus.get_blob(Bucket::Results, &result.validation.probabilities).await?;
    let test = match &result.test {
        Some(test) => Some(bus.get_blob(Bucket::Results, &test.probabilities).await?),
        None => None,
    };
    Ok(Fetched { result, validation, test })
}
