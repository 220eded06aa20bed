//! Uploads dataset and weights to the server, so that workers on other machines need no shared filesystem.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context;
use sha2::{Digest, Sha256};
use shared::bus::{Bucket, Bus, BusError};
use shared::causes::in_words;
use shared::pack::{self, Pack};
use shared::protocol::{PackManifest, WeightsManifest, subjects};

use crate::sweep::plan::Plan;

/// A sweep names weights by their digest, but the server does not have them.
#[derive(Debug, thiserror::Error)]
#[error("the weights sha256:{0} are not on the server: give the path of their file once")]
pub struct UnknownWeights(String);

/// Uploads the pack's files, unless they are already there. A failure is only logged, because workers that have the
/// pack do not need the upload.
pub(super) async fn pack(bus: Bus, dir: PathBuf) {
    match store(&bus, &dir).await {
        Ok(()) => tracing::debug!("the dataset is on the server"),
        Err(error) => {
            let why = in_words(error.as_ref());
            tracing::warn!("cannot upload the dataset, so workers on other machines need --data: {why}");
        }
    }
}

async fn store(bus: &Bus, dir: &std::path::Path) -> anyhow::Result<()> {
    let digest = Pack::open(dir)?.digest().to_owned();
    let key = subjects::pack_key(&digest);
    match bus.read::<PackManifest>(&key, PackManifest::VERSION).await {
        Ok(_) => return Ok(()),
        Err(BusError::Missing { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut files = Vec::new();
    for path in pack::files(dir) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let file = bus.put_file(Bucket::Packs, &format!("{digest}.{name}"), &path).await?;
        files.push((name, file));
    }
    bus.write(&key, &PackManifest { v: PackManifest::VERSION, digest, files }).await?;
    Ok(())
}

/// Uploads every file of weights that the plan's jobs start from, unless it is already there. This happens before the
/// first job is queued, because no job can begin without its weights.
pub(super) async fn weights(bus: &Bus, plan: &Plan) -> anyhow::Result<()> {
    let digests: BTreeSet<&str> =
        plan.jobs.iter().flat_map(|job| job.spec.transfer.digests().map(|(_, digest)| digest)).collect();
    for digest in digests {
        let key = subjects::weights_key(digest);
        match bus.read::<WeightsManifest>(&key, WeightsManifest::VERSION).await {
            Ok(_) => continue,
            Err(BusError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let file = plan.weights.iter().find(|file| file.digest == digest);
        let file = file.ok_or_else(|| UnknownWeights(digest.to_owned()))?;
        tracing::info!("uploading the weights {}, {:.1} MB", file.name, file.size as f64 / 1e6);
        let bytes = tokio::fs::read(&file.path).await.with_context(|| file.path.display().to_string())?;
        let found = hex::encode(Sha256::digest(&bytes));
        anyhow::ensure!(found == digest, "{} was changed while the sweep was starting", file.path.display());
        drop(bytes);
        let file = bus.put_file(Bucket::Weights, "weights", &file.path).await?;
        bus.write(&key, &WeightsManifest { v: WeightsManifest::VERSION, file }).await?;
    }
    Ok(())
}
