//! A sweep that is backed up while it runs can be finished elsewhere with the same results. A state directory may be
//! moved.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::processes::signal;
use tests::programs::{Workdir, expect, root};
use tests::results::comparable;
use tests::run::Run;
use tests::undisturbed;

const LIMIT: Duration = Duration::from_mins(6);

fn sweep() -> String {
    undisturbed::faults().display().to_string()
}

fn results(workdir: &Workdir) -> anyhow::Result<Value> {
    comparable(&workdir.path().join("runs/faults/results.json"))
}

/// The JSON in a file.
fn read(path: &Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

/// Runs the sweep to its end and returns the jobs that it started to train.
fn finish(workdir: &Workdir) -> anyhow::Result<Vec<(String, u64)>> {
    let mut run = Run::start(workdir.ferry(&["run", &sweep(), "--json"]))?;
    let mut started = Vec::new();
    run.wait_until("the end", LIMIT, |event| event["event"] == "finished")?;
    for event in run.seen() {
        if event["event"] == "started" {
            let job = event["job"].as_str().unwrap_or_default().to_owned();
            started.push((job, event["epoch"].as_u64().unwrap_or(0)));
        }
    }
    assert!(run.end(LIMIT)?.success());
    Ok(started)
}

#[test]
fn a_live_sweep_is_restored_elsewhere_and_ends_with_the_same_results() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = Run::start(workdir.ferry(&["run", &sweep(), "--json"]))?;
    let done = run.wait_for("done", LIMIT)?;
    let said = backup_with_a_checkpoint(&workdir, &mut run)?;
    assert_eq!(said["summary"]["jobs"], 6, "{said}");
    assert_eq!(said["summary"]["left_out"], 0, "{said}");
    let saved_done = said["summary"]["done"].as_u64().unwrap_or(0);
    assert!((1..6).contains(&saved_done), "{said}");
    let again = expect(&mut workdir.ferry(&["backup", "copy"]), 2)?;
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists already"));
    // The backup does not affect the running sweep.
    run.wait_for("finished", LIMIT)?;
    assert!(run.end(LIMIT)?.success());

    let elsewhere = Workdir::new()?;
    std::fs::rename(workdir.path().join("copy"), elsewhere.path().join("copy"))?;
    let manifest = read(&elsewhere.path().join("copy/manifest.json"))?;
    let states = states(&manifest);
    assert!(!states.iter().any(|(_, record)| record["state"]["state"] == "running"), "{states:#?}");
    expect(&mut elsewhere.ferry(&["restore", "copy", "--home", ".ferry"]), 0)?;
    let started = finish(&elsewhere)?;
    assert_eq!(started.len() as u64, 6 - saved_done, "finished jobs are not trained again: {started:?}");
    let first_done = done["job"].as_str().unwrap_or_default();
    assert!(started.iter().all(|(job, _)| job != first_done));
    // Jobs that were running continue from their checkpoints.
    for (job, record) in &states {
        let saved = record["checkpoints"].as_array().and_then(|all| all.last()?["epoch"].as_u64());
        if let (Some(saved), Some((_, epoch))) = (saved, started.iter().find(|(id, _)| id == job)) {
            assert_eq!(*epoch, saved, "job {job}");
        }
    }
    assert_eq!(results(&elsewhere)?, results(&workdir)?);
    Ok(())
}

/// Backs up the running sweep to `copy` when an unfinished job has a checkpoint in the books. The event of an epoch is not
/// enough, because it comes before the checkpoint is stored.
fn backup_with_a_checkpoint(workdir: &Workdir, run: &mut Run) -> anyhow::Result<Value> {
    let copy = workdir.path().join("copy");
    loop {
        run.wait_for("epoch", LIMIT)?;
        let said = expect(&mut workdir.ferry(&["backup", "copy", "--json"]), 0)?;
        let states = states(&read(&copy.join("manifest.json"))?);
        let waits = |record: &Value| record["state"]["state"] != "done" && record["checkpoints"] != json!([]);
        if states.iter().any(|(_, record)| waits(record)) {
            return Ok(serde_json::from_slice(&said.stdout)?);
        }
        std::fs::remove_dir_all(&copy)?;
    }
}

/// The job ids and records in a manifest.
fn states(manifest: &Value) -> Vec<(String, Value)> {
    let entries = manifest["entries"].as_array().cloned().unwrap_or_default();
    let record = |entry: &Value| {
        let job = entry["key"].as_str()?.strip_prefix("job.")?.to_owned();
        Some((job, entry["value"].clone()))
    };
    entries.iter().filter_map(record).collect()
}

#[test]
fn a_damaged_backup_is_refused_and_nothing_is_made_of_it() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let sweep = root().join("experiments/smoke.yaml").display().to_string();
    expect(&mut workdir.ferry(&["run", &sweep]), 0)?;
    expect(&mut workdir.ferry(&["backup", "copy"]), 0)?;
    let blob = std::fs::read_dir(workdir.path().join("copy/blobs"))?.flatten().next();
    let blob = blob.ok_or_else(|| anyhow::anyhow!("a backup has blobs"))?.path();
    let mut bytes = std::fs::read(&blob)?;
    bytes[0] ^= 1;
    std::fs::write(&blob, bytes)?;
    let refused = expect(&mut workdir.ferry(&["restore", "copy", "--home", "new"]), 1)?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("is damaged") && said.contains("nothing was restored"), "{said}");
    assert!(!workdir.path().join("new").exists() && !workdir.path().join("new.partial").exists());

    let sums = workdir.path().join("copy/SHA256SUMS");
    let text = std::fs::read_to_string(&sums)?;
    std::fs::write(&sums, text.replace("manifest.json", "../manifest.json"))?;
    let refused = expect(&mut workdir.ferry(&["restore", "copy", "--home", "new"]), 2)?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not a complete backup"));
    let occupied = expect(&mut workdir.ferry(&["restore", "copy", "--home", ".ferry"]), 2)?;
    assert!(String::from_utf8_lossy(&occupied.stderr).contains("exists already"));
    Ok(())
}

#[test]
fn a_state_directory_may_be_moved_and_copied() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = Run::start(workdir.ferry(&["run", &sweep(), "--json"]))?;
    run.wait_for("done", LIMIT)?;
    signal(run.pid(), "INT")?;
    run.wait_for("interrupted", LIMIT)?;
    assert_eq!(run.end(LIMIT)?.code(), Some(130));

    let copied = Workdir::new()?;
    let status = std::process::Command::new("cp")
        .args(["-r", "--"])
        .args([workdir.path().join(".ferry"), copied.path().join(".ferry")])
        .status()?;
    anyhow::ensure!(status.success(), "cp: {status}");
    let moved = Workdir::new()?;
    std::fs::rename(workdir.path().join(".ferry"), moved.path().join(".ferry"))?;
    for place in [&copied, &moved] {
        let started = finish(place)?;
        assert!((1..6).contains(&started.len()), "what was finished is not trained again: {started:?}");
    }
    assert_eq!(results(&copied)?, results(&moved)?);
    Ok(())
}
