//! Several runs in one state directory: the first one has the server and the workers, and the others use them.

use std::time::Duration;

use serde_json::Value;
use tests::processes::{children, signal};
use tests::programs::{Workdir, expect};
use tests::results::comparable;
use tests::run::Run;

const LIMIT: Duration = Duration::from_mins(3);

fn sweep(name: &str, seeds: &str, epoch_ms: u32) -> String {
    format!(
        "name: {name}\ntrainer: empty\ndefaults: {{epochs: 4, epoch_ms: {epoch_ms}, classes: 3}}\ngroups:\n  \
         all: {{matrix: {{seed: {seeds}}}}}\nensembles: {{All: {{members: [{{where: {{group: all}}}}]}}}}\n"
    )
}

/// Starts a run of a sweep in the folder, with two workers if it is the first.
fn start(workdir: &Workdir, name: &str, text: &str) -> anyhow::Result<Run> {
    let file = format!("{name}.yaml");
    std::fs::write(workdir.path().join(&file), text)?;
    Run::start(workdir.ferry(&["run", &file, "--json", "--workers", "2"]))
}

fn remark(run: &mut Run, words: &str) -> anyhow::Result<Value> {
    run.wait_until(words, LIMIT, |event| event["text"].as_str().is_some_and(|text| text.contains(words)))
}

fn results(workdir: &Workdir, name: &str) -> anyhow::Result<Value> {
    comparable(&workdir.path().join("runs").join(name).join("results.json"))
}

/// What the sweep gives alone.
fn alone(name: &str, text: &str) -> anyhow::Result<Value> {
    let workdir = Workdir::new()?;
    std::fs::write(workdir.path().join("alone.yaml"), text)?;
    expect(&mut workdir.ferry(&["run", "alone.yaml"]), 0)?;
    results(&workdir, name)
}

/// The second run ends first, and has started no server and no worker.
#[test]
fn two_sweeps_share_the_server_and_its_workers() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let (long, short) = (sweep("long", "[0, 1, 2, 3]", 1500), sweep("short", "[7]", 20));
    let mut one = start(&workdir, "long", &long)?;
    one.wait_for("progress", LIMIT)?;
    let mut two = start(&workdir, "short", &short)?;
    remark(&mut two, "its server and its workers serve this sweep, too")?;
    assert_eq!(children(two.pid(), "nats-server").len() + children(two.pid(), "ferry-worker").len(), 0);
    for (mut run, name, text, jobs) in [(two, "short", short, 1), (one, "long", long, 4)] {
        let finished = run.wait_for("finished", LIMIT)?;
        assert_eq!((&finished["done"], &finished["failed"]), (&jobs.into(), &0.into()), "{finished}");
        assert!(run.end(LIMIT)?.success());
        assert_eq!(results(&workdir, name)?, alone(name, &text)?);
    }
    Ok(())
}

/// The first run ends, or is killed, while the second one has work left: that one starts a server and workers itself.
#[test]
fn the_second_run_goes_on_when_the_first_is_gone() -> anyhow::Result<()> {
    for is_killed in [false, true] {
        let workdir = Workdir::new()?;
        let (first, second) = (sweep("first", "[0]", 300), sweep("second", "[7, 8, 9]", 1000));
        let mut one = start(&workdir, "first", &first)?;
        one.wait_for("progress", LIMIT)?;
        let mut two = start(&workdir, "second", &second)?;
        remark(&mut two, "its server and its workers serve this sweep, too")?;
        if is_killed {
            one.kill()?;
        } else {
            assert_eq!(one.wait_for("finished", LIMIT)?["done"], 1);
            assert!(one.end(LIMIT)?.success());
        }
        remark(&mut two, "this one goes on with what it had")?;
        let finished = two.wait_for("finished", LIMIT)?;
        assert_eq!((&finished["done"], &finished["failed"]), (&3.into(), &0.into()), "{finished}");
        assert!(two.end(LIMIT)?.success());
        assert_eq!(results(&workdir, "second")?, alone("second", &second)?);
    }
    Ok(())
}

/// A second run of the same sweep in the same folder watches; stopping it stops nothing else.
#[test]
fn the_same_sweep_again_is_watched() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let text = sweep("same", "[0, 1, 2, 3]", 2000);
    let mut one = start(&workdir, "same", &text)?;
    one.wait_for("progress", LIMIT)?;
    let (mut two, mut three) = (start(&workdir, "same", &text)?, start(&workdir, "same", &text)?);
    remark(&mut two, "this one only watches")?;
    remark(&mut three, "this one only watches")?;
    signal(three.pid(), "INT")?;
    three.wait_for("detached", LIMIT)?;
    assert_eq!(three.end(LIMIT)?.code(), Some(130));
    for mut run in [one, two] {
        let finished = run.wait_for("finished", LIMIT)?;
        assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()), "{finished}");
        assert!(run.end(LIMIT)?.success());
    }
    assert_eq!(results(&workdir, "same")?, alone("same", &text)?);
    Ok(())
}

/// The run that did everything is killed: one that watched takes its place, with everything.
#[test]
fn a_run_that_watched_takes_over() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let text = sweep("same", "[0, 1, 2]", 1000);
    let mut one = start(&workdir, "same", &text)?;
    one.wait_for("epoch", LIMIT)?;
    let mut two = start(&workdir, "same", &text)?;
    remark(&mut two, "this one only watches")?;
    one.kill()?;
    remark(&mut two, "this one goes on with what it had")?;
    let finished = two.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&3.into(), &0.into()), "{finished}");
    assert!(two.end(LIMIT)?.success());
    assert_eq!(results(&workdir, "same")?, alone("same", &text)?);
    Ok(())
}
