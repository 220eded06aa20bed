//! A sweep is changed while it runs, and the coordinator is killed between each request and its effect.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use orchestrator::service::to_add;
use orchestrator::sweep;
use orchestrator::sweep::plan::Plan;
use serde_json::Value;
use shared::books::{JobRecord, JobState};
use shared::bus::Bus;
use shared::ids::{JobId, RequestId};
use shared::protocol::{Answer, Demand, JobChange, Priority, Request, subjects};
use tests::processes::signal;
use tests::programs::{Workdir, root};
use tests::results::comparable;
use tests::run::Run;
use tests::server::Server;
use tests::worker::Worker;
use tests::{undisturbed, wait};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_mins(4);

/// Three jobs of 24 epochs, 12 s each.
const SWEEP: &str = include_str!("../sweeps/steered.yaml");

/// One server, one worker, and one coordinator after the other.
struct Bench {
    server: Server,
    bus: Bus,
    workdir: Workdir,
    _worker: Worker,
    plan: Plan,
}

impl Bench {
    async fn new() -> anyhow::Result<Self> {
        let (server, workdir) = (Server::start()?, Workdir::new()?);
        let bus = server.bus().await?;
        let plan = plan(&workdir, SWEEP)?;
        let worker = Worker::start(&workdir, &server.url(), "only")?;
        Ok(Self { server, bus, workdir, _worker: worker, plan })
    }

    /// `ferry run` of the sweep.
    fn start(&self) -> anyhow::Result<Run> {
        std::fs::write(self.workdir.path().join("steered.yaml"), SWEEP)?;
        let words = ["run", "steered.yaml", "--nats", &self.server.url(), "--workers", "0", "--json"];
        // Workers look for changes with every heartbeat.
        let mut command = self.workdir.ferry(&words);
        command.args(["--lease", "6", "--heartbeat", "1"]);
        Run::start(command)
    }

    /// Enters a request while the coordinator is suspended, kills it, and starts another one, which must answer.
    async fn ask(&self, run: Run, demand: Demand) -> anyhow::Result<(Run, Answer)> {
        signal(run.pid(), "STOP")?;
        let id = self.request(demand).await?;
        run.kill()?;
        assert_eq!(self.bus.requested(id).await?.request.answer, None, "nobody could answer yet");
        let run = self.start()?;
        let answer = self.answer(id).await?;
        Ok((run, answer))
    }

    async fn ask_for(&self, run: Run, job: JobId, change: JobChange) -> anyhow::Result<Run> {
        let (run, answer) = self.ask(run, Demand::Jobs { jobs: vec![job], change }).await?;
        assert_eq!(answer, Answer::Done { remarks: Vec::new() }, "{change:?}");
        Ok(run)
    }

    async fn request(&self, demand: Demand) -> anyhow::Result<RequestId> {
        let request = Request::new(RequestId::new(Uuid::new_v4()), "steered", "a test", demand);
        self.bus.request(&request).await?;
        Ok(request.id)
    }

    async fn answer(&self, id: RequestId) -> anyhow::Result<Answer> {
        let mut requests = self.bus.feed(&[subjects::REQUEST_KEYS]);
        let answered = async {
            loop {
                let entry = requests.request().await;
                if let Some(answer) = entry.request.answer.filter(|_| entry.request.id == id) {
                    return answer;
                }
            }
        };
        tokio::time::timeout(LIMIT, answered).await.context("no answer")
    }

    /// The record of a job once it is as `wanted`.
    async fn record(&self, job: JobId, wanted: impl Fn(&JobRecord) -> bool) -> anyhow::Result<JobRecord> {
        let mut records = self.bus.feed(&[subjects::RECORD_KEYS]);
        let mut last = None;
        let reached = async {
            loop {
                let entry = records.record().await;
                if entry.job == job {
                    if wanted(&entry.record) {
                        return entry.record;
                    }
                    last = Some(entry.record);
                }
            }
        };
        let reached = tokio::time::timeout(LIMIT, reached).await;
        reached.with_context(|| format!("job {job} is still {last:?}"))
    }

    /// A job that has finished at least `epochs` epochs and is being trained.
    async fn running(&self, epochs: u32) -> anyhow::Result<JobId> {
        let mut records = self.bus.feed(&[subjects::RECORD_KEYS]);
        let found = async {
            loop {
                let entry = records.record().await;
                if matches!(&entry.record.state, JobState::Running { progress, .. } if progress.epoch >= epochs)
                {
                    return entry.job;
                }
            }
        };
        tokio::time::timeout(LIMIT, found).await.context("no job runs")
    }

    /// Waits for the end of the sweep. Returns its results, which must be those of a sweep that nobody disturbed.
    fn finish(&self, mut run: Run) -> anyhow::Result<Value> {
        let _more = Worker::start(&self.workdir, &self.server.url(), "second")?;
        let finished = run.wait_for("finished", LIMIT)?;
        assert_eq!(finished["failed"], 0, "{finished}");
        assert!(run.end(LIMIT)?.success());
        comparable(&self.workdir.path().join("runs/steered/results.json"))
    }
}

fn plan(workdir: &Workdir, text: &str) -> anyhow::Result<Plan> {
    let path = workdir.path().join("plan.yaml");
    std::fs::write(&path, text)?;
    Ok(sweep::load(&path, Path::new("."))?)
}

/// The results of the sweep without any request.
fn undisturbed() -> anyhow::Result<Value> {
    undisturbed::results(&root().join("tests/sweeps/steered.yaml"))
}

fn is_waiting(record: &JobRecord) -> bool {
    record.state == JobState::Pending
}

#[tokio::test]
async fn a_pause_stops_a_training_and_a_resume_lets_it_go_on_from_there() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let run = bench.start()?;
    let job = bench.running(2).await?;
    let all: Vec<JobId> = bench.plan.jobs.iter().map(|job| job.id).collect();
    let (mut run, answer) =
        bench.ask(run, Demand::Jobs { jobs: all.clone(), change: JobChange::Pause }).await?;
    assert_eq!(answer, Answer::Done { remarks: Vec::new() });
    let paused = bench.record(job, is_waiting).await?;
    assert!(paused.saved_epochs() >= 2, "{paused:?}");
    run.wait_until("three paused jobs", LIMIT, |event| event["paused"] == 3)?;
    let (run, answer) = bench.ask(run, Demand::Jobs { jobs: all, change: JobChange::Resume }).await?;
    assert_eq!(answer, Answer::Done { remarks: Vec::new() });
    let goes_on = bench.record(job, |record| !is_waiting(record)).await?;
    assert!(goes_on.saved_epochs() >= paused.saved_epochs(), "{goes_on:?}");
    assert_eq!(bench.finish(run)?, undisturbed()?);
    Ok(())
}

#[tokio::test]
async fn a_job_that_ends_early_keeps_its_result_and_can_go_on() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let run = bench.start()?;
    let job = bench.running(1).await?;
    let mut run = bench.ask_for(run, job, JobChange::StopEarly).await?;
    let early = run.wait_until("its early end", LIMIT, |event| {
        event["event"] == "done" && event["job"] == job.to_string()
    })?;
    let epochs = early["stopped_after"].as_u64().context("it ended early")?;
    assert!((1..24).contains(&epochs), "{early}");
    let result = bench.bus.result(job).await?;
    assert_eq!(result.stopped_after.map(u64::from), Some(epochs));
    let run = bench.ask_for(run, job, JobChange::Limit { epochs: None }).await?;
    let is_over = |record: &JobRecord| matches!(record.state, JobState::Done { stopped_after: None, .. });
    let over = bench.record(job, is_over).await?;
    let notes = over.notes.join("; ");
    assert!(notes.contains(&format!("goes on after epoch {epochs} on request")), "{notes}");
    assert_eq!(bench.finish(run)?, undisturbed()?);
    Ok(())
}

#[tokio::test]
async fn a_job_is_trained_anew_from_its_first_epoch() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let mut run = bench.start()?;
    let done = run.wait_for("done", LIMIT)?;
    let job: JobId = done["job"].as_str().context("a job")?.parse()?;
    let first = bench.bus.result(job).await?;
    let folder = bench.workdir.path().join("runs/steered");
    let stored = folder.join("results").join(format!("{job}.json"));
    wait::until(LIMIT, "its result in the run folder", || stored.is_file().then_some(()))?;
    let run = bench.ask_for(run, job, JobChange::TrainAnew).await?;
    let anew = bench.record(job, |record| record.anew_after >= first.attempt.0).await?;
    assert!(anew.checkpoints.is_empty(), "{anew:?}");
    // And another one, while it is being trained.
    let other = bench.running(2).await?;
    let before = bench.bus.record(other).await?.context("a record")?.record.attempts;
    let run = bench.ask_for(run, other, JobChange::TrainAnew).await?;
    let anew = bench.record(other, |record| record.attempts > before).await?;
    assert!(anew.checkpoints.is_empty() && anew.anew_after == before, "{anew:?}");
    assert_eq!(bench.finish(run)?, undisturbed()?);
    let kept = folder.join("earlier").join(job.to_string());
    assert!(kept.is_dir(), "the result before is kept");
    Ok(())
}

#[tokio::test]
async fn a_job_that_is_put_first_is_trained_next() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let run = bench.start()?;
    bench.running(1).await?;
    let mut waiting = Vec::new();
    for job in bench.plan.jobs.iter().map(|job| job.id) {
        let record = bench.bus.record(job).await?.context("a record")?.record;
        waiting.extend(is_waiting(&record).then_some(job));
    }
    // Of those that wait, the one that the queue hands out last.
    let last = *waiting.last().context("one worker leaves two jobs waiting")?;
    let run = bench.ask_for(run, last, JobChange::First).await?;
    let next = bench.record(last, |record| !is_waiting(record)).await?;
    assert_eq!(next.attempts, 1);
    let others = waiting.iter().filter(|job| **job != last);
    for job in others {
        let record = bench.bus.record(*job).await?.context("a record")?.record;
        assert!(is_waiting(&record), "{job} came before the job that was put first: {record:?}");
    }
    assert_eq!(bench.finish(run)?, undisturbed()?);
    assert_eq!(bench.bus.priorities().await?.0.jobs, []);
    Ok(())
}

#[tokio::test]
async fn a_job_of_a_lower_priority_waits_for_the_others_until_that_is_taken_back() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let run = bench.start()?;
    let running = bench.running(1).await?;
    let waiting: Vec<JobId> =
        bench.plan.jobs.iter().map(|job| job.id).filter(|job| *job != running).collect();
    let [next, other] = waiting[..] else { anyhow::bail!("{waiting:?} wait") };
    let priority = |number| JobChange::Priority { priority: Priority::new(number).ok() };
    let run = bench.ask_for(run, next, priority(-5)).await?;
    bench.record(other, |record| !is_waiting(record)).await?;
    let record = bench.bus.record(next).await?.context("a record")?.record;
    assert!(is_waiting(&record), "{record:?}");
    let run = bench.ask_for(run, next, JobChange::Priority { priority: None }).await?;
    let order = bench.bus.order(next).await?;
    assert_eq!(order.execution.steering.priority, None);
    assert_eq!(bench.finish(run)?, undisturbed()?);
    assert_eq!(bench.bus.priorities().await?.0.jobs, []);
    Ok(())
}

/// One job and one ensemble more than the sweep has.
const MORE: &str = "\
name: steered
trainer: empty
defaults: {epochs: 24, epoch_ms: 500, classes: 3}
groups:
  all: {matrix: {seed: [0, 1, 2]}}
  more: {matrix: {seed: [7]}}
ensembles:
  More: {members: [{where: {group: more}}, {where: {group: all}}]}
";

#[tokio::test]
async fn jobs_and_an_ensemble_are_added_and_a_job_is_withdrawn() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let run = bench.start()?;
    let running = bench.running(1).await?;
    let withdrawn = bench.plan.jobs.iter().map(|job| job.id).find(|job| *job != running).context("others")?;
    let more = plan(&bench.workdir, MORE)?;
    let (run, answer) = bench.ask(run, to_add(&bench.bus, &more).await?).await?;
    let added = Answer::Done { remarks: vec!["1 job added".to_owned(), "1 ensemble added".to_owned()] };
    // The coordinator that takes over compares with the plan in the books.
    assert!(answer == added || answer == Answer::Done { remarks: Vec::new() }, "{answer}");
    let (run, _) = bench.ask(run, Demand::Withdraw { jobs: vec![withdrawn] }).await?;
    let results = bench.finish(run)?;
    let ids: Vec<&str> =
        results["jobs"].as_array().into_iter().flatten().filter_map(|job| job["id"].as_str()).collect();
    assert_eq!(ids.len(), 3, "{results:#}");
    assert!(!ids.contains(&withdrawn.to_string().as_str()), "{results:#}");
    let names: Vec<&Value> =
        results["ensembles"].as_array().into_iter().flatten().map(|e| &e["name"]).collect();
    assert_eq!(names, ["All", "More"]);
    assert_eq!(results["ensembles"][1]["members"].as_array().map(Vec::len), Some(3), "{results:#}");
    // A later run of the file keeps what was requested.
    assert_eq!(bench.finish(bench.start()?)?, results);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_met_is_answered_with_the_reason() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let mut run = bench.start()?;
    let done = run.wait_for("done", LIMIT)?;
    let job: JobId = done["job"].as_str().context("a job")?.parse()?;
    signal(run.pid(), "STOP")?;
    let unknown = JobId::new(Uuid::from_u128(1));
    let jobs = |job: JobId, change| Demand::Jobs { jobs: vec![job], change };
    let impossible = bench.request(jobs(job, JobChange::Pause)).await?;
    let strange = bench.request(jobs(unknown, JobChange::Pause)).await?;
    let open = bench.plan.jobs.iter().map(|job| job.id).find(|other| *other != job).context("others")?;
    let pause = bench.request(jobs(open, JobChange::Pause)).await?;
    let resume = bench.request(jobs(open, JobChange::Resume)).await?;
    let other = plan(&bench.workdir, &SWEEP.replace("name: steered", "name: other"))?;
    let foreign = bench.request(to_add(&bench.bus, &other).await?).await?;
    run.kill()?;
    let run = bench.start()?;
    let mut answers = Vec::new();
    for id in [impossible, strange, pause, foreign] {
        answers.push(bench.answer(id).await?.to_string());
    }
    let said = |number: usize, words: &str| {
        assert!(answers[number].contains(words), "{answers:#?}");
    };
    said(0, "it is done");
    said(1, "the sweep does not have it");
    said(2, &resume.to_string());
    said(3, "it is a plan of the sweep `other`");
    bench.answer(resume).await?;
    assert_eq!(bench.finish(run)?, undisturbed()?);
    Ok(())
}
