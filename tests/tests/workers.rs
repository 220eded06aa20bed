//! Workers are listed, drained and let work again by a user: `ferry workers`.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use shared::books::{JobRecord, JobState};
use shared::bus::Bus;
use shared::ids::JobId;
use shared::protocol::subjects;
use tests::programs::{Workdir, expect, root};
use tests::results::comparable;
use tests::run::Run;
use tests::server::Server;
use tests::worker::Worker;
use tests::{undisturbed, wait};

const LIMIT: Duration = Duration::from_mins(4);

struct Stage {
    server: Server,
    workdir: Workdir,
    bus: Bus,
}

impl Stage {
    async fn new() -> anyhow::Result<Self> {
        let (server, workdir) = (Server::start()?, Workdir::new()?);
        let bus = server.bus().await?;
        std::fs::write(workdir.path().join("steered.yaml"), include_str!("../sweeps/steered.yaml"))?;
        Ok(Self { server, workdir, bus })
    }

    fn run(&self) -> anyhow::Result<Run> {
        let words = ["run", "steered.yaml", "--nats", &self.server.url(), "--workers", "0", "--json"];
        // Workers look for changes with every heartbeat.
        let mut command = self.workdir.ferry(&words);
        command.args(["--lease", "6", "--heartbeat", "1"]);
        Run::start(command)
    }

    fn workers(&self, words: &[&str]) -> anyhow::Result<Value> {
        let url = self.server.url();
        let words = [&["workers"], words, &["--nats", &url, "--json"]].concat();
        Ok(serde_json::from_slice(&expect(&mut self.workdir.ferry(&words), 0)?.stdout)?)
    }

    fn refusal(&self, words: &[&str]) -> anyhow::Result<String> {
        let url = self.server.url();
        let words = [&["workers"], words, &["--nats", &url]].concat();
        Ok(String::from_utf8_lossy(&expect(&mut self.workdir.ferry(&words), 2)?.stderr).into_owned())
    }

    /// The first job that is as `wanted`, and its record.
    async fn job(&self, wanted: impl Fn(JobId, &JobRecord) -> bool) -> anyhow::Result<(JobId, JobRecord)> {
        let mut records = self.bus.feed(&[subjects::RECORD_KEYS]);
        let reached = async {
            loop {
                let entry = records.record().await;
                if wanted(entry.job, &entry.record) {
                    return (entry.job, entry.record);
                }
            }
        };
        tokio::time::timeout(LIMIT, reached).await.context("no job is as wanted")
    }

    /// The job that `worker` trains, once it has finished so many epochs.
    async fn trained_by(&self, worker: &str, epochs: u32) -> anyhow::Result<JobId> {
        Ok(self.job(|_, record| is_trained_by(record, worker) && record.saved_epochs() >= epochs).await?.0)
    }

    async fn records(&self) -> anyhow::Result<Vec<JobRecord>> {
        let mut records = Vec::new();
        for key in self.bus.keys(subjects::RECORD_KEYS).await? {
            let job = subjects::job_of_record_key(&key).context("a job")?;
            records.push(self.bus.record(job).await?.context("a record")?.record);
        }
        Ok(records)
    }
}

fn is_trained_by(record: &JobRecord, worker: &str) -> bool {
    matches!(&record.state, JobState::Running { token, .. } if token.owner.name() == worker)
}

fn is_done_by(record: &JobRecord, worker: &str) -> bool {
    matches!(&record.state, JobState::Done { token, .. } if token.owner.name() == worker)
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let workers = list["workers"].as_array().into_iter().flatten();
    workers.into_iter().find(|worker| worker["name"] == name).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_drained_worker_finishes_its_job_and_takes_no_other_until_it_is_undrained() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let url = stage.server.url();
    let mut run = stage.run()?;
    run.wait_for("progress", LIMIT)?;
    let _one = Worker::start(&stage.workdir, &url, "one")?;
    let _two = Worker::start(&stage.workdir, &url, "two")?;
    let first = stage.trained_by("one", 1).await?;
    let handed_back = stage.trained_by("two", 2).await?;
    let said = stage.refusal(&["drain", "thre*"])?;
    assert!(said.contains("no worker here is called `thre*`: there are one, two"), "{said}");
    let said = stage.refusal(&["undrain", "one"])?;
    assert!(said.contains("`one` is not drained, and no other worker is"), "{said}");
    assert_eq!(stage.workers(&["drain", "on*"])?["drained"], serde_json::json!(["one"]));
    // Nobody needs to conduct the sweep for that.
    run.kill()?;
    assert_eq!(stage.workers(&["drain", "two", "--now"])?["now"], true);
    let (_, record) =
        stage.job(|job, record| job == handed_back && record.state == JobState::Pending).await?;
    assert!(record.saved_epochs() >= 2 && record.attempts == 1, "{record:?}");
    let mut run = stage.run()?;
    stage.job(|job, record| job == first && is_done_by(record, "one")).await?;
    run.wait_until("what the run waits for", LIMIT, |event| {
        event["event"] == "remark"
            && event["text"].as_str().is_some_and(|text| text.contains("every worker is drained (one by "))
    })?;
    let list = wait::until(LIMIT, "an idle worker in the list", || {
        stage.workers(&[]).ok().filter(|list| named(list, "one")["state"] == "idle")
    })?;
    assert_eq!(
        (&named(&list, "one")["drained"]["now"], &named(&list, "two")["drained"]["now"]),
        (&Value::Null, &true.into())
    );
    let records = stage.records().await?;
    assert_eq!(records.iter().filter(|record| record.state == JobState::Pending).count(), 2, "{records:?}");
    stage.workers(&["undrain", "one"])?;
    let (_, goes_on) = stage.job(|_, record| is_trained_by(record, "one")).await?;
    assert!(goes_on.failures.is_empty(), "{goes_on:?}");
    stage.workers(&["undrain", "*"])?;
    stage.trained_by("two", 0).await?;
    assert_eq!(run.wait_for("finished", LIMIT)?["failed"], 0);
    assert!(run.end(LIMIT)?.success());
    for record in stage.records().await? {
        let harmless = record.failures.is_empty() && record.losses == 0 && record.deferrals == 0;
        assert!(harmless && record.attempts <= 2, "{record:?}");
    }
    assert_eq!(stage.bus.standings().await?, [], "nothing counts against a drained worker");
    let results = comparable(&stage.workdir.path().join("runs/steered/results.json"))?;
    assert_eq!(results, undisturbed::results(&root().join("tests/sweeps/steered.yaml"))?);
    Ok(())
}

#[tokio::test]
async fn a_worker_may_be_drained_before_it_comes_and_one_that_was_not_trusted_is_again() -> anyhow::Result<()>
{
    let stage = Stage::new().await?;
    let mut run = stage.run()?;
    run.wait_for("progress", LIMIT)?;
    let said = stage.refusal(&["drain", "later"])?;
    assert!(said.contains("--absent"), "{said}");
    stage.workers(&["drain", "later", "--absent"])?;
    let worker = Worker::start(&stage.workdir, &stage.server.url(), "later")?;
    worker.wait_for("drained by", LIMIT)?;
    let bad = shared::books::Standing::Drained { incidents: Vec::new() };
    stage.bus.write_standing(&shared::books::WorkerRecord::new("bad", bad)).await?;
    run.wait_until("its standing", LIMIT, |event| event["event"] == "drained" && event["worker"] == "bad")?;
    let undrained = stage.workers(&["undrain", "bad", "later"])?;
    assert_eq!(undrained["undrained"][0], serde_json::json!({"name": "bad", "was_out": true}));
    run.wait_until("its standing", LIMIT, |event| event["event"] == "trusted" && event["worker"] == "bad")?;
    stage.trained_by("later", 0).await?;
    let list = wait::until(LIMIT, "its job in the list", || {
        stage.workers(&[]).ok().filter(|list| named(list, "later")["state"] == "training")
    })?;
    assert_eq!(named(&list, "later")["sweep"], "steered");
    Ok(())
}
