//! Deletes what nothing in the store refers to any more: unfinished uploads when a sweep begins, everything at
//! intervals.

mod select;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::bus::{Bucket, Bus, BusError, RequestEntry};
use shared::protocol::{Demand, SweepRecord, subjects};

pub use select::Ages;
use select::{Named, abandoned_uploads, unused_blobs};
use shared::plural::count;

/// By then workers have resumed their jobs and uploads.
const FIRST: Duration = Duration::from_mins(5);
const AGAIN: Duration = Duration::from_mins(30);

/// Notes the last collection. The server time of its write is what counts.
#[derive(Debug, Serialize, Deserialize)]
struct Collection {
    v: u32,
}

/// Collects until it is dropped. The next collection makes up for one that fails.
pub(super) async fn collect_now_and_then(bus: Bus) {
    tell(collect_uploads(&bus, Ages::default().uploads).await);
    tokio::time::sleep(FIRST).await;
    loop {
        tell(collect(&bus, Ages::default()).await);
        tokio::time::sleep(AGAIN).await;
    }
}

fn tell(collected: Result<Collected, BusError>) {
    match collected {
        Ok(Collected { blobs: 0, uploads: 0, .. }) => tracing::debug!("nothing in the store is garbage"),
        Ok(Collected { blobs, uploads, bytes }) => tracing::info!(
            "deleted from the store: {}, {}, {:.1} MB",
            count(blobs, "unused blob"),
            count(uploads, "unfinished upload"),
            bytes as f64 / 1e6
        ),
        Err(error) => tracing::debug!(%error, "cannot collect garbage in the store"),
    }
}

/// What a collection deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Blobs that nothing referred to.
    pub blobs: usize,
    /// Uploads that were never finished.
    pub uploads: usize,
    pub bytes: u64,
}

/// Deletes everything that is garbage now.
///
/// # Errors
/// When the server refuses or does not answer, or an entry in the books cannot be read.
pub async fn collect(bus: &Bus, ages: Ages) -> Result<Collected, BusError> {
    let mut collected = collect_uploads(bus, ages.uploads).await?;
    let now = server_time(bus).await?;
    for bucket in Bucket::ALL {
        // List the blobs first and the references second, so that what is stored in between is in neither list.
        let inventory = bus.inventory(bucket).await?;
        for blob in unused_blobs(bucket, &inventory, &named(bus).await?, now, ages.blobs) {
            bus.delete_blob(bucket, &blob.name).await?;
            collected.blobs += 1;
            collected.bytes += blob.size;
        }
    }
    Ok(collected)
}

/// Deletes unfinished uploads whose newest bytes are older than `age`, which must be longer than a living uploader ever
/// pauses. If one is stopped for longer, its upload fails when it continues, and is repeated.
async fn collect_uploads(bus: &Bus, age: Duration) -> Result<Collected, BusError> {
    let now = server_time(bus).await?;
    let mut collected = Collected::default();
    for bucket in Bucket::ALL {
        for upload in abandoned_uploads(&bus.inventory(bucket).await?, now, age) {
            bus.discard_upload(bucket, &upload.id).await?;
            collected.uploads += 1;
            collected.bytes += upload.size;
        }
    }
    Ok(collected)
}

/// Ages are differences of the server's own times.
pub(super) async fn server_time(bus: &Bus) -> Result<i128, BusError> {
    bus.write_at(subjects::COLLECTION_KEY, &Collection { v: 1 }).await
}

/// Everything that the books refer to. Fails if a record cannot be read, because it may refer to anything.
async fn named(bus: &Bus) -> Result<Named, BusError> {
    let mut named = Named::default();
    for key in bus.keys(subjects::RECORD_KEYS).await? {
        let Some(job) = subjects::job_of_record_key(&key) else { continue };
        named.jobs.insert(job);
        if let Some(entry) = bus.record(job).await? {
            named.checkpoints.extend(entry.record.checkpoints.into_iter().map(|c| c.blob.name));
            if matches!(entry.record.state, shared::books::JobState::Done { .. }) {
                let result = bus.result(job).await?;
                named.done.insert(job);
                named.results.extend(result.blobs().map(|blob| blob.name.clone()));
            }
        }
    }
    for key in bus.keys(subjects::SWEEP_KEYS).await? {
        named.results.insert(bus.read::<SweepRecord>(&key, SweepRecord::VERSION).await?.plan.name);
    }
    named.results.extend(plans_of_requests(bus).await?);
    Ok(named)
}

/// The plans that are to be added to sweeps, or to take the place of theirs.
async fn plans_of_requests(bus: &Bus) -> Result<Vec<String>, BusError> {
    let mut plans = Vec::new();
    for key in bus.keys(subjects::REQUEST_KEYS).await? {
        let Some(id) = subjects::request_of_key(&key) else { continue };
        let request = match bus.requested(id).await {
            Ok(RequestEntry { request, .. }) => request,
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => continue, // It cannot be read, so it is never carried out.
        };
        match request.demand {
            Demand::Add { plan } | Demand::Edit { plan } if request.answer.is_none() => plans.push(plan.name),
            Demand::Add { .. } | Demand::Edit { .. } | Demand::Jobs { .. } | Demand::Withdraw { .. } => {}
        }
    }
    Ok(plans)
}
