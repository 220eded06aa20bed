//! The books and the queue on a real nats-server: one winner per claim, all or nothing, nothing lost in a crash.

use std::time::Duration;

use shared::books::{Claim, JobRecord, JobState, Token};
use shared::bus::{Bucket, Bus, BusError, Queued};
use shared::ids::{Attempt, JobId, WorkerId};
use shared::job::{JobSpec, TRAINER_REVISION};
use shared::metrics::Confusion;
use shared::protocol::JobOrder;
use shared::result::{BlobRef, DeviceRecord, EpochReport, JobResult, LossTerms, Score, SplitResult};
use tests::server::Server;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(15);

fn order(n: u128) -> JobOrder {
    JobOrder {
        v: JobOrder::VERSION,
        job: JobId::new(Uuid::from_u128(n)),
        spec: JobSpec::default(),
        dataset_digest: "d".into(),
        trainer_revision: TRAINER_REVISION,
    }
}

fn take(record: &JobRecord, name: &str) -> (Token, JobRecord) {
    match record.claim(&WorkerId::new(name, Uuid::new_v4()), LEASE, LEASE) {
        Claim::Take { token, record } => (token, record),
        other => panic!("{other:?}"),
    }
}

fn result(job: JobId, token: &Token) -> JobResult {
    let blob = BlobRef { name: "b".into(), sha256: "s".into(), size: 1 };
    let score = Score::from(Confusion::default());
    let split = SplitResult { probabilities: blob.clone(), samples_digest: "x".into(), score: Some(score) };
    JobResult {
        v: JobResult::VERSION,
        job,
        dataset_digest: "d".into(),
        trainer_revision: TRAINER_REVISION,
        epochs: vec![EpochReport {
            epoch: 1,
            learning_rate: 0.1,
            losses: LossTerms::default(),
            validation: score,
            seconds: 1.0,
        }],
        best_epoch: 1,
        validation: split,
        test: None,
        model: blob,
        train_seconds: 1.0,
        device: DeviceRecord {
            device: "cpu".into(),
            model: "m".into(),
            cpu_capability: "c".into(),
            threads: 1,
            host: "h".into(),
        },
        worker: token.owner.clone(),
        attempt: token.attempt,
    }
}

async fn claimed(bus: &Bus, n: u128) -> anyhow::Result<(JobId, Token, JobRecord, u64)> {
    let order = order(n);
    bus.admit(std::slice::from_ref(&order)).await?;
    let entry = bus.record(order.job).await?.expect("admitted");
    let (token, record) = take(&entry.record, "w");
    let revision = bus.swap(order.job, entry.revision, &record).await?;
    Ok((order.job, token, record, revision))
}

#[tokio::test]
async fn one_of_many_claimers_wins_and_admitting_again_changes_nothing() -> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    let order = order(1);
    bus.admit(std::slice::from_ref(&order)).await?;
    let entry = bus.record(order.job).await?.expect("admitted");
    let claims = (0..8).map(|n| {
        let (bus, job, entry) = (bus.clone(), order.job, entry.clone());
        tokio::spawn(async move {
            let (_, record) = take(&entry.record, &format!("w{n}"));
            bus.swap(job, entry.revision, &record).await
        })
    });
    let outcomes = futures::future::try_join_all(claims).await?;
    let winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let conflicts = outcomes.iter().filter(|o| matches!(o, Err(BusError::Conflict { .. }))).count();
    assert_eq!((winners, conflicts), (1, 7));
    bus.admit(std::slice::from_ref(&order)).await?;
    let entry = bus.record(order.job).await?.expect("still there");
    assert_eq!(entry.record.attempts, 1);
    assert_eq!(bus.order(order.job).await?, order);
    Ok(())
}

#[tokio::test]
async fn a_stale_holder_can_neither_move_nor_commit() -> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    let (job, zombie, record, revision) = claimed(&bus, 2).await?;
    let (owner, next) = take(&record, "other");
    let newer = bus.swap(job, revision, &next).await?;
    let stale = bus.commit(revision, &record.done(&zombie)?, &result(job, &zombie)).await;
    assert!(matches!(stale, Err(BusError::Conflict { .. })), "{stale:?}");
    assert!(
        matches!(bus.result(job).await, Err(BusError::Missing { .. })),
        "nothing of the batch was written"
    );
    bus.commit(newer, &next.done(&owner)?, &result(job, &owner)).await?;
    assert_eq!(bus.result(job).await?.attempt, Attempt(2));
    assert!(matches!(bus.record(job).await?.expect("there").record.state, JobState::Done { .. }));
    Ok(())
}

#[tokio::test]
async fn what_was_confirmed_outlives_a_crash_of_the_server() -> anyhow::Result<()> {
    let mut server = Server::start()?;
    let bus = server.bus().await?;
    let (job, token, record, revision) = claimed(&bus, 3).await?;
    let blob = bus.put_blob(Bucket::Checkpoints, "c", vec![7; 3 << 20].into()).await?;
    let mut revision = revision;
    let mut record = record;
    for _ in 0..3 {
        server.crash_and_restart()?;
        record = record.beat(&token)?;
        revision = bus.swap(job, revision, &record).await?;
    }
    assert_eq!(bus.get_blob(Bucket::Checkpoints, &blob).await?, vec![7; 3 << 20]);
    server.crash_and_restart()?;
    bus.commit(revision, &record.done(&token)?, &result(job, &token)).await?;
    server.crash_and_restart()?;
    let found = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if let Ok(result) = bus.result(job).await {
                return result;
            }
        }
    });
    assert_eq!(found.await?, result(job, &token));
    Ok(())
}

#[tokio::test]
async fn a_job_is_queued_once_and_handed_out_once() -> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    let job = order(4).job;
    assert_eq!(bus.enqueue(job).await?, Queued::Now);
    assert_eq!(bus.enqueue(job).await?, Queued::Already);
    let mut jobs = bus.jobs().await?;
    let delivery = tokio::time::timeout(Duration::from_secs(10), jobs.next()).await?.expect("a job");
    assert_eq!(delivery.job, job);
    assert_eq!(bus.enqueue(job).await?, Queued::Already, "in flight counts as queued");
    delivery.hand_back(Duration::ZERO).await;
    let again = tokio::time::timeout(Duration::from_secs(10), jobs.next()).await?.expect("handed out again");
    again.finish().await;
    assert_eq!(bus.enqueue(job).await?, Queued::Now);
    bus.clear_queue().await?;
    assert_eq!(bus.enqueue(job).await?, Queued::Now);
    Ok(())
}

#[tokio::test]
async fn blobs_are_whole_or_refused() -> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    for size in [0usize, 1, 512 * 1024, 9 << 20] {
        let bytes: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        let blob = bus.put_blob(Bucket::Results, "b", bytes.clone().into()).await?;
        assert_eq!(bus.put_blob(Bucket::Results, "b", bytes.clone().into()).await?, blob);
        assert!(bus.get_blob(Bucket::Results, &blob).await? == bytes, "{size} bytes");
        let lie = BlobRef { sha256: "0".repeat(64), ..blob.clone() };
        assert!(matches!(bus.get_blob(Bucket::Results, &lie).await, Err(BusError::Damaged { .. })));
        bus.delete_blob(Bucket::Results, &blob.name).await?;
        bus.delete_blob(Bucket::Results, &blob.name).await?;
        assert!(matches!(bus.get_blob(Bucket::Results, &blob).await, Err(BusError::Missing { .. })));
    }
    Ok(())
}

#[tokio::test]
async fn a_watch_shows_what_is_and_what_comes() -> anyhow::Result<()> {
    let server = Server::start()?;
    let bus = server.bus().await?;
    let (job, token, record, revision) = claimed(&bus, 5).await?;
    let mut watch = bus.watch().await?;
    let limit = Duration::from_secs(10);
    let first = tokio::time::timeout(limit, watch.next()).await?.expect("the record");
    assert_eq!((first.job, first.revision, first.record), (job, revision, record.clone()));
    let beat = record.beat(&token)?;
    bus.swap(job, revision, &beat).await?;
    let second = tokio::time::timeout(limit, watch.next()).await?.expect("the change");
    assert_eq!(second.record, beat);
    Ok(())
}
