//! What a run reports if its server or its state directory is lost, or if the user interrupts it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tests::processes::{Owned, signal};
use tests::programs::{Workdir, expect};
use tests::run::Run;
use tests::server::Server;
use tests::undisturbed;

const LIMIT: Duration = Duration::from_mins(4);

fn sweep() -> String {
    undisturbed::faults().display().to_string()
}

/// Case 17: the state directory is deleted while the sweep runs, or only the server's store in it.
#[test]
fn a_deleted_state_directory_is_noticed_within_seconds() -> anyhow::Result<()> {
    let workdir = moved_while_it_runs(".ferry", "the state directory .ferry was deleted or moved")?;
    assert!(!workdir.path().join(".ferry").exists(), "it was not created again");
    moved_while_it_runs(".ferry/nats/store/jetstream", "the state directory .ferry was deleted or moved")?;
    Ok(())
}

/// Case 17, for the results: the same command writes the folder again.
#[test]
fn a_deleted_run_folder_is_noticed_and_can_be_written_again() -> anyhow::Result<()> {
    let workdir =
        moved_while_it_runs("runs", "was deleted or moved while the sweep was running. No result is lost")?;
    expect(&mut workdir.ferry(&["run", &sweep(), "--workers", "1"]), 0)?;
    assert!(workdir.path().join("runs/faults/report.html").is_file());
    Ok(())
}

/// Moves `folder` away after the first epoch. The run must end within a minute, with exit code 1 and these `words`.
fn moved_while_it_runs(folder: &str, words: &str) -> anyhow::Result<Workdir> {
    let workdir = Workdir::new()?;
    let errors = std::fs::File::create(workdir.path().join("errors"))?;
    let mut command = workdir.ferry(&["run", &sweep(), "--workers", "1"]);
    let mut run = Owned(command.stdout(Stdio::null()).stderr(errors).spawn()?);
    let said = || std::fs::read_to_string(workdir.path().join("errors")).unwrap_or_default();
    tests::wait::until(LIMIT, "an epoch", || said().contains("epoch 1").then_some(()))?;
    std::fs::rename(workdir.path().join(folder), workdir.path().join("gone"))?;
    let status = tests::wait::until(Duration::from_mins(1), "its end", || run.0.try_wait().ok().flatten())?;
    assert_eq!(status.code(), Some(1), "{}", said());
    assert!(said().contains(words), "{}", said());
    Ok(workdir)
}

/// Cases 25 and 31: a lost server is reported, and Ctrl-C still works immediately.
#[test]
fn a_lost_server_is_reported_and_ctrl_c_is_answered_at_once() -> anyhow::Result<()> {
    let (mut server, workdir) = (Server::start()?, Workdir::new()?);
    let url = server.url();
    let mut run = Run::start(workdir.ferry(&["run", &sweep(), "--nats", &url, "--workers", "1", "--json"]))?;
    run.wait_for("epoch", LIMIT)?;
    server.crash()?;
    let remark = |words: &'static str| {
        move |event: &serde_json::Value| event["text"].as_str().is_some_and(|text| text.contains(words))
    };
    run.wait_until("word of the lost server", Duration::from_secs(20), remark("the server does not answer"))?;
    let asked = Instant::now();
    signal(run.pid(), "INT")?;
    run.wait_until("an answer to Ctrl-C", LIMIT, remark("stopping…"))?;
    assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
    run.wait_for("interrupted", LIMIT)?;
    Ok(())
}

/// Case 24: workers on other machines keep training, and the run says so.
#[test]
fn workers_elsewhere_are_named_when_a_run_is_interrupted() -> anyhow::Result<()> {
    let (server, workdir) = (Server::start()?, Workdir::new()?);
    let url = server.url();
    let mut run = Run::start(workdir.ferry(&["run", &sweep(), "--nats", &url, "--workers", "0", "--json"]))?;
    let args = ["--nats", &url, "--name", "far", "--cache", "cache", "--device", "cpu"];
    let _worker = Owned(workdir.worker(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    run.wait_for("epoch", LIMIT)?;
    signal(run.pid(), "INT")?;
    let interrupted = run.wait_for("interrupted", LIMIT)?;
    let elsewhere = interrupted["training_elsewhere"][0].as_str().unwrap_or_default();
    assert!(elsewhere.starts_with("far on "), "{interrupted}");
    Ok(())
}
