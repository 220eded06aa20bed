//! The ensembles of a running sweep have scores, which anyone may see, and in the end those of the report.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use shared::bus::Role;
use tests::cluster::Cluster;
use tests::programs::{Workdir, expect};
use tests::run::Run;
use tests::server::Server;

const LIMIT: Duration = Duration::from_mins(3);

/// Six jobs of four seconds with predictions, and one without.
fn sweep(ensembles: &str) -> String {
    format!(
        "name: scored\ntrainer: empty\ndefaults: {{epochs: 4, epoch_ms: 1000, classes: 3, samples: 60}}\ngroups:\n  \
         all: {{matrix: {{seed: [0, 1, 2, 3, 4, 5]}}}}\n  bare: {{matrix: {{seed: [9], classes: [0]}}}}\n\
         ensembles:\n{ensembles}"
    )
}

const ALL: &str = "  All: {members: [{where: {group: all}}]}\n";
const BEST: &str = "  Best two: {members: [{where: {group: all}, top: 2}]}\n";
const BARE: &str = "  Bare: {members: [{where: {group: bare}}]}\n";

/// A run of the sweep in this folder.
fn run(workdir: &Workdir, text: &str, options: &[&str]) -> anyhow::Result<Run> {
    std::fs::write(workdir.path().join("scored.yaml"), text)?;
    Run::start(workdir.ferry(&[&["run", "scored.yaml", "--json", "--yes"][..], options].concat()))
}

/// Waits until the ensemble has a score, or another one, in this state.
fn scored(run: &mut Run, ensemble: &str, state: &str) -> anyhow::Result<Value> {
    run.wait_until(&format!("{ensemble} to be {state}"), LIMIT, |event| {
        event["event"] == "ensemble_scored" && event["ensemble"] == ensemble && event["state"] == state
    })
}

/// The ensembles in `ferry status`.
fn status(workdir: &Workdir, place: &[&str]) -> anyhow::Result<Vec<Value>> {
    let output = expect(&mut workdir.ferry(&[&["status", "scored", "--json"][..], place].concat()), 0)?;
    let status: Value = serde_json::from_slice(&output.stdout)?;
    status["sweeps"][0]["ensembles"].as_array().cloned().context("ensembles")
}

/// The ensembles of the report.
fn reported(workdir: &Workdir) -> anyhow::Result<Vec<Value>> {
    let results: Value =
        serde_json::from_slice(&std::fs::read(workdir.path().join("runs/scored/results.json"))?)?;
    results["ensembles"].as_array().cloned().context("ensembles")
}

fn named<'a>(ensembles: &'a [Value], name: &str) -> anyhow::Result<&'a Value> {
    ensembles
        .iter()
        .find(|ensemble| ensemble["name"] == name)
        .with_context(|| format!("{name} in {ensembles:?}"))
}

/// The scores are final, and to the last bit those of the report.
fn agree(shown: &[Value], reported: &[Value]) -> anyhow::Result<()> {
    for shown in shown {
        let name = shown["name"].as_str().context("a name")?;
        let reported = named(reported, name)?;
        assert_eq!(reported["state"], "final", "{reported}");
        assert_eq!((&shown["waiting"], &shown["failed"]), (&0.into(), &0.into()), "{shown}");
        if reported["val_macro_f1"].is_null() {
            assert_eq!(
                (&shown["state"], &shown["val_macro_f1"]),
                (&"unscored".into(), &Value::Null),
                "{shown}"
            );
        } else {
            assert_eq!(
                (&shown["state"], &shown["val_macro_f1"]),
                (&"final".into(), &reported["val_macro_f1"])
            );
            assert_eq!(shown["members"].as_u64(), reported["members"].as_array().map(|all| all.len() as u64));
        }
    }
    Ok(())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn scores_come_while_the_sweep_runs_and_an_observer_sees_them() -> anyhow::Result<()> {
    let (cluster, workdir, far) = (Cluster::start(1)?, Workdir::new()?, Workdir::new()?);
    let [coordinator, creds] =
        [Role::Coordinator, Role::Observer].map(|role| path(&cluster.credential(role)));
    let observing = ["--nats", cluster.url(), "--creds", &creds];
    let options = ["--nats", cluster.url(), "--creds", &coordinator, "--workers", "2"];
    let mut run = run(&workdir, &sweep(&[ALL, BEST, BARE].concat()), &options)?;
    run.wait_for("progress", LIMIT)?;
    let mut observer = Run::start(far.ferry(&[&["watch", "scored", "--json"][..], &observing].concat()))?;
    let so_far = scored(&mut observer, "All", "provisional")?;
    assert!(so_far["waiting"].as_u64() > Some(0) && so_far["members"].as_u64() < Some(6), "{so_far}");
    assert!(so_far["val_macro_f1"].is_f64(), "{so_far}");
    let shown = status(&far, &observing)?;
    let names: Vec<&str> = shown.iter().filter_map(|ensemble| ensemble["name"].as_str()).collect();
    assert_eq!(names, ["All", "Best two", "Bare"], "{shown:?}");
    assert_eq!(named(&shown, "All")?["candidates"], 6, "{shown:?}");

    let last = scored(&mut run, "All", "final")?;
    assert_eq!(run.wait_for("finished", LIMIT)?["done"], 7);
    assert!(run.end(LIMIT)?.success());
    let reported = reported(&workdir)?;
    assert_eq!(last["val_macro_f1"], named(&reported, "All")?["val_macro_f1"]);
    assert_eq!(scored(&mut observer, "All", "final")?["val_macro_f1"], last["val_macro_f1"]);
    let shown = status(&far, &observing)?;
    assert_eq!(named(&shown, "Bare")?["why"], "its jobs have no predictions", "{shown:?}");
    agree(&shown, &reported)?;
    let told = expect(&mut far.ferry(&[&["status"][..], &observing].concat()), 0)?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("  ensemble All: final F1 ") && told.contains(", with 6 members"), "{told}");
    Ok(())
}

/// The file is edited in another folder, and the run that conducts the sweep follows it.
#[test]
fn an_added_ensemble_is_scored_at_once_and_a_removed_one_is_gone() -> anyhow::Result<()> {
    let (server, workdir, another) = (Server::start()?, Workdir::new()?, Workdir::new()?);
    let url = server.url();
    let place = ["--nats", url.as_str()];
    let mut one = run(&workdir, &sweep(ALL), &[&place[..], &["--workers", "2"]].concat())?;
    scored(&mut one, "All", "provisional")?;
    let mut two = run(&another, &sweep(BEST), &[&place[..], &["--workers", "0"]].concat())?;
    for run in [&mut one, &mut two] {
        run.wait_until("a score of the added ensemble", LIMIT, |event| {
            event["event"] == "ensemble_scored" && event["ensemble"] == "Best two"
        })?;
    }
    let shown = status(&another, &place)?;
    assert!(shown.len() == 1 && shown[0]["name"] == "Best two", "{shown:?}");
    for mut run in [one, two] {
        assert_eq!(run.wait_for("finished", LIMIT)?["done"], 7);
        assert!(run.end(LIMIT)?.success());
    }
    for folder in [&workdir, &another] {
        agree(&status(folder, &place)?, &reported(folder)?)?;
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let kept = || {
        runtime.block_on(async { Ok::<_, anyhow::Error>(server.bus().await?.scoreboard("scored").await?) })
    };
    assert!(kept()?.is_some_and(|board| board.of("All").is_none() && board.of("Best two").is_some()));
    // Nothing is left to do, and the scores are there again.
    let mut again = run(&workdir, &sweep(BEST), &[&place[..], &["--workers", "1"]].concat())?;
    again.wait_for("finished", LIMIT)?;
    assert!(again.end(LIMIT)?.success());
    agree(&status(&workdir, &place)?, &reported(&workdir)?)?;
    expect(&mut another.ferry(&[&["remove", "scored", "--yes"][..], &place].concat()), 0)?;
    assert_eq!(kept()?, None);
    Ok(())
}
