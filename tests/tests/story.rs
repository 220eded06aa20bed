//! `ferry why RUN JOB`: a worker is killed, another one takes its job over, the job fails once and is done, and the story
//! tells each of these with its time.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use shared::books::JobState;
use shared::bus::{Bus, BusError};
use shared::ids::JobId;
use tests::programs::{Workdir, expect};
use tests::run::Run;
use tests::server::Server;
use tests::worker::Worker;

const LIMIT: Duration = Duration::from_mins(4);

/// One job of 24 epochs, 12 s.
const SWEEP: &str = "name: told
trainer: empty
defaults: {epochs: 24, epoch_ms: 500, classes: 3}
groups:
  all: {matrix: {seed: [0]}}
ensembles:
  All: {members: [{where: {group: all}}]}
";

/// Lets the attempt that runs fail, in the name of its worker, which then finds that it has lost the job.
async fn fail(bus: &Bus, job: JobId) -> anyhow::Result<()> {
    loop {
        let entry = bus.record(job).await?.context("a record")?;
        let JobState::Running { token, .. } = &entry.record.state else {
            anyhow::bail!("the job is {}", entry.record.state.describe())
        };
        let failed = entry.record.failed(token, "no memory", &[], entry.revision)?;
        match bus.swap(job, entry.revision, &failed.dated(bus.server_seconds())).await {
            Err(BusError::Conflict { .. }) => {} // The worker was faster with a heartbeat.
            outcome => return Ok(outcome.map(drop)?),
        }
    }
}

/// The standard output of `ferry why`.
fn why(workdir: &Workdir, words: &[&str]) -> anyhow::Result<String> {
    let output = expect(workdir.ferry(&["why"]).args(words), 0)?;
    Ok(String::from_utf8(output.stdout)?)
}

/// What `ferry why` says when it is misused.
fn refusal(workdir: &Workdir, words: &[&str]) -> anyhow::Result<String> {
    let output = expect(workdir.ferry(&["why"]).args(words), 2)?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Runs the sweep to its end, and returns its job.
async fn disturbed(server: &Server, workdir: &Workdir) -> anyhow::Result<JobId> {
    let url = server.url();
    // Each has a cache of its own, so that nobody hands in what the dead one left.
    let (second, third) = (Workdir::new()?, Workdir::new()?);
    std::fs::write(workdir.path().join("told.yaml"), SWEEP)?;
    let mut one = Worker::start(workdir, &url, "one")?;
    let mut command = workdir.ferry(&["run", "told.yaml", "--nats", &url, "--workers", "0", "--json"]);
    let mut run = Run::start({
        command.args(["--lease", "6", "--heartbeat", "1"]);
        command
    })?;
    let job = run.wait_for("epoch", LIMIT)?["job"].as_str().context("a job")?.parse()?;
    one.signal("KILL")?;
    one.end(LIMIT)?;
    let _two = Worker::start(&second, &url, "two")?;
    run.wait_for("taken_over", LIMIT)?;
    run.wait_for("epoch", LIMIT)?;
    // The second try of a failed job is another worker's.
    let _three = Worker::start(&third, &url, "three")?;
    fail(&server.bus().await?, job).await?;
    assert_eq!(run.wait_for("finished", LIMIT)?["done"], 1);
    assert!(run.end(LIMIT)?.success());
    Ok(job)
}

#[tokio::test]
async fn a_job_that_was_lost_and_failed_has_a_story() -> anyhow::Result<()> {
    let (server, workdir) = (Server::start()?, Workdir::new()?);
    let job = disturbed(&server, &workdir).await?;
    let (id, url) = (job.to_string(), server.url());
    let told: Value = serde_json::from_str(&why(&workdir, &["told", &id, "--nats", &url, "--json"])?)?;
    let events = told["events"].as_array().context("events")?;
    let moves: Vec<&str> = events.iter().filter_map(|event| event["move"].as_str()).collect();
    assert_eq!(moves, ["claimed", "lost", "claimed", "failed", "claimed", "done"], "{told:#}");
    let times: Vec<u64> = events.iter().filter_map(|event| event["time"].as_u64()).collect();
    assert!(times.len() == events.len() && times.is_sorted(), "{told:#}");
    assert_eq!((&events[0]["event"], &events[1]["worker"]), (&"ordered".into(), &"one".into()));
    assert_eq!((&events[1]["from"], &events[3]["worker"]), (&Value::Null, &"two".into()), "{told:#}");
    assert!(events[2]["silent"].as_u64() >= Some(6), "{told:#}");
    assert!(events[3]["from"]["epoch"].as_u64() >= Some(1), "{told:#}");
    assert_eq!(events[4]["error"], "no memory");
    assert_eq!((&told["state"], &told["attempt"], &told["untold"]), (&"done".into(), &3.into(), &0.into()));

    let text = why(&workdir, &["runs/told", "all", "--nats", &url])?;
    let mut rest = text.as_str();
    for said in [
        "all  of told",
        "It is done: score 24.00 after 24 epochs",
        "ordered",
        "attempt 1 on one",
        "from the start",
        "attempt 1 was lost: one had been silent for",
        "attempt 2 on two",
        "attempt 2 failed: no memory",
        "attempt 3 on",
        "attempt 3 is done",
    ] {
        let (_, after) =
            rest.split_once(said).with_context(|| format!("{said} is not told in order: {text}"))?;
        rest = after;
    }
    // The run folder alone, and the ensemble beside the job.
    let text = why(&workdir, &["runs/told", &job.short()])?;
    assert!(text.contains("It is done: score 24.00") && text.contains("what the run folder tells"), "{text}");
    assert!(why(&workdir, &["runs/told", "All"])?.starts_with("All: 1 member"));

    let said = refusal(&workdir, &["told", "nothing", "--nats", &url])?;
    assert!(said.contains("no job named `nothing`") && said.contains("`All`"), "{said}");
    let said = refusal(&workdir, &["nowhere", &id, "--nats", &url])?;
    assert!(said.contains("nowhere is not a run folder"), "{said}");
    let said = refusal(&workdir, &["told", "All", "--nats", &url])?;
    assert!(said.contains("explained from a run folder"), "{said}");
    Ok(())
}
