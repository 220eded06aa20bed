//! Results in the layout of earlier versions, which knew one trainer only.

use orchestrator::sweep::plan::PlannedJob;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::confusion::Score;
use shared::mtl::report::{EpochReport, LossTerms};
use shared::result::Predictions;

use crate::fixture::{DIGEST, HandedIn};

/// What [`crate::fixture::result`] hands in, as earlier versions stored it.
pub(crate) fn result(job: &PlannedJob) -> Value {
    let handed_in = HandedIn::of(job);
    let (result, _) = handed_in.result(job);
    let score = |score: &Score| {
        json!({
            "macro_f1": score.macro_f1,
            "per_class_f1": score.per_class_f1,
            "confusion": {"counts": score.confusion.counts},
        })
    };
    let split = |index: usize, name: &str| {
        let Predictions { probabilities, samples_digest, .. } = &result.predictions[name];
        let score = handed_in.score(index).as_ref().map(score);
        json!({"probabilities": probabilities, "samples_digest": samples_digest, "score": score})
    };
    let epoch = |report: &EpochReport| {
        let LossTerms { cross_entropy, affinity, partition, landmark } = report.losses;
        json!({
            "epoch": report.epoch,
            "learning_rate": report.learning_rate,
            "losses": {"cross_entropy": cross_entropy, "affinity": affinity, "partition": partition,
                "landmark": landmark},
            "validation": score(&report.validation),
            "seconds": report.seconds,
            "memory": {"micro_batches": 1, "device": null},
        })
    };
    json!({
        "v": 2,
        "job": job.id,
        "dataset_digest": DIGEST,
        "trainer_revision": 1,
        "epochs": handed_in.epochs.iter().map(epoch).collect::<Vec<_>>(),
        "best_epoch": handed_in.best,
        "validation": split(0, "validation"),
        "test": split(1, "test"),
        "model": {"name": "model", "sha256": hex::encode(Sha256::digest(b"")), "size": 0},
        "train_seconds": result.train_seconds,
        "device": {"device": "cpu", "model": "Intel Core i9-10940X", "memory": null, "uuid": null,
            "cpu_capability": "AVX512", "threads": 1, "host": "bench"},
        "worker": result.worker,
        "attempt": 1,
    })
}
