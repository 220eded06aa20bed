//! Surveys what every sweep, job, pack and file of weights has on a server.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use shared::books::JobState;
use shared::bus::{Bucket, Bus};
use shared::ids::JobId;
use shared::protocol::{PackManifest, StoredFile, SweepRecord, WeightsManifest, subjects};

use super::RemovalError;
use super::holdings::{Inputs, Job, Listed, Survey};
use crate::sweep::plan::Plan;

/// Makes the survey. `clock` is the server's time and the lease, to tell which jobs are held.
pub(super) async fn survey(bus: &Bus, clock: Option<(i128, Duration)>) -> Result<Survey, RemovalError> {
    // Read the blobs first: a blob that is stored in the meantime is not in this list, and stays.
    let checkpoints = sizes(bus, Bucket::Checkpoints).await?;
    let results = sizes(bus, Bucket::Results).await?;
    let pack_blobs = sizes(bus, Bucket::Packs).await?;
    let weights_blobs = sizes(bus, Bucket::Weights).await?;
    let mut survey = Survey { checkpoints, results, pack_blobs, weights_blobs, ..Survey::default() };
    survey.keys = bus.keys("").await?.into_iter().collect();
    for key in survey.keys.clone() {
        if let Some(name) = subjects::sweep_of_key(&key) {
            survey.sweeps.insert(name.to_owned(), sweep(bus, &key).await?);
        } else if let Some(id) =
            subjects::job_of_record_key(&key).or_else(|| subjects::job_of_order_key(&key))
        {
            if let Entry::Vacant(vacant) = survey.jobs.entry(id) {
                vacant.insert(job(bus, id, clock).await?);
            }
        } else if let Some(digest) = subjects::pack_of_key(&key) {
            let pack: PackManifest = bus.read(&key, PackManifest::VERSION).await?;
            survey.packs.insert(digest.to_owned(), blobs(pack.files.iter().map(|(_, file)| file)));
        } else if let Some(digest) = subjects::weights_of_key(&key) {
            let weights: WeightsManifest = bus.read(&key, WeightsManifest::VERSION).await?;
            survey.weights.insert(digest.to_owned(), blobs(std::iter::once(&weights.file)));
        } else if let Some(request) = subjects::request_of_key(&key) {
            match bus.requested(request).await {
                Ok(entry) => survey.requests.entry(entry.request.sweep).or_default().push(key),
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(_) => {} // Nobody can tell to which sweep it belongs.
            }
        }
    }
    Ok(survey)
}

async fn sizes(bus: &Bus, bucket: Bucket) -> Result<BTreeMap<String, u64>, RemovalError> {
    let objects = bus.inventory(bucket).await?.objects;
    Ok(objects.into_iter().map(|object| (object.name, object.size)).collect())
}

fn blobs<'a>(files: impl Iterator<Item = &'a StoredFile>) -> Vec<String> {
    files.flat_map(|file| &file.parts).map(|part| part.name.clone()).collect()
}

async fn sweep(bus: &Bus, key: &str) -> Result<Listed, RemovalError> {
    let record: SweepRecord = bus.read(key, SweepRecord::VERSION).await?;
    let bytes = bus.get_blob(Bucket::Results, &record.plan).await?;
    let plan: Plan = serde_json::from_slice(&bytes)
        .map_err(|source| RemovalError::Plan { sweep: record.name.clone(), source })?;
    let weights = plan.weights.iter().map(|file| file.digest.clone());
    let inputs = Inputs { packs: plan.dataset_digest.into_iter().collect(), weights: weights.collect() };
    let jobs = plan.jobs.iter().map(|job| job.id).chain(plan.requested.withdrawn);
    Ok(Listed { jobs: jobs.collect(), inputs })
}

async fn job(bus: &Bus, id: JobId, clock: Option<(i128, Duration)>) -> Result<Job, RemovalError> {
    let mut job = Job::default();
    if let Some(entry) = bus.record(id).await? {
        let names = entry.record.checkpoints.iter().map(|checkpoint| checkpoint.blob.name.clone());
        job.checkpoints = names.collect();
        match entry.record.state {
            JobState::Running { token, .. } => {
                let is_fresh = |(now, lease): (i128, Duration)| {
                    now - entry.written_nanos < i128::try_from(lease.as_nanos()).unwrap_or(i128::MAX)
                };
                job.held_by = clock.is_some_and(is_fresh).then(|| token.owner.name().to_owned());
            }
            JobState::Done { .. } => job.done = true,
            JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. } => {}
        }
    }
    if bus.written_at(&subjects::order_key(id)).await?.is_some() {
        let order = bus.order(id).await?;
        job.inputs.packs.extend(order.content.inputs.dataset);
        job.inputs.weights.extend(order.content.inputs.weights);
    }
    Ok(job)
}
