//! Reads what the server and the run folder hold for every job at the end.

use std::collections::BTreeMap;

use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;
use shared::result::JobResult;

use super::audit::{FinalState, Output};

/// Reads record, result and blobs of each of these jobs; `stored` is what the run folder holds.
pub(super) async fn read(
    bus: &Bus,
    jobs: impl Iterator<Item = JobId>,
    mut stored: BTreeMap<JobId, Output>,
) -> anyhow::Result<BTreeMap<JobId, FinalState>> {
    let mut states = BTreeMap::new();
    for job in jobs {
        let record = bus.record(job).await?.map(|entry| entry.record);
        let result = match bus.result(job).await {
            Ok(result) => Some(result),
            Err(BusError::Missing { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let unreadable = match &result {
            Some(result) => unreadable(bus, result).await,
            None => None,
        };
        states.insert(job, FinalState { record, result, unreadable, stored: stored.remove(&job) });
    }
    Ok(states)
}

/// Why a blob of this result cannot be read; `None` if all can.
async fn unreadable(bus: &Bus, result: &JobResult) -> Option<String> {
    for blob in result.blobs() {
        if let Err(error) = bus.get_blob(Bucket::Results, blob).await {
            return Some(error.to_string());
        }
    }
    None
}
