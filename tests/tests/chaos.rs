//! `ferry chaos` with a few faults: the audit is clean, and no process is left running.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tests::processes::{children, is_alive, signal};
use tests::programs::Workdir;
use tests::run::Run;
use tests::wait;

const LIMIT: Duration = Duration::from_mins(6);

fn chaos(workdir: &Workdir, seed: &str) -> anyhow::Result<Run> {
    let mut command = workdir.ferry(&["chaos", "--workers", "2", "--jobs", "6", "--faults", "6"]);
    command.args(["--minutes", "0.2", "--seed", seed, "--json"]);
    Run::start(command)
}

#[test]
fn a_few_faults_lose_and_change_nothing() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = chaos(&workdir, "1")?;
    let finished =
        run.wait_for("finished", LIMIT).with_context(|| logs(&workdir.path().join("chaos/seed-1")))?;
    let outcome = &finished["outcome"];
    assert!(run.end(LIMIT)?.success());
    assert_eq!(outcome["clean"], true, "{outcome:#}");
    assert_eq!(outcome["operator_commands"], 0, "{outcome:#}");
    assert!(outcome["injected"].as_u64() > Some(0), "{outcome:#}");
    assert_eq!(outcome["recovered"], outcome["injected"], "{outcome:#}");
    let counted = ["injected", "missed"].map(|name| outcome[name].as_u64().unwrap_or_default());
    assert_eq!(counted.iter().sum::<u64>(), 6, "{outcome:#}");
    let kept: Value =
        serde_json::from_str(&std::fs::read_to_string(workdir.path().join("chaos/seed-1/chaos.json"))?)?;
    assert_eq!(kept["seed"], 1);
    // Another seed in the same folder, with fewer jobs.
    let mut command = workdir.ferry(&["chaos", "--workers", "2", "--jobs", "4", "--faults", "1"]);
    command.args(["--minutes", "0.02", "--seed", "3", "--json"]);
    let mut run = Run::start(command)?;
    let finished =
        run.wait_for("finished", LIMIT).with_context(|| logs(&workdir.path().join("chaos/seed-3")))?;
    assert_eq!(finished["outcome"]["clean"], true, "{finished:#}");
    assert!(run.end(LIMIT)?.success());
    Ok(())
}

/// The end of every log, for the message of a failed wait.
fn logs(place: &Path) -> String {
    let logs = ["logs/coordinator.log", "logs/w0.log", "logs/w1.log", "server/nats/server.log"];
    let tails = logs.map(|log| format!("{log}:\n{}", orchestrator::broker::tail(&place.join(log), 40)));
    tails.join("\n")
}

#[test]
fn ctrl_c_leaves_no_process_behind() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = chaos(&workdir, "2")?;
    run.wait_for("fault", LIMIT)?;
    let mut all = Vec::new();
    for name in ["ferry-worker", "nats-server", "ferry"] {
        all.extend(children(run.pid(), name));
    }
    assert!(all.len() >= 2, "{all:?}");
    signal(run.pid(), "INT")?;
    run.wait_for("interrupted", LIMIT)?;
    assert_eq!(run.end(LIMIT)?.code(), Some(130));
    for pid in all {
        wait::until(Duration::from_secs(20), "no orphan", || (!is_alive(pid)).then_some(()))?;
    }
    Ok(())
}
