//! What a worker does when it is asked to stop, is suspended, or loses the server.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use shared::books::{Claim, JobRecord, JobState};
use shared::bus::{BookEntry, Bucket, Bus};
use shared::ids::{JobId, WorkerId};
use shared::protocol::{Presence, subjects};
use tests::programs::{Workdir, root};
use tests::run::Run;
use tests::server::Server;
use tests::worker::Worker;
use uuid::Uuid;

/// Generous: the machine may be busy.
const LIMIT: Duration = Duration::from_mins(4);
/// The lease of the test that lets it expire.
const LEASE: Duration = Duration::from_secs(3);

/// A sweep on its own server, without workers.
struct Stage {
    server: Server,
    bus: Bus,
    run: Run,
    /// The coordinator's working folder.
    workdir: Workdir,
}

impl Stage {
    async fn set(options: &[&str]) -> anyhow::Result<Self> {
        let server = Server::start()?;
        let workdir = Workdir::new()?;
        let sweep = root().join("tests/sweeps/endurance.yaml").display().to_string();
        let url = server.url();
        let always = ["run", &sweep, "--nats", &url, "--workers", "0", "--json"];
        let mut run = Run::start(workdir.ferry(&[&always[..], options].concat()))?;
        run.wait_for("progress", LIMIT)?;
        let bus = server.bus().await?;
        Ok(Self { server, bus, run, workdir })
    }

    /// Waits for a record that `wanted` accepts. On a timeout, the error shows all records.
    async fn record(&self, what: &str, wanted: impl Fn(&JobRecord) -> bool) -> anyhow::Result<BookEntry> {
        let mut newest = BTreeMap::new();
        let found = tokio::time::timeout(LIMIT, async {
            let mut records = self.bus.feed(&[subjects::RECORD_KEYS]);
            loop {
                let entry = records.record().await;
                if wanted(&entry.record) {
                    return entry;
                }
                newest.insert(entry.job, entry);
            }
        });
        found.await.with_context(|| format!("waited for {what}: {newest:#?}"))
    }

    /// Waits until the server's clock shows this time.
    async fn until(&self, nanos: i128) -> anyhow::Result<()> {
        // A presence that offers no trainer, so that no worker leaves a job to it.
        let presence = Presence::announced("clock", "here", Vec::new());
        while self.bus.appear(&presence).await? < nanos {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The record of a job, read over a new connection, because the old one may not have noticed that the server was away.
    async fn of(&self, job: JobId) -> anyhow::Result<JobRecord> {
        Ok(self.server.bus().await?.record(job).await?.context("the job has a record")?.record)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let finished = self.run.wait_for("finished", LIMIT)?;
        anyhow::ensure!(finished["done"] == 4 && finished["failed"] == 0, "{finished}");
        Ok(())
    }
}

fn is_running(record: &JobRecord) -> bool {
    matches!(record.state, JobState::Running { .. })
}

fn is_done_by(record: &JobRecord, name: &str) -> bool {
    matches!(&record.state, JobState::Done { token, .. } if token.owner.name() == name)
}

fn newest(record: &JobRecord) -> (u32, u32) {
    record.checkpoints.last().map_or((0, 0), shared::books::Checkpoint::place)
}

#[tokio::test]
async fn sigterm_hands_the_job_back_and_another_goes_on_from_that_step() -> anyhow::Result<()> {
    let mut stage = Stage::set(&[]).await?;
    let away = Workdir::new()?;
    let mut first = Worker::start(&away, &stage.server.url(), "first")?;
    let taken = stage.record("a step", |record| is_running(record) && newest(record).1 > 0).await?;
    first.signal("TERM")?;
    assert!(first.end(LIMIT)?.success(), "{}", first.log());
    assert!(first.log().contains("given back"), "{}", first.log());
    let left = stage.of(taken.job).await?;
    assert_eq!((&left.state, left.attempts, left.losses), (&JobState::Pending, 1, 0));
    assert!(newest(&left) >= newest(&taken.record) && newest(&left).1 > 0, "{left:#?}");
    assert!(Worker::spooled(&away, "claim.json").is_empty(), "the server has everything");

    let elsewhere = Workdir::new()?;
    let _second = Worker::start(&elsewhere, &stage.server.url(), "second")?;
    let job = taken.job;
    let went_on =
        stage.record("another step", |record| record.attempts == 2 && newest(record) > newest(&left));
    assert_eq!(went_on.await?.job, job);
    stage.finish()?;
    let done = stage.of(job).await?;
    assert!(is_done_by(&done, "second") && done.notes.is_empty() && done.attempts == 2, "{done:#?}");
    Ok(())
}

#[tokio::test]
async fn a_zombie_changes_nothing_says_why_and_takes_new_work() -> anyhow::Result<()> {
    let mut stage = Stage::set(&["--lease", &LEASE.as_secs().to_string(), "--heartbeat", "0.5"]).await?;
    let away = Workdir::new()?;
    let zombie = Worker::start(&away, &stage.server.url(), "zombie")?;
    let taken = stage.record("a step", |record| is_running(record) && newest(record).1 > 0).await?;
    zombie.signal("STOP")?;

    let elsewhere = Workdir::new()?;
    let mut other = Worker::start(&elsewhere, &stage.server.url(), "other")?;
    let job = taken.job;
    stage.record("the other's result", |record| is_done_by(record, "other") && record.attempts == 2).await?;
    let before = stage.bus.record(job).await?.context("the job has a record")?;
    assert!(is_done_by(&before.record, "other"), "{before:#?}");
    other.signal("TERM")?; // Otherwise no work is left for the zombie.
    assert!(other.end(LIMIT)?.success());
    stage.until(taken.written_nanos + 3 * LEASE.as_nanos() as i128).await?;
    zombie.signal("CONT")?;
    zombie.wait_for("no longer holds this job: it is done by other", LIMIT)?;
    stage.record("new work of the zombie", |record| is_done_by(record, "zombie")).await?;
    stage.finish()?;
    let after = stage.bus.record(job).await?.context("the job has a record")?;
    assert_eq!((after.revision, after.record), (before.revision, before.record));
    Ok(())
}

#[tokio::test]
async fn a_server_away_for_longer_than_the_training_gets_the_result_when_it_is_back() -> anyhow::Result<()> {
    let mut stage = Stage::set(&[]).await?;
    let away = Workdir::new()?;
    let worker = Worker::start(&away, &stage.server.url(), "patient")?;
    let taken = stage.record("a step", |record| is_running(record) && newest(record).1 > 0).await?;
    stage.server.crash()?;
    tests::wait::until(LIMIT, "the result in the spool", || Worker::spooled(&away, "result.json").pop())?;
    stage.server.restart()?;
    stage.finish()?;
    let done = stage.of(taken.job).await?;
    assert!(is_done_by(&done, "patient") && done.attempts == 1, "trained more than once: {done:#?}");
    assert!(Worker::spooled(&away, "claim.json").is_empty(), "{}", worker.log());
    Ok(())
}

#[tokio::test]
async fn the_spool_of_a_killed_worker_is_handed_in_by_the_next() -> anyhow::Result<()> {
    let mut stage = Stage::set(&[]).await?;
    let away = Workdir::new()?;
    let mut first = Worker::start(&away, &stage.server.url(), "first")?;
    let taken = stage.record("a step", |record| is_running(record) && newest(record).1 > 0).await?;
    stage.server.crash()?;
    tests::wait::until(LIMIT, "the result in the spool", || Worker::spooled(&away, "result.json").pop())?;
    first.signal("KILL")?;
    first.end(LIMIT)?;
    stage.server.restart()?;

    let second = Worker::start(&away, &stage.server.url(), "second")?;
    second.wait_for("handing in a result that first", LIMIT)?;
    stage.finish()?;
    let done = stage.of(taken.job).await?;
    assert!(is_done_by(&done, "first") && done.attempts == 1, "trained more than once: {done:#?}");
    assert!(Worker::spooled(&away, "claim.json").is_empty(), "{}", second.log());
    Ok(())
}

/// The checkpoint matches its digest, so only the training can refuse it.
#[tokio::test]
async fn a_checkpoint_that_the_training_refuses_is_passed_over_and_noted() -> anyhow::Result<()> {
    let mut stage = Stage::set(&[]).await?;
    let away = Workdir::new()?;
    let mut first = Worker::start(&away, &stage.server.url(), "first")?;
    let taken = stage.record("two checkpoints", |record| record.checkpoints.len() == 2).await?;
    first.signal("INT")?;
    assert!(first.end(LIMIT)?.success());

    let entry = stage.bus.record(taken.job).await?.context("the job has a record")?;
    let saboteur = WorkerId::new("saboteur", Uuid::new_v4());
    let claim = entry.record.claim(&saboteur, Duration::ZERO, Duration::from_secs(15));
    let Claim::Take { token, record } = claim else { anyhow::bail!("not taken: {claim:?}") };
    let blob = stage.bus.put_blob(Bucket::Checkpoints, "torn", b"torn".to_vec().into()).await?;
    let (good, _) = newest(&record);
    let torn = shared::books::Checkpoint { epoch: good + 1, step: 1, blob, origin: None };
    let record = record.checkpointed(&token, torn, shared::books::Progress::default())?;
    let record = record.released(&token, shared::books::Release::Stopping)?;
    stage.bus.swap(taken.job, entry.revision, &record).await?;

    let _second = Worker::start(&away, &stage.server.url(), "second")?;
    stage.finish()?;
    let done = stage.of(taken.job).await?;
    assert!(is_done_by(&done, "second") && done.failures.is_empty(), "{done:#?}");
    let [note] = &done.notes[..] else { anyhow::bail!("{done:#?}") };
    assert!(note.contains("cannot be used") && note.contains("resumed from epoch"), "{note}");
    drop(stage.workdir);
    Ok(())
}
