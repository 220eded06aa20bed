//! A tour: what can happen to a sweep from its start to its removal, by two people and an observer on a protected server.
//! `make tour` prints every command with what it said.
#![expect(clippy::print_stdout, reason = "`make tour` shows it")]

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use shared::bus::{Bus, Role};
use tests::cluster::Cluster;
use tests::processes::{Owned, signal};
use tests::programs::{Workdir, expect};
use tests::results::comparable;
use tests::run::Run;
use tests::wait;

const LIMIT: Duration = Duration::from_mins(4);

/// Four jobs, and one that always fails.
const BEFORE: &str = "\
name: tour
trainer: empty
defaults: {epochs: 6, epoch_ms: 400, classes: 3}
groups:
  weak: {matrix: {gain: [0.5, 2.5], seed: [0, 1]}}
  broken: {matrix: {seed: [9]}, settings: {fail_in_epoch: 2}}
ensembles:
  Weak: {members: [{where: {group: weak}}]}
";

/// More epochs, another seed, one combination less, another ensemble, and nothing that fails.
const AFTER: &str = "\
name: tour
trainer: empty
defaults: {epochs: 8, epoch_ms: 400, classes: 3}
groups:
  weak: {matrix: {gain: [0.5, 2.5], seed: [0, 1, 2]}, exclude: [{gain: 2.5, seed: 0}]}
ensembles:
  Weak: {members: [{where: {group: weak}}]}
  Best two: {members: [{where: {group: weak}, top: 2}]}
";

const OTHER: &str = "\
name: other
trainer: empty
defaults: {epochs: 60, epoch_ms: 400}
groups: {all: {matrix: {seed: [0, 1, 2]}}}
";

/// Who types a command.
#[derive(Debug, Clone, Copy)]
enum Person {
    Ada,
    Ben,
    Observer,
}

struct Tour {
    cluster: Cluster,
    ada: Workdir,
    ben: Workdir,
    /// Folders of the workers.
    machines: [Workdir; 2],
}

impl Tour {
    fn begin() -> anyhow::Result<Self> {
        let [ada, ben, one, two] = [Workdir::new()?, Workdir::new()?, Workdir::new()?, Workdir::new()?];
        Ok(Self { cluster: Cluster::start(1)?, ada, ben, machines: [one, two] })
    }

    fn place(&self, who: Person) -> (&Workdir, Vec<String>) {
        let (workdir, role) = match who {
            Person::Ada => (&self.ada, Role::Coordinator),
            Person::Ben => (&self.ben, Role::Coordinator),
            Person::Observer => (&self.ben, Role::Observer),
        };
        let creds = self.cluster.credential(role).display().to_string();
        (workdir, vec!["--nats".to_owned(), self.cluster.url().to_owned(), "--creds".to_owned(), creds])
    }

    fn save(&self, who: Person, file: &str, text: &str) -> anyhow::Result<()> {
        println!("\n{who:?} writes {file}\n{text}");
        Ok(std::fs::write(self.place(who).0.path().join(file), text)?)
    }

    /// A command that must end with `code`, and what it said.
    fn type_in(&self, who: Person, words: &[&str], code: i32) -> anyhow::Result<String> {
        let (workdir, place) = self.place(who);
        println!("\n{who:?} $ ferry {}", words.join(" "));
        let output = expect(workdir.ferry(words).args(place), code)?;
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        print!("{}", said.concat());
        Ok(said.concat())
    }

    fn json(&self, who: Person, words: &[&str]) -> anyhow::Result<Value> {
        let (workdir, place) = self.place(who);
        let output = expect(workdir.ferry(words).args(place).arg("--json"), 0)?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// A command that goes on, without workers of its own.
    fn start(&self, who: Person, words: &[&str]) -> anyhow::Result<Run> {
        let (workdir, place) = self.place(who);
        println!("\n{who:?} $ ferry {} &", words.join(" "));
        Run::start({
            let mut command = workdir.ferry(words);
            command.arg("--json").args(place);
            command
        })
    }

    fn run(&self, who: Person, file: &str, options: &[&str]) -> anyhow::Result<Run> {
        // Workers look for changes with every heartbeat.
        let words = ["run", file, "--workers", "0", "--lease", "6", "--heartbeat", "1"];
        self.start(who, &[&words, options].concat())
    }

    /// A worker with nothing but the program, the address and a credential.
    fn join(&self, machine: usize, name: &str) -> anyhow::Result<Owned> {
        println!("\n{name} joins");
        let creds = self.cluster.credential(Role::Worker).display().to_string();
        let words = ["--nats", self.cluster.url(), "--creds", &creds, "--name", name, "--device", "cpu"];
        let mut command = self.machines[machine].worker(&words);
        command.args(["--cache", "cache"]).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Owned(command.spawn()?))
    }

    /// How many jobs of a sweep are in this state, by what the observer sees.
    fn count(&self, sweep: &str, state: &str) -> anyhow::Result<usize> {
        let status = self.json(Person::Observer, &["status", sweep])?;
        let jobs = status["sweeps"][0]["jobs"].as_array().context("jobs")?;
        Ok(jobs.iter().filter(|job| job["state"] == state).count())
    }
}

fn is_about(event: &Value, name: &str, label: &str) -> bool {
    event["event"] == name && event["label"].as_str().is_some_and(|text| text.contains(label))
}

/// Waits until so many jobs are on the list of those out of the queue's order.
async fn listed(bus: &Bus, jobs: usize) -> anyhow::Result<()> {
    let all = async {
        while bus.priorities().await?.0.jobs.len() < jobs {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, all).await.context("the list of priorities")?
}

/// Every epoch was reported once, except of the job that always fails, which has left the sweep.
fn nothing_was_trained_twice(observed: &[Value]) {
    let mut known = BTreeSet::new();
    let reports = observed.iter().filter(|event| event["event"] == "epoch" && event["attempt"] != 0);
    for event in reports.filter(|event| !is_about(event, "epoch", "broken")) {
        assert!(known.insert((event["job"].as_str(), event["epoch"].as_u64())), "trained twice: {event}");
    }
    assert!(known.len() > 20, "{observed:#?}");
}

/// What a sweep gives that was started with this file.
fn unedited(text: &str) -> anyhow::Result<Value> {
    let workdir = Workdir::new()?;
    std::fs::write(workdir.path().join("tour.yaml"), text)?;
    expect(&mut workdir.ferry(&["run", "tour.yaml"]), 0)?;
    comparable(&workdir.path().join("runs/tour/results.json"))
}

/// The first half: steering. Returns the run that conducts the sweep, while a job is being trained.
async fn steer(tour: &Tour, observer: &mut Run, mut run: Run) -> anyhow::Result<(Run, [Owned; 2])> {
    use Person::{Ada, Ben, Observer};
    tour.type_in(Ada, &["priority", "tour", "seed=1", "20"], 0)?;
    listed(&tour.cluster.coordinator().await?, 2).await?;
    let workers = [tour.join(0, "one")?, tour.join(1, "two")?];
    for _ in 0..2 {
        let started = run.wait_for("started", LIMIT)?;
        assert!(is_about(&started, "started", "seed=1"), "those of a higher priority come first: {started}");
    }
    tour.type_in(Ben, &["pause", "tour", "gain=0.5", "seed=0"], 0)?;
    tour.type_in(Ben, &["cancel", "tour", "gain=2.5", "seed=0", "--yes"], 0)?;
    run.wait_until("one job paused, one cancelled", LIMIT, |event| {
        event["paused"] == 1 && event["cancelled"] == 1
    })?;
    let refused = tour.type_in(Observer, &["resume", "tour", "--yes"], 2)?;
    assert!(refused.contains("observer"), "{refused}");
    tour.type_in(Observer, &["status", "tour"], 0)?;
    assert_eq!((tour.count("tour", "paused")?, tour.count("tour", "cancelled")?), (1, 1));

    let taken = run.seen().iter().rfind(|event| event["event"] == "started").cloned().context("a job")?;
    let worker = taken["worker"].as_str().context("a worker")?;
    let worker = if worker.starts_with("one") { "one" } else { "two" };
    tour.type_in(Ada, &["workers", "drain", worker, "--now"], 0)?;
    let drained = wait::until(LIMIT, "a drained worker", || {
        let list = tour.json(Observer, &["workers"]).ok()?;
        let workers = list["workers"].as_array().cloned().unwrap_or_default();
        workers.into_iter().find(|one| one["name"] == worker && one["drained"].is_object())
    })?;
    assert_eq!(drained["drained"]["now"], true, "{drained}");
    tour.type_in(Observer, &["workers"], 0)?;
    tour.type_in(Ada, &["workers", "undrain", worker], 0)?;

    run.wait_until("the end of the job that fails", LIMIT, |event| is_about(event, "given_up", "broken"))?;
    assert_eq!(tour.count("tour", "failed")?, 1);
    tour.type_in(Ada, &["retry", "tour", "--failed", "--yes"], 0)?;
    run.wait_until("the second end of that job", LIMIT, |event| is_about(event, "given_up", "broken"))?;

    // Another terminal in the same folder shows the same, and leaves.
    let mut attached = tour.run(Ada, "tour.yaml", &["--home", "another"])?;
    attached.wait_until("that it watches", LIMIT, |event| {
        event["text"].as_str().is_some_and(|text| text.contains("this one only watches"))
    })?;
    signal(attached.pid(), "INT")?;
    attached.wait_for("detached", LIMIT)?;

    tour.type_in(Ben, &["resume", "tour", "state=paused", "--yes"], 0)?;
    observer.wait_until("the resumed job", LIMIT, |event| is_about(event, "epoch", "gain=0.5 seed=0"))?;
    Ok((run, workers))
}

/// The second half: the file is edited, and the run that conducts the sweep dies before it follows.
fn edit(tour: &Tour, observer: &mut Run, conducting: Run) -> anyhow::Result<Run> {
    use Person::Ben;
    tour.save(Ben, "tour.yaml", AFTER)?;
    let planned = tour.type_in(Ben, &["plan", "tour.yaml"], 0)?;
    for line in ["~ epochs 8 instead of 6", "+ ensemble `Best two`", "left to do"] {
        assert!(planned.contains(line), "no {line}: {planned}");
    }
    signal(conducting.pid(), "STOP")?;
    let handed_over = tour.run(Ben, "tour.yaml", &["--yes"])?;
    observer.wait_until("the request", LIMIT, |event| {
        event["event"] == "asked" && event["demand"] == "follow the edited sweep file"
    })?;
    println!("\nAda's `ferry run` is killed");
    conducting.kill()?;
    Ok(handed_over)
}

#[tokio::test]
async fn a_sweep_is_steered_edited_and_finished() -> anyhow::Result<()> {
    use Person::{Ada, Ben, Observer};
    let tour = Tour::begin()?;
    for who in [Ada, Ben] {
        tour.save(who, "tour.yaml", BEFORE)?;
    }
    let mut conducting = tour.run(Ada, "tour.yaml", &[])?;
    conducting.wait_for("progress", LIMIT)?;
    let mut observer = tour.start(Observer, &["watch", "tour"])?;
    let (conducting, workers) = steer(&tour, &mut observer, conducting).await?;
    let mut run = edit(&tour, &mut observer, conducting)?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&5.into(), &0.into()), "{finished}");
    assert!(run.end(LIMIT)?.success());
    tour.type_in(Observer, &["status", "tour"], 0)?;
    assert_eq!(comparable(&tour.ben.path().join("runs/tour/results.json"))?, unedited(AFTER)?);
    observer.wait_until("the new ensemble", LIMIT, |event| {
        event["event"] == "ensemble_ready" && event["ensemble"] == "Best two"
    })?;
    nothing_was_trained_twice(observer.seen());

    // A sweep that its owner has left is ended, and taken out of the store.
    tour.save(Ben, "other.yaml", OTHER)?;
    let mut other = tour.run(Ben, "other.yaml", &[])?;
    other.wait_for("started", LIMIT)?;
    other.kill()?;
    tour.type_in(Ada, &["cancel", "other", "--yes"], 0)?;
    wait::until(LIMIT, "the end of the other sweep", || {
        tour.count("other", "cancelled").ok().filter(|&cancelled| cancelled == 3)
    })?;
    tour.type_in(Ada, &["remove", "other", "--yes"], 0)?;
    let refused = tour.type_in(Observer, &["status", "other"], 2)?;
    assert!(refused.contains("tour"), "it names the sweeps that there are: {refused}");
    drop(workers);
    Ok(())
}
