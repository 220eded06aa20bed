//! results.json without what may differ between two runs of the same sweep.

use std::path::Path;

use serde_json::Value;

/// Reads a results.json and takes out times, workers, devices' hosts and attempts.
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
