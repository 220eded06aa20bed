//! Collecting what nothing in the store refers to any more, now and then, beside the sweep.

mod select;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::bus::{Bucket, Bus, BusError};
use shared::protocol::{SweepRecord, subjects};

use select::{Named, select};

/// After the start, when workers have taken up what they had in hand.
const FIRST: Duration = Duration::from_mins(5);
const AGAIN: Duration = Duration::from_mins(30);

/// When the store was last looked through; its write tells the server's time.
#[derive(Debug, Serialize, Deserialize)]
struct Collection {
    v: u32,
}

/// Collects for as long as it is not dropped. A collection that fails is no disaster: the next one comes.
pub(super) async fn collect_now_and_then(bus: Bus) {
    tokio::time::sleep(FIRST).await;
    loop {
        match collect(&bus).await {
            Ok(0) => tracing::debug!("nothing in the store is garbage"),
            Ok(count) => tracing::info!("{count} blobs that nothing referred to were deleted from the store"),
            Err(error) => tracing::debug!(%error, "the store could not be looked through"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Deletes what is garbage now; says how much that was.
pub async fn collect(bus: &Bus) -> Result<usize, BusError> {
    let now = bus.write_at(subjects::COLLECTION_KEY, &Collection { v: 1 }).await?;
    let mut deleted = 0;
    for bucket in Bucket::ALL {
        // First what there is, then what is named: what is stored meanwhile is in neither list.
        let inventory = bus.inventory(bucket).await?;
        let garbage = select(bucket, &inventory, &named(bus).await?, now);
        deleted += garbage.objects.len() + garbage.uploads.len();
        for name in &garbage.objects {
            bus.delete_blob(bucket, name).await?;
        }
        for upload in &garbage.uploads {
            bus.discard_upload(bucket, upload).await?;
        }
    }
    Ok(deleted)
}

/// Everything that the books refer to. A record that cannot be read may refer to anything: then nothing is deleted.
async fn named(bus: &Bus) -> Result<Named, BusError> {
    let mut named = Named::default();
    for key in bus.keys(subjects::RECORD_KEYS).await? {
        let Some(job) = subjects::job_of_record_key(&key) else { continue };
        if let Some(entry) = bus.record(job).await? {
            named.checkpoints.extend(entry.record.checkpoints.into_iter().map(|c| c.blob.name));
            if matches!(entry.record.state, shared::books::JobState::Done { .. }) {
                let result = bus.result(job).await?;
                named.done.insert(job.to_string());
                let test = result.test.map(|test| test.probabilities.name);
                named.results.extend([result.model.name, result.validation.probabilities.name]);
                named.results.extend(test);
            }
        }
    }
    for key in bus.keys(subjects::SWEEP_KEYS).await? {
        named.results.insert(bus.read::<SweepRecord>(&key, SweepRecord::VERSION).await?.plan.name);
    }
    Ok(named)
}
