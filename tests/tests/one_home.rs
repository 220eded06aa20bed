//! Several runs in one state directory: the first one has the server and the workers, and the others use them.

use std::time::Duration;

use serde_json::Value;
use tests::processes::{children, signal};
use tests::programs::{Workdir, expect};
use tests::pseudo_terminal::PseudoTerminal;
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
    save(workdir, name, text)?;
    start_saved(workdir, name)
}

fn save(workdir: &Workdir, name: &str, text: &str) -> anyhow::Result<()> {
    Ok(std::fs::write(workdir.path().join(format!("{name}.yaml")), text)?)
}

fn start_saved(workdir: &Workdir, name: &str) -> anyhow::Result<Run> {
    Run::start(workdir.ferry(&["run", &format!("{name}.yaml"), "--json", "--yes", "--workers", "2"]))
}

/// A run that has the server and the workers, and another one that uses them.
fn host_and_guest(workdir: &Workdir, [first, second]: [&str; 2]) -> anyhow::Result<(Run, Run)> {
    let mut one = start(workdir, "first", first)?;
    one.wait_for("progress", LIMIT)?;
    let mut two = start(workdir, "second", second)?;
    remark(&mut two, "its server and its workers serve this sweep, too")?;
    Ok((one, two))
}

/// Waits until the sweep is done, and until the run has ended.
fn finish(mut run: Run, jobs: usize) -> anyhow::Result<()> {
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&jobs.into(), &0.into()), "{finished}");
    assert!(run.end(LIMIT)?.success());
    Ok(())
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
    remark(&mut two, "until then, --workers and --gpus have no effect")?;
    assert_eq!(children(two.pid(), "nats-server").len() + children(two.pid(), "ferry-worker").len(), 0);
    for (run, name, text, jobs) in [(two, "short", short, 1), (one, "long", long, 4)] {
        finish(run, jobs)?;
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
        let (mut one, mut two) = host_and_guest(&workdir, [&first, &second])?;
        if is_killed {
            one.kill()?;
        } else {
            assert_eq!(one.wait_for("finished", LIMIT)?["done"], 1);
            assert!(one.end(LIMIT)?.success());
        }
        remark(&mut two, "this one goes on with what it had")?;
        let finished = two.wait_for("finished", LIMIT)?;
        assert_eq!((&finished["done"], &finished["failed"]), (&3.into(), &0.into()), "{finished}");
        let followed = |event: &Value| {
            event["text"].as_str().is_some_and(|text| text.contains("conducts `second` already"))
        };
        assert!(!two.seen().iter().any(followed), "it followed itself: {:#?}", two.seen());
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
    let (mut two, mut three) = (start_saved(&workdir, "same")?, start_saved(&workdir, "same")?);
    remark(&mut two, "this one only watches")?;
    remark(&mut three, "this one only watches")?;
    signal(three.pid(), "INT")?;
    three.wait_for("detached", LIMIT)?;
    assert_eq!(three.end(LIMIT)?.code(), Some(130));
    for run in [one, two] {
        finish(run, 4)?;
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
    finish(two, 3)?;
    assert_eq!(results(&workdir, "same")?, alone("same", &text)?);
    Ok(())
}

/// One of them stores the results, and the others watch, though none finds the folder of another at its start.
#[test]
fn runs_of_one_sweep_that_start_at_the_same_time() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let text = sweep("same", "[0, 1, 2]", 1000);
    save(&workdir, "same", &text)?;
    let runs = [(); 3].map(|()| start_saved(&workdir, "same"));
    for run in runs {
        finish(run?, 3)?;
    }
    assert_eq!(results(&workdir, "same")?, alone("same", &text)?);
    Ok(())
}

/// The question stays, is asked once, and its answer counts.
#[test]
fn the_first_run_ends_while_the_second_one_asks() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let (first, edited) = (sweep("first", "[0]", 60_000), sweep("second", "[8, 9]", 20));
    finish(start(&workdir, "second", &sweep("second", "[7, 8]", 20))?, 2)?;
    let mut one = start(&workdir, "first", &first)?;
    one.wait_for("progress", LIMIT)?;
    save(&workdir, "second", &edited)?;
    let mut terminal =
        PseudoTerminal::start(&workdir, &workdir.ferry(&["run", "second.yaml", "--workers", "2"]))?;
    terminal.wait_for("[y/N]", LIMIT)?;
    signal(one.pid(), "INT")?;
    assert_eq!(one.end(LIMIT)?.code(), Some(130));
    terminal.wait_for("this one goes on with what it had", LIMIT)?;
    terminal.press("y\r")?;
    assert_eq!(terminal.left(LIMIT)?, 0);
    assert_eq!(results(&workdir, "second")?, alone("second", &edited)?);
    Ok(())
}

/// The second run does not make another state directory, in which it would train everything again.
#[test]
fn the_state_directory_is_moved_while_two_runs_use_it() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let (first, second) = (sweep("first", "[0]", 60_000), sweep("second", "[7]", 60_000));
    let (one, two) = host_and_guest(&workdir, [&first, &second])?;
    std::fs::rename(workdir.path().join(".ferry"), workdir.path().join("moved"))?;
    for run in [one, two] {
        assert_eq!(run.end(LIMIT)?.code(), Some(1));
    }
    assert!(!workdir.path().join(".ferry/lock").exists());
    Ok(())
}

/// A third run edits the sweep of the second one. When the first one ends, both go on in the folder that they had.
#[test]
fn an_edited_sweep_keeps_its_run_folder_when_it_begins_again() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let (first, before) = (sweep("first", "[0]", 60_000), sweep("second", "[7, 8]", 1000));
    let (one, mut two) = host_and_guest(&workdir, [&first, &before])?;
    two.wait_for("progress", LIMIT)?;
    let edited = sweep("second", "[7, 8, 9]", 1000);
    let mut three = start(&workdir, "second", &edited)?;
    remark(&mut three, "`second` follows the edited file: 1 job added")?;
    signal(one.pid(), "INT")?;
    assert_eq!(one.end(LIMIT)?.code(), Some(130));
    for run in [&mut two, &mut three] {
        remark(run, "this one goes on with what it had")?;
    }
    finish(two, 3)?;
    finish(three, 3)?;
    assert_eq!(results(&workdir, "second")?, alone("second", &edited)?);
    assert!(!workdir.path().join("runs/second-2").exists());
    Ok(())
}

/// The end of the run is no error of whoever watches it.
#[test]
fn the_status_is_watched_until_the_run_ends() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut one = start(&workdir, "first", &sweep("first", "[0]", 60_000))?;
    one.wait_for("progress", LIMIT)?;
    let mut status = Run::start(workdir.ferry(&["status", "--watch", "--json"]))?;
    status.wait_until("the status", LIMIT, |status| status["sweeps"][0]["name"] == "first")?;
    signal(one.pid(), "INT")?;
    assert_eq!(one.end(LIMIT)?.code(), Some(130));
    assert!(status.end(LIMIT)?.success());
    Ok(())
}
