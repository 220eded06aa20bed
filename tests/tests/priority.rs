//! Jobs of a higher priority are trained first, and those below the normal one last, over all sweeps of a server.

use std::time::Duration;

use anyhow::Context;
use shared::ids::JobId;
use shared::protocol::subjects;
use tests::claims::taken;
use tests::programs::Workdir;
use tests::run::Run;
use tests::server::Server;
use tests::worker::Worker;

const LIMIT: Duration = Duration::from_mins(4);

/// A sweep of three short jobs with this priority in its file, and its run.
struct Sweep {
    jobs: Vec<JobId>,
    workdir: Workdir,
    run: Run,
}

impl Sweep {
    fn start(name: &str, seeds: &str, priority: &str, server: &Server) -> anyhow::Result<Self> {
        let workdir = Workdir::new()?;
        let path = workdir.path().join("sweep.yaml");
        let text = format!(
            "name: {name}\ntrainer: empty\n{priority}defaults: {{epochs: 2, epoch_ms: 300, classes: 3}}\n\
             groups:\n  all: {{matrix: {{seed: {seeds}}}}}\n"
        );
        std::fs::write(&path, text)?;
        let plan = orchestrator::sweep::load(&path, workdir.path())?;
        let words = ["run", "sweep.yaml", "--nats", &server.url(), "--workers", "0", "--json"];
        let run = Run::start(workdir.ferry(&words))?;
        Ok(Self { jobs: plan.jobs.iter().map(|job| job.id).collect(), workdir, run })
    }

    fn finish(mut self) -> anyhow::Result<()> {
        assert_eq!(self.run.wait_for("finished", LIMIT)?["done"], 3);
        assert!(self.run.end(LIMIT)?.success());
        drop(self.workdir);
        Ok(())
    }
}

#[tokio::test]
async fn the_sweep_of_the_higher_priority_gets_the_worker_first() -> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    let last = Sweep::start("last", "[7, 8, 9]", "priority: -10\n", &server)?;
    let usual = Sweep::start("usual", "[4, 5, 6]", "", &server)?;
    let high = Sweep::start("high", "[1, 2, 3]", "priority: 10\n", &server)?;
    let listed = async {
        // Both sides of the list, and the queue.
        while bus.priorities().await?.0.jobs.len() < 6 || bus.keys(subjects::RECORD_KEYS).await?.len() < 9 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, listed).await.context("the sweeps have not begun")??;
    let status =
        high.workdir.ferry(&["status", "high", "priority>0", "--json", "--nats", &server.url()]).output()?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    let shown = status["sweeps"][0]["jobs"].as_array().context("jobs")?;
    assert!(shown.len() == 3 && shown.iter().all(|job| job["priority"] == 10), "{status:#}");
    let order = tokio::spawn({
        let bus = bus.clone();
        async move { taken(&bus, LIMIT, |taken| taken.len() == 9).await }
    });
    let workdir = Workdir::new()?;
    let _worker = Worker::start(&workdir, &server.url(), "only")?;
    let order = order.await??;
    let sweeps = [&high, &usual, &last];
    for (sweep, jobs) in sweeps.iter().zip(order.chunks(3)) {
        assert!(jobs.iter().all(|job| sweep.jobs.contains(job)), "{order:?}");
    }
    for sweep in [high, usual, last] {
        sweep.finish()?;
    }
    assert_eq!(bus.priorities().await?.0.jobs, [], "nothing of a sweep that has ended is listed");
    Ok(())
}

/// While no run conducts the sweep, whoever asks changes the order.
#[tokio::test]
async fn a_priority_counts_while_no_run_conducts_the_sweep() -> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    let Sweep { jobs, workdir, mut run } = Sweep::start("alone", "[1, 2, 3]", "", &server)?;
    run.wait_for("progress", LIMIT)?;
    run.kill()?;
    for job in &jobs {
        bus.enqueue(*job).await?; // The run may not have got so far.
    }
    let ask = |words: &[&str]| -> anyhow::Result<()> {
        let url = server.url();
        let words = [&["priority", "alone"], words, &["--nats", &url]].concat();
        let output = workdir.ferry(&words).output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    ask(&["seed=1", "-7"])?;
    ask(&["seed=3", "7"])?;
    let listed: Vec<JobId> = bus.priorities().await?.0.jobs.iter().map(|entry| entry.job).collect();
    assert_eq!(listed, [jobs[2], jobs[0]]);
    let order = tokio::spawn({
        let bus = bus.clone();
        async move { taken(&bus, LIMIT, |taken| taken.len() == 3).await }
    });
    let _worker = Worker::start(&workdir, &server.url(), "only")?;
    assert_eq!(order.await??, [jobs[2], jobs[1], jobs[0]]);
    let mut run = Run::start(workdir.ferry(&[
        "run",
        "sweep.yaml",
        "--nats",
        &server.url(),
        "--workers",
        "0",
        "--json",
    ]))?;
    assert_eq!(run.wait_for("finished", LIMIT)?["done"], 3);
    assert!(run.end(LIMIT)?.success());
    Ok(())
}
