//! A small result as a worker hands it in, and results.json without the values that may differ between two runs.

use std::path::Path;

use serde_json::Value;
use shared::books::Token;
use shared::ids::JobId;
use shared::job::TRAINER_REVISION;
use shared::metrics::Confusion;
use shared::result::{
    BlobRef, DeviceRecord, EpochReport, JobResult, LossTerms, MemoryUse, Score, SplitResult,
};

/// Reads a results.json and removes times, workers and attempts.
///
/// # Errors
///
/// The file cannot be read, or a job lacks one of these values.
pub fn comparable(path: &Path) -> anyhow::Result<Value> {
    let mut results: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    if let Some(jobs) = results["jobs"].as_array_mut() {
        for job in jobs.iter_mut().filter_map(Value::as_object_mut) {
            for name in ["train_seconds", "worker", "attempts"] {
                anyhow::ensure!(job.remove(name).is_some(), "a job of {} has no {name}", path.display());
            }
        }
    }
    Ok(results)
}

/// A result of one epoch, whose blobs are not stored anywhere.
pub fn handed_in(job: JobId, token: &Token) -> JobResult {
    let blob = BlobRef { name: "b".into(), sha256: "s".into(), size: 1 };
    let score = Score::from(Confusion::default());
    let split = SplitResult { probabilities: blob.clone(), samples_digest: "x".into(), score: Some(score) };
    JobResult {
        v: JobResult::VERSION,
        job,
        dataset_digest: "d".into(),
        trainer_revision: TRAINER_REVISION,
        epochs: vec![EpochReport {
            epoch: 1,
            learning_rate: 0.1,
            losses: LossTerms::default(),
            validation: score,
            seconds: 1.0,
            memory: MemoryUse::default(),
        }],
        best_epoch: 1,
        validation: split,
        test: None,
        model: blob,
        train_seconds: 1.0,
        device: DeviceRecord {
            device: "cpu".into(),
            model: "m".into(),
            memory: None,
            uuid: None,
            cpu_capability: "c".into(),
            threads: 1,
            host: "h".into(),
        },
        worker: token.owner.clone(),
        attempt: token.attempt,
    }
}
