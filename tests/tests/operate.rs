//! A sweep is operated from other terminals: `ferry pause`, `resume`, `cancel`, `first`, `retry`, `status` and `logs`.

use std::process::Output;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tests::processes::signal;
use tests::programs::{Workdir, expect, root};
use tests::results::comparable;
use tests::run::Run;
use tests::server::Server;
use tests::worker::Worker;
use tests::{undisturbed, wait};

const LIMIT: Duration = Duration::from_mins(4);
/// Three jobs of 24 epochs, 12 s each.
const SWEEP: &str = include_str!("../sweeps/steered.yaml");

/// A working folder with the sweep, and where its books are.
struct Desk {
    workdir: Workdir,
    /// A server of its own, unless the sweep's home has one.
    server: Option<Server>,
}

impl Desk {
    fn new(server: Option<Server>) -> anyhow::Result<Self> {
        let workdir = Workdir::new()?;
        std::fs::write(workdir.path().join("steered.yaml"), SWEEP)?;
        Ok(Self { workdir, server })
    }

    fn run(&self, options: &[&str]) -> anyhow::Result<Run> {
        let mut command = self.workdir.ferry(&["run", "steered.yaml", "--json"]);
        // Workers look for changes with every heartbeat.
        command.args(["--lease", "6", "--heartbeat", "1"]).args(options).args(self.place());
        Run::start(command)
    }

    fn place(&self) -> Vec<String> {
        self.server.iter().flat_map(|server| ["--nats".to_owned(), server.url()]).collect()
    }

    /// Runs a command that must end with `code`.
    fn expect(&self, words: &[&str], code: i32) -> anyhow::Result<Output> {
        expect(self.workdir.ferry(words).args(self.place()), code)
    }

    fn json(&self, words: &[&str]) -> anyhow::Result<Value> {
        let output = self.expect(&[words, &["--json"]].concat(), 0)?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn refusal(&self, words: &[&str]) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.expect(words, 2)?.stderr).into_owned())
    }

    /// The jobs' states, in the order of their seeds.
    fn states(&self) -> anyhow::Result<Vec<String>> {
        let status = self.json(&["status", "steered"])?;
        let jobs = status["sweeps"][0]["jobs"].as_array().context("jobs")?;
        Ok(jobs.iter().filter_map(|job| job["state"].as_str()).map(str::to_owned).collect())
    }

    fn wait_for(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> anyhow::Result<()> {
        let mut last = Vec::new();
        let reached = wait::until(LIMIT, what, || {
            last = self.states().ok()?;
            wanted(&last).then_some(())
        });
        reached.with_context(|| format!("the jobs are {last:?}"))
    }

    fn results(&self) -> anyhow::Result<Value> {
        comparable(&self.workdir.path().join("runs/steered/results.json"))
    }
}

fn undisturbed() -> anyhow::Result<Value> {
    undisturbed::results(&root().join("tests/sweeps/steered.yaml"))
}

/// What the run folder has of each finished job.
fn stored_results(desk: &Desk) -> anyhow::Result<Vec<Value>> {
    let files = std::fs::read_dir(desk.workdir.path().join("runs/steered/results"))?;
    let read = |file: std::io::Result<std::fs::DirEntry>| -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(file?.path())?)?)
    };
    let results: Vec<Value> = files.map(read).collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(results.len() == 3, "{} results", results.len());
    Ok(results)
}

/// The only answer in the output of a command.
fn answer(told: &Value) -> &Value {
    &told["answers"][0]["answer"]["answer"]
}

#[test]
fn a_running_sweep_is_paused_resumed_and_partly_cancelled_from_another_terminal() -> anyhow::Result<()> {
    let desk = Desk::new(None)?;
    let mut run = desk.run(&["--workers", "1"])?;
    run.wait_for("started", LIMIT)?;
    let shown = desk.json(&["pause", "steered", "seed<2", "--dry-run"])?;
    assert_eq!((shown["jobs"].as_array().map(Vec::len), &shown["answers"]), (Some(2), &Value::Array(vec![])));
    let told = desk.json(&["pause", "steered", "seed<2"])?;
    assert_eq!(answer(&told), "done", "{told:#}");
    run.wait_until("two paused jobs", LIMIT, |event| event["paused"] == 2)?;
    let said = desk.refusal(&["pause", "seed<2"])?;
    assert!(said.contains("nothing to pause in steered: of the jobs you mean, 2 paused"), "{said}");
    let said = desk.refusal(&["cancel", "seed=0"])?;
    assert!(said.contains("--yes") && said.contains("cancel 1 of 3 jobs"), "{said}");
    let told = desk.json(&["cancel", "seed=0", "--yes"])?;
    assert_eq!(answer(&told), "done", "{told:#}");
    let told = desk.json(&["resume", "state=paused"])?;
    assert_eq!(answer(&told), "done", "{told:#}");
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["cancelled"]), (&2.into(), &1.into()), "{finished}");
    assert!(run.end(LIMIT)?.success());
    // Nothing runs now: whoever asks carries it out, and the next run trains the job.
    assert_eq!(desk.states()?, ["cancelled", "done", "done"]);
    let told = desk.json(&["resume", "state=cancelled", "--yes"])?;
    assert_eq!(answer(&told), "done", "{told:#}");
    assert_eq!(desk.states()?, ["pending", "done", "done"]);
    let mut run = desk.run(&["--workers", "1"])?;
    assert_eq!(run.wait_for("finished", LIMIT)?["done"], 3);
    assert!(run.end(LIMIT)?.success());
    assert_eq!(desk.results()?, undisturbed()?);
    let said = desk.refusal(&["retry", "steered", "--failed"])?;
    assert!(said.contains("nothing to train again"), "{said}");
    let log = desk.expect(&["logs", "seed=1"], 0)?;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.contains("-- done by cpu0"), "{log}");
    // More lines than a record keeps: the first ones come from the result.
    let log = desk.expect(&["logs", "seed=2"], 0)?;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with("--")).collect();
    let all: Vec<String> = (1..=24).map(|epoch| format!("epoch {epoch} of 24 done")).collect();
    assert_eq!(lines, all, "{log}");
    for result in stored_results(&desk)? {
        let time = |name: &str| result["times"][name].as_u64().with_context(|| format!("{result:#}"));
        assert!(time("started")? > 1_700_000_000 && time("started")? <= time("ended")?, "{result:#}");
    }
    let said = desk.refusal(&["logs", "steered"])?;
    assert!(said.contains("3 jobs are meant, but one must be"), "{said}");
    let said = desk.refusal(&["pause", "steerde"])?;
    assert!(said.contains("the sweeps here are: steered"), "{said}");
    Ok(())
}

/// An abandoned sweep: its coordinator is gone, and a worker on another machine keeps training.
#[test]
fn a_sweep_without_a_coordinator_is_ended_and_removed() -> anyhow::Result<()> {
    let desk = Desk::new(Some(Server::start()?))?;
    let url = desk.server.as_ref().context("a server")?.url();
    let mut worker = Worker::start(&desk.workdir, &url, "far")?;
    let mut run = desk.run(&["--workers", "0"])?;
    run.wait_for("epoch", LIMIT)?;
    run.kill()?;
    let told = desk.json(&["cancel", "steered", "--yes"])?;
    assert_eq!(answer(&told), "done", "{told:#}");
    desk.wait_for("the end of the sweep", |states| states.iter().all(|state| state == "cancelled"))?;
    let removed = desk.json(&["remove", "steered", "--yes"])?;
    assert_eq!(removed["removed"], true, "{removed:#}");
    let said = desk.refusal(&["status", "steered"])?;
    assert!(said.contains("no sweep has run here yet"), "{said}");
    worker.signal("TERM")?;
    assert!(worker.end(LIMIT)?.success());
    Ok(())
}

/// A request is answered although the coordinator is suspended, killed, and started again in between.
#[test]
fn a_request_outlives_the_coordinator() -> anyhow::Result<()> {
    let desk = Desk::new(Some(Server::start()?))?;
    let url = desk.server.as_ref().context("a server")?.url();
    let _worker = Worker::start(&desk.workdir, &url, "far")?;
    let mut run = desk.run(&["--workers", "0"])?;
    run.wait_for("epoch", LIMIT)?;
    signal(run.pid(), "STOP")?;
    let asking = std::thread::scope(|scope| {
        let asked = scope.spawn(|| desk.json(&["pause", "seed=2"]));
        run.kill()?;
        asked.join().map_err(|_| anyhow::anyhow!("the request panicked"))?
    })?;
    assert_eq!(answer(&asking), "done", "{asking:#}");
    desk.wait_for("the pause", |states| states[2] == "paused")?;
    let mut run = desk.run(&["--workers", "0"])?;
    run.wait_until("two done jobs", LIMIT, |event| event["done"] == 2 && event["paused"] == 1)?;
    assert_eq!(answer(&desk.json(&["resume", "seed=2", "--yes"])?), "done");
    assert_eq!(run.wait_for("finished", LIMIT)?["done"], 3);
    assert!(run.end(LIMIT)?.success());
    assert_eq!(desk.results()?, undisturbed()?);
    Ok(())
}
