//! The run without faults: what every job computes when nothing goes wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use orchestrator::broker::tail;
use orchestrator::guard;
use orchestrator::run_dir::{RunDir, RunRecord};
use serde_json::Value;
use shared::ids::JobId;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::audit::Output;
use super::sweep;
use super::view::View;

/// Trains the sweep `file` with its own server and workers in `folder`. Jobs that an earlier run finished there are not
/// trained again.
pub(super) async fn train(
    file: &Path,
    folder: &Path,
    workers: usize,
    view: &mut View,
) -> anyhow::Result<RunRecord> {
    std::fs::create_dir_all(folder)?;
    let log = folder.join("run.log");
    let errors = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
    let runs = folder.join("runs");
    let mut command = guard::command(&std::env::current_exe()?, guard::OnParentDeath::Kill)?;
    command.arg("run").arg(file).arg("--home").arg(folder.join("home")).arg("--out").arg(&runs);
    // A smaller sweep than the last one drops jobs, whose results stay for a larger one.
    command.args(["--models", "none", "--json", "--yes", "--workers", &workers.to_string()]);
    for variable in ["FERRY_NATS", "FERRY_TOKEN", "FERRY_CREDS", "FERRY_HOME"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
    let start = Instant::now();
    while let Some(line) = lines.next_line().await? {
        if let Ok(event) = serde_json::from_str::<Value>(&line)
            && event["event"] == "progress"
        {
            let tally = ["pending", "running", "done", "failed"].map(|state| count(&event, state));
            view.progress(tally, 0, start.elapsed().max(Duration::from_millis(1)));
        }
    }
    let status = child.wait().await?;
    anyhow::ensure!(
        status.success(),
        "the run without faults failed ({status}); the end of {}:\n{}",
        log.display(),
        tail(&log, 12)
    );
    read(&runs)
}

fn count(event: &Value, state: &str) -> usize {
    event[state].as_u64().and_then(|count| count.try_into().ok()).unwrap_or(0)
}

/// Reads the sweep's run folder below `runs`, and checks its matrices against their digests.
pub(super) fn read(runs: &Path) -> anyhow::Result<RunRecord> {
    Ok(RunDir::open(&runs.join(sweep::NAME))?.load()?)
}

/// Digests of what the jobs computed.
pub(super) fn outputs(record: &RunRecord) -> BTreeMap<JobId, Output> {
    record.results.iter().map(|(&job, result)| (job, Output::from(result))).collect()
}
