//! Uploads the weights that jobs start from, so that workers on other machines need no shared filesystem.

use std::collections::BTreeSet;

use anyhow::Context;
use sha2::{Digest, Sha256};
use shared::bus::{Bucket, Bus, BusError};
use shared::protocol::{WeightsManifest, subjects};

use crate::sweep::plan::Plan;

/// A sweep names weights by their digest, but the server does not have them.
#[derive(Debug, thiserror::Error)]
#[error("the weights sha256:{0} are not on the server: give the path of their file once")]
pub struct UnknownWeights(String);

/// Uploads every file of weights that the plan's jobs start from, unless it is already there. This happens before the
/// first job is queued, because no job can begin without its weights.
pub(super) async fn share(bus: &Bus, plan: &Plan) -> anyhow::Result<()> {
    let digest = plan.dataset_digest.as_deref().unwrap_or_default();
    let inputs = plan.kind().into_iter().flat_map(|kind| {
        plan.jobs.iter().map(move |job| kind.inputs(&job.settings.to_map(), digest).weights)
    });
    let digests: BTreeSet<String> = inputs.flatten().collect();
    for digest in &digests {
        let key = subjects::weights_key(digest);
        match bus.read::<WeightsManifest>(&key, WeightsManifest::VERSION).await {
            Ok(_) => continue,
            Err(BusError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let file = plan.weights.iter().find(|file| &file.digest == digest);
        let file = file.ok_or_else(|| UnknownWeights(digest.to_owned()))?;
        tracing::info!("uploading the weights {}, {:.1} MB", file.name, file.size as f64 / 1e6);
        let bytes = tokio::fs::read(&file.path).await.with_context(|| file.path.display().to_string())?;
        let found = hex::encode(Sha256::digest(&bytes));
        anyhow::ensure!(&found == digest, "{} was changed while the sweep was starting", file.path.display());
        drop(bytes);
        let file = bus.put_file(Bucket::Weights, "weights", &file.path).await?;
        bus.write(&key, &WeightsManifest { v: WeightsManifest::VERSION, file }).await?;
    }
    Ok(())
}
