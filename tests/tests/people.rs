//! Two people share a server and its workers. Each has a run, a folder and results of its own; priorities say who is next.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use shared::ids::JobId;
use tests::claims::taken;
use tests::programs::{Workdir, expect};
use tests::run::Run;
use tests::server::Server;
use tests::worker::Worker;

const LIMIT: Duration = Duration::from_mins(4);

/// A sweep in a folder of its own.
struct Sweep {
    name: &'static str,
    jobs: BTreeSet<JobId>,
    workdir: Workdir,
}

impl Sweep {
    fn new(name: &'static str, priority: i32, jobs: u32, epochs: u32) -> anyhow::Result<Self> {
        let workdir = Workdir::new()?;
        let (path, seeds) = (workdir.path().join("sweep.yaml"), (0..jobs).collect::<Vec<_>>());
        let text = format!(
            "name: {name}\ntrainer: empty\npriority: {priority}\ndefaults: {{epochs: {epochs}, epoch_ms: 500}}\n\
             groups:\n  {name}: {{matrix: {{seed: {seeds:?}}}}}\n"
        );
        std::fs::write(&path, text)?;
        let plan = orchestrator::sweep::load(&path, workdir.path())?;
        Ok(Self { name, jobs: plan.jobs.iter().map(|job| job.id).collect(), workdir })
    }

    fn start(&self, server: &Server) -> anyhow::Result<Run> {
        let words = ["run", "sweep.yaml", "--nats", &server.url(), "--workers", "0", "--json"];
        let mut run = Run::start(self.workdir.ferry(&words))?;
        run.wait_for("progress", LIMIT)?;
        Ok(run)
    }

    /// Waits for the end of the run, which must have been about its own jobs only.
    fn end(&self, mut run: Run) -> anyhow::Result<Value> {
        let finished = run.wait_for("finished", LIMIT)?;
        let own: BTreeSet<String> = self.jobs.iter().map(ToString::to_string).collect();
        for job in run.seen().iter().filter_map(|event| event["job"].as_str()) {
            assert!(own.contains(job), "{job} is no job of {}", self.name);
        }
        let results = self.workdir.path().join("runs").join(self.name).join("results.json");
        let results: Value = serde_json::from_slice(&std::fs::read(results)?)?;
        assert_eq!(results["jobs"].as_array().map(Vec::len), Some(self.jobs.len()));
        assert!(run.end(LIMIT)?.success());
        Ok(finished)
    }
}

#[tokio::test]
async fn two_people_have_three_sweeps_on_two_workers() -> anyhow::Result<()> {
    let server = Server::start()?;
    let [long, later, urgent] =
        [Sweep::new("long", 0, 16, 4)?, Sweep::new("later", -10, 2, 2)?, Sweep::new("urgent", 10, 4, 1)?];
    let (bus, last) = (server.bus().await?, urgent.jobs.clone());
    let order =
        tokio::spawn(
            async move { taken(&bus, LIMIT, |taken| last.iter().all(|job| taken.contains(job))).await },
        );
    // Ben's. The second one waits in the queue until the first one is over.
    let mut first = long.start(&server)?;
    let queued = later.start(&server)?;
    let workdirs = [Workdir::new()?, Workdir::new()?];
    let _one = Worker::start(&workdirs[0], &server.url(), "one")?;
    let _two = Worker::start(&workdirs[1], &server.url(), "two")?;
    for _ in 0..2 {
        first.wait_for("started", LIMIT)?;
    }
    // Ada's.
    assert_eq!(urgent.end(urgent.start(&server)?)?["done"], 4);
    let order = order.await??;
    let begins = order.iter().position(|job| urgent.jobs.contains(job)).context("a job of Ada's")?;
    let others = order[begins..].iter().filter(|job| !urgent.jobs.contains(job)).count();
    // The other worker may have chosen its next job just before Ada's came.
    assert!(others <= 1 && begins >= 2, "every free worker was to go on with Ada's jobs: {order:?}");
    assert!(order.iter().all(|job| !later.jobs.contains(job)), "its turn had not come: {order:?}");
    expect(&mut long.workdir.ferry(&["cancel", "long", "--yes", "--nats", &server.url()]), 0)?;
    let finished = long.end(first)?;
    let [done, cancelled] = ["done", "cancelled"].map(|name| finished[name].as_u64().unwrap_or_default());
    assert!(done + cancelled == 16 && cancelled >= 4, "{finished}");
    assert_eq!(later.end(queued)?["done"], 2);
    Ok(())
}
