//! `ferry retry`: a finished job is trained again, during a run or between two runs, and its old result is kept.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tests::programs::{Workdir, expect, root};
use tests::results::comparable;
use tests::run::Run;

const LIMIT: Duration = Duration::from_mins(4);

fn start(workdir: &Workdir, sweep: &str) -> anyhow::Result<Run> {
    let sweep = root().join(sweep).display().to_string();
    Run::start(workdir.ferry(&["run", &sweep, "--workers", "1", "--json"]))
}

/// The only earlier result of a job in a run folder.
fn earlier(workdir: &Workdir, sweep: &str, job: &str) -> anyhow::Result<PathBuf> {
    let folder = workdir.path().join("runs").join(sweep).join("earlier").join(job);
    let kept: Vec<_> = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).collect();
    let [only] = &kept[..] else { anyhow::bail!("{}: {kept:?}", folder.display()) };
    Ok(only.clone())
}

/// Case 21: `ferry retry` between two runs. The same settings give the same result.
#[test]
fn a_finished_job_is_trained_again_by_the_next_run_and_its_result_is_kept() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = start(&workdir, "experiments/smoke.yaml")?;
    let job = run.wait_for("done", LIMIT)?["job"].as_str().context("a job")?.to_owned();
    run.wait_for("finished", LIMIT)?;
    assert!(run.end(LIMIT)?.success());
    let results = workdir.path().join("runs/smoke/results.json");
    let before = comparable(&results)?;
    let record = workdir.path().join(format!("runs/smoke/results/{job}.json"));
    let old: Value = serde_json::from_slice(&std::fs::read(&record)?)?;

    let refused = expect(&mut workdir.ferry(&["retry", &job]), 2)?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--yes") && record.is_file(), "{said}");
    expect(&mut workdir.ferry(&["retry", "ffffffffffff", "--yes"]), 2)?;
    let told = expect(&mut workdir.ferry(&["retry", &job[..13], "--yes"]), 0)?;
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.contains("train anew (1 job): done"), "{told}");
    let open = expect(&mut workdir.ferry(&["retry", &job, "--yes"]), 2)?;
    assert!(
        String::from_utf8_lossy(&open.stderr)
            .contains("nothing to train again in smoke: of the jobs you mean, 1 pending")
    );

    let mut again = start(&workdir, "experiments/smoke.yaml")?;
    let started = again.wait_for("started", LIMIT)?;
    assert_eq!((&started["job"], &started["epoch"]), (&job.as_str().into(), &0.into()));
    let finished = again.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&4.into(), &0.into()));
    let starts = again.seen().iter().filter(|event| event["event"] == "started").count();
    assert_eq!(starts, 1, "the others are not trained again");
    assert!(again.end(LIMIT)?.success());
    assert_eq!(comparable(&results)?, before);
    let kept: Value =
        serde_json::from_slice(&std::fs::read(earlier(&workdir, "smoke", &job)?.join("result.json"))?)?;
    assert_eq!(kept, old);
    let new: Value = serde_json::from_slice(&std::fs::read(&record)?)?;
    assert!(new["attempt"].as_u64() > old["attempt"].as_u64(), "{new}");
    Ok(())
}

/// Case 21: `ferry retry` during a run, which trains the job again.
#[test]
fn a_finished_job_is_trained_again_by_the_run_that_is_going_on() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let mut run = start(&workdir, "tests/sweeps/faults.yaml")?;
    let job = run.wait_for("done", LIMIT)?["job"].as_str().context("a job")?.to_owned();
    expect(&mut workdir.ferry(&["retry", &job, "--yes"]), 0)?;
    run.wait_until("its second training", LIMIT, |event| {
        event["event"] == "done" && event["job"] == job.as_str()
    })?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&6.into(), &0.into()));
    assert!(run.end(LIMIT)?.success());
    assert!(earlier(&workdir, "faults", &job)?.join("val.npy").is_file());
    Ok(())
}
