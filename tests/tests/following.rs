//! Other processes follow a sweep: one from its beginning, through a kill of the coordinator and of the server, and one
//! that comes when all is over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tests::programs::Workdir;
use tests::run::Run;
use tests::server::Server;
use tests::worker::Worker;

const LIMIT: Duration = Duration::from_mins(3);

const EPOCHS: u64 = 12;

const SWEEP: &str = "name: followed\ntrainer: empty\ndefaults: {epochs: 12, epoch_ms: 400}\ngroups:\n  all: {matrix: {seed: [0, 1, 2, 3]}}\nensembles:\n  All: {members: [{where: {group: all}}]}\n";

fn start(workdir: &Workdir, server: &Server) -> anyhow::Result<Run> {
    std::fs::write(workdir.path().join("followed.yaml"), SWEEP)?;
    Run::start(workdir.ferry(&["run", "followed.yaml", "--nats", &server.url(), "--workers", "0", "--json"]))
}

fn watch(workdir: &Workdir, server: &Server) -> anyhow::Result<Run> {
    Run::start(workdir.ferry(&["watch", "--nats", &server.url(), "--json"]))
}

/// Each job's reports: epoch and metrics, in the order in which they were told.
fn reports(run: &Run) -> BTreeMap<String, Vec<(u64, Value)>> {
    let mut reports: BTreeMap<String, Vec<(u64, Value)>> = BTreeMap::new();
    for event in run.seen().iter().filter(|event| event["event"] == "epoch") {
        let job = event["job"].as_str().unwrap_or_default().to_owned();
        reports
            .entry(job)
            .or_default()
            .push((event["epoch"].as_u64().unwrap_or(0), event["metrics"].clone()));
    }
    reports
}

fn count(run: &Run, name: &str) -> usize {
    run.seen().iter().filter(|event| event["event"] == name).count()
}

#[test]
fn a_follower_misses_nothing_and_hears_nothing_twice() -> anyhow::Result<()> {
    let (mut server, workdir) = (Server::start()?, Workdir::new()?);
    let mut run = start(&workdir, &server)?;
    run.wait_for("progress", LIMIT)?;
    let mut early = watch(&workdir, &server)?;
    let _workers =
        [Worker::start(&workdir, &server.url(), "one")?, Worker::start(&workdir, &server.url(), "two")?];
    early.wait_for("epoch", LIMIT)?;
    run.kill()?;
    let told = count(&early, "epoch");
    early.wait_until("reports without a coordinator", LIMIT, |event| event["event"] == "epoch")?;
    assert!(count(&early, "epoch") > told);
    let mut run = start(&workdir, &server)?;
    run.wait_for("epoch", LIMIT)?;
    server.crash_and_restart()?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()), "{finished}");
    assert!(run.end(LIMIT)?.success());

    let mut late = watch(&workdir, &server)?;
    for follower in [&mut early, &mut late] {
        follower.wait_for("ensemble_ready", LIMIT)?;
        assert_eq!(count(follower, "done"), 4);
        for (job, told) in reports(follower) {
            let epochs: Vec<u64> = told.iter().map(|(epoch, _)| *epoch).collect();
            assert_eq!(epochs, (1..=EPOCHS).collect::<Vec<_>>(), "{job}");
        }
    }
    assert_eq!(reports(&early), reports(&late));
    assert_eq!(reports(&late).len(), 4);
    Ok(())
}
