//! Jobs that kill their worker: they fail for good with the cause, and the rest of the sweep finishes.

use std::time::Duration;

use serde_json::Value;
use tests::processes::{children, signal};
use tests::programs::{Workdir, expect};
use tests::run::Run;
use tests::{undisturbed, wait};

const LIMIT: Duration = Duration::from_mins(4);

/// Runs a sweep with one worker, which gets the signal `killed_by` whenever it trains the first job. Returns the event that
/// ends the job, and the one that ends the sweep.
fn one_deadly_job(workdir: &Workdir, killed_by: &str) -> anyhow::Result<[Value; 2]> {
    let sweep = undisturbed::faults().display().to_string();
    // A short lease, because a dead worker's message comes back only after it.
    let args = ["run", &sweep, "--workers", "1", "--lease", "3", "--json"];
    let mut run = Run::start(workdir.ferry(&args))?;
    let deadly = run.wait_for("started", LIMIT)?["job"].clone();
    loop {
        let worker = wait::until(LIMIT, "a worker", || children(run.pid(), "ferry-worker").first().copied())?;
        signal(worker, killed_by)?;
        let next = run.wait_until("the next start of that job, or its end", LIMIT, |event| {
            event["job"] == deadly
                && ["started", "taken_over", "given_up"].map(Value::from).contains(&event["event"])
        })?;
        if next["event"] == "given_up" {
            let finished = run.wait_for("finished", LIMIT)?;
            assert_eq!(run.end(LIMIT)?.code(), Some(1));
            return Ok([next, finished]);
        }
    }
}

/// Uses SIGILL as an example, because Rust's own handler ignores a SIGSEGV that no memory fault caused.
///
/// Case 23: this also holds with only one worker, and the worker's slot is not given up.
#[test]
fn a_job_that_crashes_its_worker_fails_with_the_signal_and_the_rest_is_done() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let [ended, finished] = one_deadly_job(&workdir, "ILL")?;
    let reason = ended["reason"].as_str().unwrap_or_default();
    let cause = "the worker died of SIGILL while training this job";
    let remedy = "this CPU lacks an instruction that this build of libtorch uses";
    assert_eq!(reason, format!("3 tries failed, on cpu0: {cause}; {remedy}"));
    let command = ended["reproduce"].as_str().unwrap_or_default();
    assert!(command.starts_with("ferry-worker reproduce "), "{ended}");
    assert!(
        ended["log"].as_array().is_some_and(|log| !log.is_empty()),
        "the end of the worker's log: {ended}"
    );
    assert_eq!((&finished["done"], &finished["failed"]), (&5.into(), &1.into()));
    let status = expect(&mut workdir.ferry(&["status"]), 0)?;
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains("1 failed") && status.contains("SIGILL"), "{status}");
    Ok(())
}

/// Case 23: SIGKILL may come from anybody, also from the kernel for lack of memory. So it takes more of them to end the job.
#[test]
fn a_job_whose_worker_is_killed_every_time_fails_in_the_end() -> anyhow::Result<()> {
    let workdir = Workdir::new()?;
    let [ended, finished] = one_deadly_job(&workdir, "KILL")?;
    let reason = ended["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("5 times in a row the worker died"), "{reason}");
    assert!(reason.contains("out of memory"), "{reason}");
    assert_eq!((&finished["done"], &finished["failed"]), (&5.into(), &1.into()));
    Ok(())
}
