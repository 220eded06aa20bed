//! A worker that has nothing but an address joins a sweep: the dataset and all else come over the bus.

use std::process::{Child, Stdio};
use std::time::Duration;

use tests::programs::{Desk, expect, root};
use tests::run::Run;
use tests::server::Server;

const LIMIT: Duration = Duration::from_mins(4);

/// A worker process that ends with the test.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_worker_with_only_an_address_does_the_whole_sweep() -> anyhow::Result<()> {
    let server = Server::start()?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    let desk = Desk::new()?;
    let mut run =
        Run::start(desk.ferry(&["run", &sweep, "--nats", &server.url(), "--workers", "0", "--json"]))?;
    run.wait_for("progress", LIMIT)?;

    let elsewhere = Desk::new()?;
    let mut command = elsewhere.worker(&["--nats", &server.url(), "--name", "far-away", "--cache", "cache"]);
    let _worker = Worker(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()));
    assert!(run.end(LIMIT)?.success());
    assert_eq!(
        std::fs::read_dir(elsewhere.path().join("cache/packs"))?.count(),
        1,
        "the dataset was fetched"
    );

    let status = expect(&mut desk.ferry(&["status", "--nats", &server.url(), "--json"]), 0)?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    let jobs = status["sweeps"][0]["jobs"].as_array().cloned().unwrap_or_default();
    assert_eq!(jobs.len(), 4);
    assert!(jobs.iter().all(|job| job["state"] == "done" && job["worker"] == "far-away"), "{status:#}");
    Ok(())
}

#[test]
fn a_worker_without_the_token_is_refused_in_one_sentence() -> anyhow::Result<()> {
    let desk = Desk::new()?;
    let sweep = root().join("tests/sweeps/faults.yaml").display().to_string();
    let mut run = Run::start(desk.ferry(&["run", &sweep, "--json"]))?;
    run.wait_for("started", LIMIT)?;
    let endpoint = std::fs::read_to_string(desk.path().join(".ferry/endpoint.json"))?;
    let endpoint: serde_json::Value = serde_json::from_str(&endpoint)?;
    let url = endpoint["url"].as_str().unwrap_or_default();
    let refused = expect(&mut desk.worker(&["--nats", url]), 2)?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("refused") && said.contains("FERRY_TOKEN"), "{said}");
    run.kill()
}
