//! Killing any process in the middle of a sweep does not change the results.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use shared::books::JobState;
use shared::bus::Bus;
use shared::protocol::subjects;
use tests::processes::{Owned, children, is_alive, signal};
use tests::programs::{Workdir, root};
use tests::results::comparable;
use tests::run::Run;
use tests::server::Server;
use tests::{undisturbed, wait};

/// Generous: the machine may be busy, and a lease must run out.
const LIMIT: Duration = Duration::from_mins(4);

/// For a whole sweep, which may be the demo.
const SWEEP_LIMIT: Duration = Duration::from_mins(30);

/// `FERRY_TEST_SWEEP` names another sweep, such as experiments/demo.yaml.
fn sweep() -> PathBuf {
    std::env::var_os("FERRY_TEST_SWEEP").map_or_else(undisturbed::faults, |name| root().join(name))
}

/// The results of an undisturbed run; `FERRY_TEST_EXPECTED` names those of an earlier one.
fn expected() -> anyhow::Result<Value> {
    match std::env::var_os("FERRY_TEST_EXPECTED") {
        Some(earlier) => comparable(&root().join(earlier)),
        None => undisturbed::results(&sweep()),
    }
}

fn results(workdir: &Workdir) -> anyhow::Result<Value> {
    let sweep = sweep();
    let name = sweep.file_stem().context("a sweep file has a name")?;
    comparable(&workdir.path().join("runs").join(name).join("results.json"))
}

/// `ferry run` of the sweep.
fn coordinator(workdir: &Workdir, options: &[&str]) -> Command {
    let mut command = workdir.ferry(&["run"]);
    command.arg(sweep()).args(options);
    command
}

fn start(workdir: &Workdir) -> anyhow::Result<Run> {
    Run::start(coordinator(workdir, &["--json"]))
}

fn one(parent: u32, name: &str) -> anyhow::Result<u32> {
    wait::until(Duration::from_secs(30), name, || children(parent, name).first().copied())
}

#[test]
fn kill_9_of_worker_server_and_ferry_changes_no_result() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = start(&workdir)?;
    run.wait_for("epoch", LIMIT)?;
    let worker = one(run.pid(), "ferry-worker")?;
    signal(worker, "KILL")?;
    run.wait_for("epoch", LIMIT)?;
    let server = one(run.pid(), "nats-server")?;
    signal(server, "KILL")?;
    run.wait_until("the server's restart", LIMIT, |e| {
        e["text"].as_str().is_some_and(|t| t.contains("nats-server"))
    })?;
    run.wait_for("epoch", LIMIT)?;

    let mut orphans = children(run.pid(), "ferry-worker");
    orphans.push(one(run.pid(), "nats-server")?);
    run.kill()?;
    for pid in orphans {
        wait::until(Duration::from_secs(20), "no orphan", || (!is_alive(pid)).then_some(()))?;
    }

    let mut again = start(&workdir)?;
    let finished = again.wait_for("finished", SWEEP_LIMIT)?;
    assert_eq!(finished["failed"], 0);
    assert!(again.end(LIMIT)?.success());
    assert_eq!(results(&workdir)?, expected()?);
    Ok(())
}

#[test]
fn kill_9_of_the_server_alone_does_not_stop_the_sweep() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = start(&workdir)?;
    run.wait_for("epoch", LIMIT)?;
    signal(one(run.pid(), "nats-server")?, "KILL")?;
    let finished = run.wait_for("finished", SWEEP_LIMIT)?;
    assert_eq!(finished["failed"], 0);
    assert!(run.end(LIMIT)?.success());
    assert_eq!(results(&workdir)?, expected()?);
    Ok(())
}

/// The user starts the workers, and the coordinator is away until every job is done.
#[test]
fn a_coordinator_that_is_away_for_the_middle_of_the_sweep_finds_all_of_it() -> anyhow::Result<()> {
    let (server, workdir, bench) = (Server::start()?, Workdir::new()?, Workdir::new()?);
    let url = server.url();
    let coordinate = || Run::start(coordinator(&workdir, &["--nats", &url, "--workers", "0", "--json"]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bus = runtime.block_on(server.bus())?;
    let mut run = coordinate()?;
    let jobs = run.wait_for("progress", LIMIT)?["pending"].as_u64().context("a number of jobs")?;
    let mut worker = bench.worker(&["--nats", &server.url(), "--device", "cpu", "--cache", "cache"]);
    let _worker = Owned(worker.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    run.wait_for("epoch", LIMIT)?;
    run.kill()?;
    runtime.block_on(async { tokio::time::timeout(SWEEP_LIMIT, all_done(&bus, jobs)).await })??;

    let mut again = coordinate()?;
    again.wait_until("the end without any training", LIMIT, |event| {
        assert!(!["started", "epoch"].contains(&event["event"].as_str().unwrap_or("")), "{event}");
        event["event"] == "finished"
    })?;
    assert!(again.end(LIMIT)?.success());
    assert_eq!(results(&workdir)?, expected()?);
    Ok(())
}

async fn all_done(bus: &Bus, jobs: u64) -> anyhow::Result<()> {
    let mut watch = bus.feed(&[subjects::RECORD_KEYS]);
    let mut done = BTreeSet::new();
    while (done.len() as u64) < jobs {
        let entry = watch.record().await;
        if matches!(entry.record.state, JobState::Done { .. }) {
            done.insert(entry.job);
        }
    }
    Ok(())
}

#[test]
fn an_interrupted_run_goes_on_and_a_finished_one_trains_nothing() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = start(&workdir)?;
    run.wait_for("done", LIMIT)?;
    signal(run.pid(), "INT")?;
    run.wait_for("interrupted", LIMIT)?;
    assert_eq!(run.end(LIMIT)?.code(), Some(130));

    let mut again = start(&workdir)?;
    let finished = again.wait_for("finished", SWEEP_LIMIT)?;
    assert!(again.end(LIMIT)?.success());
    assert_eq!(finished["failed"], 0);
    assert_eq!(results(&workdir)?, expected()?);

    let mut third = start(&workdir)?;
    third.wait_until("the end without any training", LIMIT, |event| {
        assert!(!["started", "epoch"].contains(&event["event"].as_str().unwrap_or("")), "{event}");
        event["event"] == "finished"
    })?;
    assert!(third.end(LIMIT)?.success());
    Ok(())
}
