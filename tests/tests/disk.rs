//! A full disk is reported. When there is room again, work continues automatically, and no job is blamed.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tests::disk::Disk;
use tests::processes::Owned;
use tests::programs::{Workdir, root};
use tests::run::Run;
use tests::server::Server;
use tests::{undisturbed, wait};

const LIMIT: Duration = Duration::from_mins(4);
/// MiB for everything that a server writes in these sweeps. It frees deleted data only every two minutes, and a fast
/// machine has finished by then.
const ROOM: usize = 512;

fn remark(words: &'static str) -> impl Fn(&serde_json::Value) -> bool {
    move |event| event["text"].as_str().is_some_and(|text| text.contains(words))
}

#[test]
fn a_full_disk_of_the_server_is_told_and_the_sweep_goes_on_when_there_is_room() -> anyhow::Result<()> {
    let Some(small) = Disk::mount(ROOM)? else { return Ok(()) };
    let workdir = Workdir::new()?;
    let home = small.path().join("state").display().to_string();
    let sweep = undisturbed::faults().display().to_string();
    let mut run = Run::start(workdir.ferry(&["run", &sweep, "--home", &home, "--workers", "1", "--json"]))?;
    run.wait_for("epoch", LIMIT)?;
    let filling = small.fill()?;
    run.wait_until("word of the full disk", LIMIT, remark("free some space"))?;
    filling.remove()?;
    run.wait_until("the server's restart", LIMIT, remark("is being restarted"))?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["failed"], &finished["parked"]), (&0.into(), &0.into()));
    assert!(run.end(LIMIT)?.success());
    let results = std::fs::read(workdir.path().join("runs/faults/results.json"))?;
    let results: serde_json::Value = serde_json::from_slice(&results)?;
    assert_eq!(results["drained_workers"], serde_json::json!([]));
    Ok(())
}

#[test]
fn a_coordinator_that_finds_the_servers_disk_full_says_so_and_waits() -> anyhow::Result<()> {
    let Some(small) = Disk::mount(ROOM)? else { return Ok(()) };
    let mut server = Server::start_below(small.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    drop(runtime.block_on(server.bus())?);
    let filling = small.fill()?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    let workdir = Workdir::new()?;
    let mut run =
        Run::start(workdir.ferry(&["run", &sweep, "--nats", &server.url(), "--workers", "1", "--json"]))?;
    run.wait_until("word of what is wrong", LIMIT, remark("trying again"))?;
    filling.remove()?;
    server.crash_and_restart()?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()));
    assert!(run.end(LIMIT)?.success());
    Ok(())
}

/// Runs a sweep whose only worker has its cache on a small disk. Once the worker has reported that it cannot write there,
/// `cure` fixes the disk.
fn waits_for_its_cache(small: &Disk, cure: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let server = Server::start()?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    let workdir = Workdir::new()?;
    let mut run =
        Run::start(workdir.ferry(&["run", &sweep, "--nats", &server.url(), "--workers", "0", "--json"]))?;
    run.wait_for("progress", LIMIT)?;
    let log = workdir.path().join("worker.log");
    let (url, cache) = (server.url(), small.path().join("cache").display().to_string());
    let args = ["--nats", &url, "--name", "crowded", "--cache", &cache, "--device", "cpu"];
    let said = std::fs::File::create(&log)?;
    let _worker = Owned(workdir.worker(&args).stdout(Stdio::null()).stderr(said).spawn()?);
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    let told = wait::until(LIMIT, "word of the cache", || {
        text().contains("takes no job until it can").then_some(())
    });
    told.with_context(text)?;
    cure()?;
    let finished = run.wait_for("finished", LIMIT).with_context(text)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()));
    assert!(run.end(LIMIT)?.success());
    Ok(())
}

#[test]
fn a_worker_with_a_full_cache_waits_for_room_and_no_job_fails() -> anyhow::Result<()> {
    let Some(small) = Disk::mount(16)? else { return Ok(()) };
    let filling = small.fill()?;
    waits_for_its_cache(&small, || filling.remove())
}

#[test]
fn a_worker_with_a_read_only_cache_waits_until_it_can_write_and_no_job_fails() -> anyhow::Result<()> {
    let Some(small) = Disk::mount(16)? else { return Ok(()) };
    small.set_writable(false)?;
    waits_for_its_cache(&small, || small.set_writable(true))
}
