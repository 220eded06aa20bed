//! A sweep of many short jobs, of which a worker has several at a time, survives the death of a worker and of the server.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::books::JobState;
use shared::protocol::subjects;
use tests::programs::Workdir;
use tests::run::Run;
use tests::server::Server;
use tests::worker::Worker;

const LIMIT: Duration = Duration::from_mins(3);

const JOBS: usize = 3000;

fn done(run: &mut Run, jobs: usize) -> anyhow::Result<()> {
    let enough = |event: &serde_json::Value| event["done"].as_u64().is_some_and(|done| done as usize >= jobs);
    run.wait_until("finished jobs", LIMIT, |event| event["event"] == "progress" && enough(event)).map(drop)
}

#[tokio::test]
async fn short_jobs_are_each_done_once_though_a_worker_and_the_server_die() -> anyhow::Result<()> {
    let (mut server, workdir, elsewhere) = (Server::start()?, Workdir::new()?, Workdir::new()?);
    let seeds: Vec<String> = (0..JOBS).map(|seed| seed.to_string()).collect();
    let sweep = format!(
        "name: short\ntrainer: empty\nmax_jobs: {JOBS}\ngroups:\n  all: {{matrix: {{seed: [{}]}}}}\n",
        seeds.join(", ")
    );
    std::fs::write(workdir.path().join("short.yaml"), sweep)?;
    let url = server.url();
    let arguments = [
        "run",
        "short.yaml",
        "--nats",
        &url,
        "--workers",
        "0",
        "--json",
        "--lease",
        "3",
        "--heartbeat",
        "0.5",
    ];
    let mut run = Run::start(workdir.ferry(&arguments))?;
    run.wait_for("progress", LIMIT)?;
    let first = Worker::start(&elsewhere, &server.url(), "first")?;
    let mut second = Worker::start(&workdir, &server.url(), "second")?;
    done(&mut run, JOBS / 10)?;
    first.signal("KILL")?;
    done(&mut run, JOBS / 4)?;
    server.crash_and_restart()?;
    let finished = run.wait_for("finished", LIMIT)?;
    assert_eq!((&finished["done"], &finished["failed"]), (&JOBS.into(), &0.into()), "{finished}");
    second.signal("TERM")?;
    assert!(second.end(LIMIT)?.success(), "{}", second.log());

    let bus = server.bus().await?;
    let mut by_worker: BTreeMap<String, usize> = BTreeMap::new();
    for key in bus.keys(subjects::RECORD_KEYS).await? {
        let job = subjects::job_of_record_key(&key).expect("it was asked for");
        let record = bus.record(job).await?.expect("it was listed").record;
        let JobState::Done { token, .. } = &record.state else { panic!("{job}: {record:#?}") };
        let result = bus.result(job).await?;
        assert_eq!((&result.worker, result.attempt), (&token.owner, token.attempt), "{record:#?}");
        assert!(record.failures.is_empty() && record.losses <= 1, "{record:#?}");
        *by_worker.entry(token.owner.name().to_owned()).or_default() += 1;
    }
    assert_eq!(by_worker.values().sum::<usize>(), JOBS);
    assert_eq!(by_worker.keys().collect::<Vec<_>>(), ["first", "second"]);
    Ok(())
}
