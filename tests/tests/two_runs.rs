//! Two runs of one sweep on one server: one conducts, the other follows and takes over.

use std::time::Duration;

use orchestrator::service::ask;
use serde_json::Value;
use shared::bus::Bus;
use shared::ids::RequestId;
use shared::protocol::{Answer, Demand, JobChange, Request};
use tests::processes::signal;
use tests::programs::{Workdir, root};
use tests::results::comparable;
use tests::run::Run;
use tests::server::Server;
use tests::undisturbed;
use tests::worker::Worker;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_mins(4);

fn sweep() -> std::path::PathBuf {
    root().join("tests/sweeps/steered.yaml")
}

fn start(workdir: &Workdir, server: &Server) -> anyhow::Result<Run> {
    let sweep = sweep().display().to_string();
    let url = server.url();
    Run::start(workdir.ferry(&["run", &sweep, "--nats", &url, "--workers", "0", "--json"]))
}

/// A run that conducts the sweep, and one that follows it.
fn start_both(server: &Server, first: &Workdir, second: &Workdir) -> anyhow::Result<(Run, Run)> {
    let mut one = start(first, server)?;
    one.wait_for("progress", LIMIT)?;
    let mut two = start(second, server)?;
    remark(&mut two, "another `ferry run` conducts `steered` already")?;
    Ok((one, two))
}

fn remark(run: &mut Run, text: &str) -> anyhow::Result<Value> {
    run.wait_until(text, LIMIT, |event| {
        event["event"] == "remark" && event["text"].as_str().is_some_and(|said| said.contains(text))
    })
}

/// Changes all jobs, and waits for the answer.
async fn change(bus: &Bus, workdir: &Workdir, change: JobChange) -> anyhow::Result<Option<Answer>> {
    let plan = orchestrator::sweep::load(&sweep(), workdir.path())?;
    let jobs = plan.jobs.iter().map(|job| job.id).collect();
    let request =
        Request::new(RequestId::new(Uuid::new_v4()), "steered", "a test", Demand::Jobs { jobs, change });
    Ok(ask(bus, &request, LIMIT).await?)
}

fn finish(workdir: &Workdir, mut run: Run) -> anyhow::Result<Value> {
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&3.into(), &0.into()), "{finished}");
    assert!(run.end(LIMIT)?.success());
    comparable(&workdir.path().join("runs/steered/results.json"))
}

const DONE: Option<Answer> = Some(Answer::Done { remarks: Vec::new() });

#[tokio::test]
async fn a_second_run_follows_the_first_and_takes_over_when_that_is_killed() -> anyhow::Result<()> {
    let (server, first, second) = (Server::start()?, Workdir::new()?, Workdir::new()?);
    let bus = server.bus().await?;
    let (mut one, mut two) = start_both(&server, &first, &second)?;
    assert_eq!(change(&bus, &first, JobChange::Pause).await?, DONE);
    for run in [&mut one, &mut two] {
        run.wait_until("three paused jobs", LIMIT, |event| event["paused"] == 3)?;
    }
    one.kill()?;
    remark(&mut two, "this one conducts it now")?;
    assert_eq!(change(&bus, &first, JobChange::Resume).await?, DONE);
    let _worker = Worker::start(&first, &server.url(), "only")?;
    assert_eq!(finish(&second, two)?, undisturbed::results(&sweep())?);
    Ok(())
}

/// With a state directory of its own, too.
#[tokio::test]
async fn a_second_run_in_the_same_run_folder_watches() -> anyhow::Result<()> {
    let (server, workdir) = (Server::start()?, Workdir::new()?);
    let mut one = start(&workdir, &server)?;
    one.wait_for("progress", LIMIT)?;
    let file = sweep().display().to_string();
    let words = ["run", &file, "--json", "--nats", &server.url(), "--workers", "0", "--home", "another"];
    let mut two = Run::start(workdir.ferry(&words))?;
    remark(&mut two, "this one only watches")?;
    two.kill()?;
    one.kill()
}

#[tokio::test]
async fn a_run_that_was_suspended_follows_the_one_that_took_over() -> anyhow::Result<()> {
    let (server, first, second) = (Server::start()?, Workdir::new()?, Workdir::new()?);
    let bus = server.bus().await?;
    let (mut one, mut two) = start_both(&server, &first, &second)?;
    signal(one.pid(), "STOP")?;
    remark(&mut two, "this one conducts it now")?;
    assert_eq!(change(&bus, &first, JobChange::Limit { epochs: Some(2) }).await?, DONE);
    signal(one.pid(), "CONT")?;
    remark(&mut one, "this one follows it")?;
    assert_eq!(change(&bus, &first, JobChange::Limit { epochs: None }).await?, DONE);
    let _worker = Worker::start(&first, &server.url(), "only")?;
    let expected = undisturbed::results(&sweep())?;
    assert_eq!(finish(&second, two)?, expected);
    assert_eq!(finish(&first, one)?, expected);
    Ok(())
}
