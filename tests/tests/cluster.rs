//! Sweeps on protected servers, with workers that have only a program, an address and a credential.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use shared::bus::Role;
use tests::cluster::Cluster;
use tests::processes::{Owned, signal};
use tests::programs::{Workdir, expect, root};
use tests::results::comparable;
use tests::run::Run;
use tests::server::Server;
use tests::undisturbed;

const LIMIT: Duration = Duration::from_mins(4);

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// A worker as on another machine: its folder has only the credential.
fn join(cluster: &Cluster, workdir: &Workdir, name: &str) -> anyhow::Result<Owned> {
    std::fs::copy(cluster.credential(Role::Worker), workdir.path().join("worker.creds"))?;
    let mut command = workdir.worker(&["--nats", cluster.url(), "--creds", "worker.creds", "--name", name]);
    alone(&mut command, workdir);
    Ok(Owned(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
}

fn alone(command: &mut Command, workdir: &Workdir) {
    command.env("HOME", workdir.path()).env_remove("XDG_CACHE_HOME").env("FERRY_CUDA", "0");
}

fn run(cluster: &Cluster, workdir: &Workdir, sweep: &str, workers: &str) -> anyhow::Result<Run> {
    let (sweep, creds) = (path(&root().join(sweep)), path(&cluster.credential(Role::Coordinator)));
    Run::start(workdir.ferry(&[
        "run",
        &sweep,
        "--nats",
        cluster.url(),
        "--creds",
        &creds,
        "--workers",
        workers,
        "--json",
    ]))
}

#[test]
fn a_worker_with_address_and_credential_alone_joins_in_the_middle_and_is_in_the_report() -> anyhow::Result<()>
{
    let cluster = Cluster::start(1)?;
    let (workdir, near, far) = (Workdir::new()?, Workdir::new()?, Workdir::new()?);
    // Wait until the sweep has created its streams, because a worker may not create them.
    let first = join(&cluster, &near, "near")?;
    let mut run = run(&cluster, &workdir, "experiments/smoke.yaml", "0")?;
    run.wait_for("done", LIMIT)?;
    let creds = path(&cluster.credential(Role::Observer));
    let watch = ["watch", "smoke", "--nats", cluster.url(), "--creds", &creds, "--json"];
    let mut observer = Run::start(far.ferry(&watch))?;
    let far_away = join(&cluster, &far, "far-away")?;
    signal(first.0.id(), "TERM")?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()));
    assert!(run.end(LIMIT)?.success());
    drop((first, far_away));
    assert_eq!(
        std::fs::read_dir(far.path().join(".cache/ferry/packs"))?.count(),
        1,
        "the dataset was fetched"
    );

    let results = std::fs::read_to_string(workdir.path().join("runs/smoke/results.json"))?;
    let results: Value = serde_json::from_str(&results)?;
    let workers: Vec<&str> =
        results["jobs"].as_array().into_iter().flatten().filter_map(|job| job["worker"].as_str()).collect();
    let by = |name: &str| workers.iter().filter(|worker| worker.starts_with(name)).count();
    assert!(by("near") >= 1 && by("far-away") >= 1, "{workers:?}");

    while count(&observer, "done") < 4 {
        observer.wait_for("done", LIMIT)?;
    }
    let epochs = results["jobs"].as_array().into_iter().flatten().filter_map(|job| job["epochs"].as_u64());
    assert_eq!(count(&observer, "epoch") as u64, epochs.sum::<u64>(), "each report once, also those before");
    let status = ["status", "--nats", cluster.url(), "--creds", &creds, "--json"];
    let status: Value = serde_json::from_slice(&expect(&mut far.ferry(&status), 0)?.stdout)?;
    let jobs = status["sweeps"][0]["jobs"].as_array().cloned().unwrap_or_default();
    assert!(jobs.len() == 4 && jobs.iter().all(|job| job["state"] == "done"), "{status:#}");
    let job = jobs[0]["id"].as_str().unwrap_or_default();
    let why = ["why", "smoke", job, "--nats", cluster.url(), "--creds", &creds, "--json"];
    let why: Value = serde_json::from_slice(&expect(&mut far.ferry(&why), 0)?.stdout)?;
    assert_eq!((&why["state"], &why["untold"]), (&"done".into(), &0.into()), "{why:#}");
    Ok(())
}

fn count(run: &Run, name: &str) -> usize {
    run.seen().iter().filter(|event| event["event"] == name).count()
}

#[test]
fn every_wrong_way_in_ends_with_one_sentence() -> anyhow::Result<()> {
    let (cluster, other, plain) = (Cluster::start(1)?, Cluster::start_open()?, Server::start()?);
    let workdir = Workdir::new()?;
    let worker = path(&cluster.credential(Role::Worker));
    let observer = path(&cluster.credential(Role::Observer));
    let foreign = path(&other.credential(Role::Worker));
    // The right authority, but a key that this server does not know.
    let text = |file: &str| std::fs::read_to_string(file);
    let seed =
        |text: &str| text.lines().find(|line| line.starts_with("seed:")).unwrap_or_default().to_owned();
    let (ours, theirs) = (text(&worker)?, text(&foreign)?);
    let stranger = workdir.path().join("stranger.creds");
    std::fs::write(&stranger, ours.replace(&seed(&ours), &seed(&theirs)))?;
    let (stranger, none) = (path(&stranger), path(&workdir.path().join("none.creds")));
    let url = cluster.url().to_owned();
    let nats = url.replace("tls://", "nats://");
    let tls = plain.url().replace("nats://", "tls://");
    let elsewhere = other.url().replace("head.invalid", "127.0.0.2");
    let cases: [(&[&str], &str); 9] = [
        (&["--nats", &url, "--creds", &foreign], "is not signed by the authority"),
        (&["--nats", &url, "--creds", &stranger], "refused the credential"),
        (&["--nats", &url, "--creds", &observer], "is the observer's credential"),
        (&["--nats", &url, "--creds", &none], "cannot read the credential"),
        (&["--nats", &url, "--creds", "/etc/hostname"], "is not a credential"),
        (&["--nats", &url], "--creds"),
        (&["--nats", &nats], "--creds"),
        (&["--nats", &tls], "does not use TLS"),
        (&["--nats", &elsewhere, "--creds", &foreign], "other host names"),
    ];
    for (args, sentence) in cases {
        let ended = expect(&mut workdir.worker(args), 2)?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(said.lines().count() == 1 && said.contains(sentence), "{args:?}: {said}");
    }
    let sweep = path(&root().join("experiments/smoke.yaml"));
    let mut as_worker = workdir.ferry(&["run", &sweep, "--nats", &url, "--creds", &worker]);
    let said = String::from_utf8_lossy(&expect(&mut as_worker, 2)?.stderr).into_owned();
    assert!(said.lines().count() == 1 && said.contains("use the coordinator's"), "{said}");
    let nobody = ["status", "--nats", "tls://127.0.0.1:1", "--creds", &observer];
    let said = String::from_utf8_lossy(&expect(&mut workdir.ferry(&nobody), 1)?.stderr).into_owned();
    assert!(said.lines().count() == 1 && said.contains("cannot connect to tls://127.0.0.1:1"), "{said}");
    Ok(())
}

#[test]
fn nothing_is_made_over_something_and_no_server_runs_twice() -> anyhow::Result<()> {
    let cluster = Cluster::start(1)?;
    let workdir = Workdir::new()?;
    let folder = path(&cluster.folder().join("cluster"));
    let said = expect(&mut workdir.ferry(&["cluster", "init", &folder, "--host", "x"]), 2)?;
    assert!(String::from_utf8_lossy(&said.stderr).contains("exists already"));
    let said = expect(&mut workdir.ferry(&["cluster", "start", &format!("{folder}/server-1")]), 2)?;
    assert!(String::from_utf8_lossy(&said.stderr).contains("already"));
    Ok(())
}

#[test]
fn three_servers_lose_one_in_the_middle_of_a_sweep() -> anyhow::Result<()> {
    let undisturbed = undisturbed::results(&undisturbed::faults())?;
    let mut cluster = Cluster::start(3)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    drop(runtime.block_on(cluster.coordinator())?);
    let workdir = Workdir::new()?;
    let mut run = run(&cluster, &workdir, "tests/sweeps/faults.yaml", "1")?;
    run.wait_for("done", LIMIT)?;
    cluster.kill(0)?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!(finished["failed"], 0);
    assert!(run.end(LIMIT)?.success());
    assert_eq!(comparable(&workdir.path().join("runs/faults/results.json"))?, undisturbed);
    Ok(())
}
