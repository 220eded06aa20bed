//! The products of a training: checkpoints, and a result with the blobs that it points to.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared::books::Token;
use shared::expression::CLASSES;
use shared::metrics::{Confusion, argmax};
use shared::pack::{Pack, Split};
use shared::predictions::to_npy;
use shared::protocol::JobOrder;
use shared::result::{BlobRef, DeviceRecord, EpochReport, JobResult, Score, SplitResult};

use crate::train::Finished;

/// The attempt and the job to which work belongs, and the device that does it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkClaim {
    pub v: u32,
    pub order: JobOrder,
    /// [`shared::bus::Bus::admitted_at`] in the books from which the job was claimed. Only they get the spooled work.
    pub admitted_nanos: i128,
    pub token: Token,
    pub device: DeviceRecord,
}

impl WorkClaim {
    /// Version of this record's layout on disk.
    pub const VERSION: u32 = 1;
}

/// A checkpoint of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Number of finished epochs.
    pub epoch: u32,
    /// Number of finished steps in the next epoch.
    pub step: u32,
    /// The report of the epoch that has just ended; `None` within an epoch.
    pub report: Option<EpochReport>,
    pub checkpoint: Bytes,
}

/// A finished result, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FinishedWork {
    pub(super) result: JobResult,
    /// Everything that `result` points to.
    pub(super) blobs: Vec<(BlobRef, Bytes)>,
}

impl FinishedWork {
    /// Builds the result. This needs no server, because blobs are named by their digests.
    pub(super) fn of(claim: &WorkClaim, pack: &Pack, finished: Finished) -> Self {
        let job = claim.order.job;
        let mut blobs = Vec::new();
        let mut keep = |stem: String, bytes: Vec<u8>| {
            let blob = BlobRef::of(&stem, &bytes);
            blobs.push((blob.clone(), Bytes::from(bytes)));
            blob
        };
        let mut split = |split: Split, rows: &[[f32; CLASSES]]| {
            let samples = pack.samples(split);
            let probabilities = keep(format!("{job}.{split}"), to_npy(rows));
            SplitResult {
                probabilities,
                samples_digest: samples.digest(),
                score: score(&samples.labels, rows),
            }
        };
        let validation = split(Split::Validation, &finished.validation);
        let test = finished.test.as_deref().map(|rows| split(Split::Test, rows));
        let model = keep(format!("{job}.model"), finished.model);
        let result = JobResult {
            v: JobResult::VERSION,
            job,
            dataset_digest: claim.order.dataset_digest.clone(),
            trainer_revision: claim.order.trainer_revision,
            epochs: finished.epochs,
            best_epoch: finished.best_epoch,
            validation,
            test,
            model,
            train_seconds: finished.train_seconds,
            device: claim.device.clone(),
            worker: claim.token.owner.clone(),
            attempt: claim.token.attempt,
        };
        Self { result, blobs }
    }
}

/// `None` if no label is known.
fn score(labels: &[Option<u8>], rows: &[[f32; CLASSES]]) -> Option<Score> {
    let pairs = labels.iter().zip(rows);
    let confusion = Confusion::from_pairs(
        pairs.filter_map(|(label, row)| label.map(|class| (usize::from(class), argmax(row)))),
    );
    (confusion.total() > 0).then(|| Score::from(confusion))
}
