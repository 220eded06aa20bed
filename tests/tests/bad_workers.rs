//! Bad workers and bad jobs: the sweep finishes on the good workers, and bad workers and jobs are named.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tests::processes::Owned;
use tests::programs::{self, Workdir, expect, root};
use tests::run::Run;
use tests::server::Server;
use tests::wait;

const LIMIT: Duration = Duration::from_mins(4);

fn smoke() -> String {
    root().join("experiments/smoke.yaml").display().to_string()
}

fn worker(workdir: &Workdir, server: &Server, name: &str, more: &[&str]) -> anyhow::Result<Owned> {
    let log = std::fs::File::create(workdir.path().join(format!("{name}.log")))?;
    let url = server.url();
    let args = [&["--nats", url.as_str(), "--name", name, "--cache", "cache"], more].concat();
    let mut command = workdir.worker(&args);
    Ok(Owned(command.stdout(Stdio::null()).stderr(log).spawn()?))
}

/// Four jobs that can be done and two that cannot.
fn poisoned() -> String {
    root().join("tests/sweeps/poisoned.yaml").display().to_string()
}

fn results(workdir: &Workdir, sweep: &str) -> anyhow::Result<Value> {
    let path = workdir.path().join("runs").join(sweep).join("results.json");
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// The only pack in a cache.
fn cached_pack(cache: &Path) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(cache.join("packs")).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| path.join("pack.json").is_file())
}

#[test]
fn an_unusable_device_is_drained_and_named_and_a_corrupt_cache_is_mended() -> anyhow::Result<()> {
    let server = Server::start()?;
    let workdir = Workdir::new()?;
    let start =
        || Run::start(workdir.ferry(&["run", &smoke(), "--nats", &server.url(), "--workers", "0", "--json"]));
    let mut run = start()?;
    run.wait_for("progress", LIMIT)?;

    let broken = Workdir::new()?;
    let Owned(ended) = &mut worker(&broken, &server, "no-such-gpu", &["--device", "cuda:63"])?;
    assert_eq!(ended.wait()?.code(), Some(2), "it is out for good");
    let said = std::fs::read_to_string(broken.path().join("no-such-gpu.log"))?;
    let sentences = said.lines().filter(|line| line.contains("this worker is out")).count();
    assert_eq!(sentences, 1, "{said}");
    let drained = run.wait_for("drained", LIMIT)?;
    assert_eq!(drained["worker"], "no-such-gpu");

    // A first worker downloads the dataset. Then every byte of its pixels is changed.
    let elsewhere = Workdir::new()?;
    let first = worker(&elsewhere, &server, "first", &["--device", "cpu"])?;
    run.wait_for("done", LIMIT)?;
    drop(first);
    let cache = elsewhere.path().join("cache");
    let pack = wait::until(LIMIT, "a pack in the cache", || cached_pack(&cache))?;
    let pixels = pack.join("pixels.bin");
    let whole = std::fs::read(&pixels)?;
    let corrupt: Vec<u8> = whole.iter().map(|byte| !byte).collect();
    std::fs::write(&pixels, corrupt)?;

    let _second = worker(&elsewhere, &server, "second", &["--device", "cpu"])?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!(
        (&finished["done"], &finished["failed"], &finished["parked"]),
        (&4.into(), &0.into(), &0.into())
    );
    assert!(run.end(LIMIT)?.success());
    let said = std::fs::read_to_string(elsewhere.path().join("second.log"))?;
    assert!(said.contains("is damaged and is fetched again"), "{said}");
    assert!(std::fs::read(&pixels)? == whole, "the cache is whole again");

    let results = results(&workdir, "smoke")?;
    let drained = &results["drained_workers"];
    assert_eq!(drained[0]["worker"], "no-such-gpu");
    let reason = drained[0]["reason"].as_str().unwrap_or_default();
    assert!(!reason.is_empty());
    for file in ["report.md", "report.html"] {
        let report = std::fs::read_to_string(workdir.path().join("runs/smoke").join(file))?;
        assert!(report.contains("no-such-gpu") && report.contains("Drained workers"), "{file}");
    }
    let status = expect(&mut workdir.ferry(&["status", "--nats", &server.url()]), 0)?;
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains("no-such-gpu is drained") && status.contains("ferry_checkpoints"), "{status}");
    Ok(())
}

/// A script that runs the worker program, but waits first if the worker's name is `late`. It is replaced by the program,
/// so that signals reach it.
fn late_worker(workdir: &Workdir, late: &str, seconds: u32) -> anyhow::Result<PathBuf> {
    let real = programs::folder().join("ferry-worker");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" --name {late} \"*) sleep {seconds};; esac\nexec '{}' \"$@\"\n",
        real.display()
    );
    let path = workdir.path().join("late-worker");
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Case 34: the first worker waits for the one that is still starting, so both try the bad jobs.
#[test]
fn a_job_that_fails_is_tried_by_a_worker_that_starts_ten_seconds_later() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut command = workdir.ferry(&["run", &poisoned(), "--workers", "2", "--json"]);
    command.env("FERRY_WORKER", late_worker(&workdir, "cpu1", 10)?);
    let mut run = Run::start(command)?;
    for _ in 0..2 {
        let ended = run.wait_for("given_up", LIMIT)?;
        let reason = ended["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("2 tries failed") && reason.contains("cpu0"), "{reason}");
        assert!(reason.contains("cpu1"), "{reason}");
    }
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &2.into()));
    assert_eq!(run.end(LIMIT)?.code(), Some(1));
    Ok(())
}

/// Case 34: the job always ends in the same way, whichever worker tried it first.
#[test]
fn a_job_that_fails_everywhere_ends_as_failed_with_the_command_that_shows_it() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = Run::start(workdir.ferry(&["run", &poisoned(), "--workers", "2", "--json"]))?;
    let ended = run.wait_for("given_up", LIMIT)?;
    assert!(ended["log"].as_array().is_some_and(|log| !log.is_empty()), "{ended}");
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &2.into()), "{finished}");
    assert_eq!(run.end(LIMIT)?.code(), Some(1));
    let results = results(&workdir, "poisoned")?;
    assert_eq!(results["drained_workers"], serde_json::json!([]), "bad jobs drain nobody");

    let command = ended["reproduce"].as_str().unwrap_or_default().to_owned();
    let args: Vec<&str> = command.split_whitespace().skip(1).collect();
    let shown = expect(&mut workdir.worker(&args), 1)?;
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains("FAILED") && shown.contains("diverged"), "{shown}");
    let status = expect(&mut workdir.ferry(&["status"]), 0)?;
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains("2 failed") && status.contains("ferry-worker reproduce"), "{status}");
    let report = std::fs::read_to_string(workdir.path().join("runs/poisoned/report.md"))?;
    assert!(report.contains("Failed for good") && report.contains("ferry-worker reproduce"), "{report}");
    Ok(())
}

#[test]
fn with_one_worker_a_bad_job_fails_for_good_and_the_rest_is_done() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = Run::start(workdir.ferry(&["run", &poisoned(), "--workers", "1", "--json"]))?;
    let ended = run.wait_for("given_up", LIMIT)?;
    assert!(
        ended["reason"].as_str().is_some_and(|reason| reason.starts_with("3 tries failed, on cpu0: ")),
        "{ended}"
    );
    assert!(ended["reproduce"].is_string() && ended["log"].is_array(), "{ended}");
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &2.into()));
    assert_eq!(run.end(LIMIT)?.code(), Some(1));
    Ok(())
}

#[test]
fn when_no_worker_may_work_the_run_says_so_and_ends() -> anyhow::Result<()> {
    let server = Server::start()?;
    let workdir = Workdir::new()?;
    let mut run =
        Run::start(workdir.ferry(&["run", &smoke(), "--nats", &server.url(), "--workers", "0", "--json"]))?;
    run.wait_for("progress", LIMIT)?;
    let broken = Workdir::new()?;
    let _broken = worker(&broken, &server, "alone", &["--device", "cuda:63"])?;
    let stranded = run.wait_for("stranded", LIMIT)?;
    assert_eq!(stranded["open"], 4);
    assert!(stranded["reason"].as_str().is_some_and(|reason| reason.contains("alone")), "{stranded}");
    assert_eq!(run.end(LIMIT)?.code(), Some(1));
    Ok(())
}
