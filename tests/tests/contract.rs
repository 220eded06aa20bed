//! What Ferry relies on, checked on a real nats-server and on the one in memory: a claim has one winner, batches are
//! atomic, a crash loses nothing, and an acknowledgement counts no matter who sends it.

use std::time::Duration;

use anyhow::Context;
use shared::books::{Claim, JobRecord, JobState, Late, Standing, Token, WorkerRecord};
use shared::bus::{Bucket, Bus, BusError, Delivery, Jobs, Queued};
use shared::ids::{Attempt, JobId, WorkerId};
use shared::protocol::{Execution, JobOrder, LiveReport, Presence, Readiness, Timing, subjects};
use tests::backend::Backend;
use tests::results::handed_in as result;
use tests::{in_process, on_both};
use uuid::Uuid;

on_both!(
    one_of_many_claimers_wins_and_admitting_again_moves_nothing,
    a_stale_holder_can_neither_move_nor_commit,
    a_late_result_is_accepted_and_fences_the_holder,
    what_was_confirmed_outlives_a_crash_of_the_server,
    a_job_is_queued_once_and_handed_out_once,
    new_jobs_are_queued_at_once_or_none_of_them,
    an_answer_counts_whoever_gives_it,
    a_sign_of_life_counts_whoever_gives_it,
    what_nobody_answers_for_is_handed_out_again,
    what_was_handed_out_before_a_crash_is_handed_out_again,
    a_value_that_was_deleted_can_be_written_again,
    an_upload_that_is_discarded_on_its_way_is_made_again,
    a_workers_standing_is_told_and_kept,
    a_watch_shows_what_is_and_what_comes,
    a_watch_outlives_a_crash_of_the_server,
    presence_tells_the_time_and_goes,
    presence_outlives_a_crash_of_the_server,
    hints_reach_who_listens,
);

const LEASE: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(30);

async fn next(jobs: &mut Jobs) -> anyhow::Result<Delivery> {
    tokio::time::timeout(LIMIT, jobs.next()).await?.context("the queue ended")
}

/// A job whose id follows from its number.
fn order(n: u64) -> JobOrder {
    in_process::order(in_process::job(&in_process::trainer("simulated"), &[("n", n)]))
}

fn take(record: &JobRecord, name: &str) -> (Token, JobRecord) {
    match record.claim(&WorkerId::new(name, Uuid::new_v4()), LEASE, LEASE) {
        Claim::Take { token, record } => (token, record),
        other => panic!("{other:?}"),
    }
}

async fn claimed(bus: &Bus, n: u64) -> anyhow::Result<(JobId, Token, JobRecord, u64)> {
    let order = order(n);
    bus.admit(std::slice::from_ref(&order)).await?;
    let entry = bus.record(order.job).await?.expect("admitted");
    let (token, record) = take(&entry.record, "w");
    let revision = bus.swap(order.job, entry.revision, &record).await?;
    Ok((order.job, token, record, revision))
}

async fn one_of_many_claimers_wins_and_admitting_again_moves_nothing(server: Backend) -> anyhow::Result<()> {
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
    let admitted = bus.order_entry(order.job).await?.expect("admitted");
    bus.admit(std::slice::from_ref(&order)).await?;
    assert_eq!(bus.order_entry(order.job).await?, Some(admitted.clone()));
    let execution = Execution { checkpoint_every: "2 steps".parse()?, ..order.execution.clone() };
    bus.admit(&[JobOrder { execution: execution.clone(), ..order.clone() }]).await?;
    let changed = bus.order_entry(order.job).await?.expect("still there");
    assert_eq!((changed.order.content, changed.order.execution), (order.content, execution));
    assert_eq!(changed.admitted_nanos, admitted.admitted_nanos, "the same admission");
    assert_eq!(bus.record(order.job).await?.expect("still there").record.attempts, 1);
    Ok(())
}

async fn a_stale_holder_can_neither_move_nor_commit(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let (job, zombie, record, revision) = claimed(&bus, 2).await?;
    let (owner, next) = take(&record, "other");
    let newer = bus.swap(job, revision, &next).await?;
    let stale = bus.commit(revision, &record.done(&zombie, None)?, &result(job, &zombie)).await;
    assert!(matches!(stale, Err(BusError::Conflict { .. })), "{stale:?}");
    assert!(
        matches!(bus.result(job).await, Err(BusError::Missing { .. })),
        "nothing of the batch was written"
    );
    bus.commit(newer, &next.done(&owner, None)?, &result(job, &owner)).await?;
    assert_eq!(bus.result(job).await?.attempt, Attempt(2));
    assert!(matches!(bus.record(job).await?.expect("there").record.state, JobState::Done { .. }));
    Ok(())
}

async fn a_late_result_is_accepted_and_fences_the_holder(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let (job, zombie, record, revision) = claimed(&bus, 11).await?;
    let (owner, next) = take(&record, "other");
    let revision = bus.swap(job, revision, &next).await?;
    let Late::Accept(done) = next.finished_by(&zombie, None) else { anyhow::bail!("refused") };
    bus.commit(revision, &done, &result(job, &zombie)).await?;
    let fenced = bus.commit(revision, &next.done(&owner, None)?, &result(job, &owner)).await;
    assert!(matches!(fenced, Err(BusError::Conflict { .. })), "{fenced:?}");
    assert_eq!(bus.result(job).await?.attempt, zombie.attempt);
    Ok(())
}

async fn a_value_that_was_deleted_can_be_written_again(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let (job, token, record, revision) = claimed(&bus, 4).await?;
    let keys = bus.keys("").await?;
    bus.delete(&format!("job.{job}")).await?;
    bus.delete("job.never-written").await?;
    assert_eq!(bus.record(job).await?, None);
    assert_eq!(bus.keys("").await?.len(), keys.len() - 1);
    let fenced = bus.swap(job, revision, &record.beat(&token)?).await;
    assert!(matches!(fenced, Err(BusError::Conflict { .. })), "{fenced:?}");
    bus.swap(job, 0, &JobRecord::pending()).await?;
    assert_eq!(bus.record(job).await?.context("written again")?.record, JobRecord::pending());
    Ok(())
}

/// Case 33: if the garbage collector mistakes a running upload for an abandoned one, nothing is lost.
async fn an_upload_that_is_discarded_on_its_way_is_made_again(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let bytes: Vec<u8> = (0..24 << 20).map(|i: u32| (i.wrapping_mul(31) >> 3) as u8).collect();
    let uploader = server.bus().await?;
    let sent = bytes::Bytes::from(bytes.clone());
    let uploading = tokio::spawn(async move { uploader.put_blob(Bucket::Checkpoints, "c", sent).await });
    let mut discarded = 0;
    while discarded < 3 && !uploading.is_finished() {
        for upload in bus.inventory(Bucket::Checkpoints).await?.uploads {
            bus.discard_upload(Bucket::Checkpoints, &upload.id).await?;
            discarded += 1;
        }
    }
    let blob = tokio::time::timeout(LIMIT, uploading).await???;
    assert!(discarded > 0, "no upload was discarded");
    assert!(bus.get_blob(Bucket::Checkpoints, &blob).await? == bytes, "after {discarded} discarded uploads");
    Ok(())
}

async fn what_was_confirmed_outlives_a_crash_of_the_server(mut server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let (job, token, record, revision) = claimed(&bus, 3).await?;
    let blob = bus.put_blob(Bucket::Checkpoints, "c", vec![7; 3 << 20].into()).await?;
    let mut revision = revision;
    let mut record = record;
    for _ in 0..3 {
        server.crash_and_restart().await?;
        record = record.beat(&token)?;
        revision = bus.swap(job, revision, &record).await?;
    }
    assert_eq!(bus.get_blob(Bucket::Checkpoints, &blob).await?, vec![7; 3 << 20]);
    server.crash_and_restart().await?;
    bus.commit(revision, &record.done(&token, None)?, &result(job, &token)).await?;
    server.crash_and_restart().await?;
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

async fn a_job_is_queued_once_and_handed_out_once(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let job = order(4).job;
    assert_eq!(bus.enqueue(job).await?, Queued::Now);
    assert_eq!(bus.enqueue(job).await?, Queued::Already);
    let mut jobs = bus.jobs().await?;
    let delivery = next(&mut jobs).await?;
    assert_eq!(delivery.job, job);
    assert_eq!(bus.enqueue(job).await?, Queued::Already, "in flight counts as queued");
    delivery.hand_back(Duration::ZERO).await;
    next(&mut jobs).await?.finish().await;
    assert_eq!(bus.enqueue(job).await?, Queued::Now);
    bus.clear_queue().await?;
    assert_eq!(bus.enqueue(job).await?, Queued::Now);
    Ok(())
}

/// One job handed to one worker, given back, and handed to another.
async fn held_twice(bus: &Bus, n: u64) -> anyhow::Result<(Delivery, Delivery)> {
    bus.enqueue(order(n).job).await?;
    let first = next(&mut bus.jobs().await?).await?;
    first.hand_back(Duration::ZERO).await;
    let second = next(&mut bus.jobs().await?).await?;
    assert_eq!(first.job, second.job);
    Ok((first, second))
}

async fn new_jobs_are_queued_at_once_or_none_of_them(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let jobs: Vec<JobId> = (20..60).map(|n| order(n).job).collect();
    assert_eq!(bus.enqueue(jobs[7]).await?, Queued::Now);
    assert!(!bus.enqueue_all(&jobs).await?, "one of them is there already");
    assert_eq!(bus.enqueue(jobs[0]).await?, Queued::Now, "none of them was queued");
    assert!(bus.enqueue_all(&jobs[8..]).await?);
    assert_eq!(bus.enqueue(jobs[39]).await?, Queued::Already);
    let mut queue = bus.jobs().await?;
    let mut handed = Vec::new();
    for _ in 0..4 {
        let delivery = next(&mut queue).await?;
        handed.push(delivery.job);
        delivery.finish().await;
    }
    assert_eq!(handed, [jobs[7], jobs[0], jobs[8], jobs[9]], "in their order");
    Ok(())
}

async fn an_answer_counts_whoever_gives_it(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let (late, _holder) = held_twice(&bus, 6).await?;
    late.finish().await;
    assert_eq!(bus.enqueue(late.job).await?, Queued::Now, "it was taken from under its holder");
    bus.clear_queue().await?;

    let (late, holder) = held_twice(&bus, 7).await?;
    late.hand_back(Duration::from_secs(1)).await;
    let again = next(&mut bus.jobs().await?).await?;
    assert_eq!(again.job, holder.job, "it was handed out while its holder still had it");
    again.finish().await;
    late.finish().await;
    holder.finish().await;
    assert_eq!(bus.enqueue(late.job).await?, Queued::Now, "answers for what is gone are taken too");
    Ok(())
}

async fn a_sign_of_life_counts_whoever_gives_it(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let (late, holder) = held_twice(&bus, 8).await?;
    holder.hand_back(Duration::from_secs(2)).await;
    late.extend().await;
    let mut jobs = bus.jobs().await?;
    assert!(tokio::time::timeout(Duration::from_secs(5), jobs.next()).await.is_err(), "it is kept from all");
    late.hand_back(Duration::ZERO).await;
    assert_eq!(next(&mut jobs).await?.job, holder.job);
    Ok(())
}

async fn what_nobody_answers_for_is_handed_out_again(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    bus.enqueue(order(9).job).await?;
    let mut jobs = bus.jobs().await?;
    let delivery = next(&mut jobs).await?;
    let since = tokio::time::Instant::now();
    assert_eq!(next(&mut jobs).await?.job, delivery.job);
    let waited = since.elapsed();
    assert!((14..17).contains(&waited.as_secs()), "{waited:?}");
    let timing = Timing::new(Duration::from_secs(3), None)?;
    bus.agree_on(&timing).await?;
    assert_eq!(server.bus().await?.timing().await?, timing);
    bus.enqueue(order(12).job).await?;
    let delivery = next(&mut jobs).await?;
    let since = tokio::time::Instant::now();
    while next(&mut jobs).await?.job != delivery.job {}
    let waited = since.elapsed();
    assert!((2..5).contains(&waited.as_secs()), "{waited:?}");
    Ok(())
}

async fn what_was_handed_out_before_a_crash_is_handed_out_again(mut server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let job = order(10).job;
    bus.enqueue(job).await?;
    let mut jobs = bus.jobs().await?;
    assert_eq!(next(&mut jobs).await?.job, job);
    server.crash_and_restart().await?;
    assert_eq!(next(&mut jobs).await?.job, job);
    Ok(())
}

async fn a_workers_standing_is_told_and_kept(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    assert_eq!(bus.standing("gpu0").await?, Standing::Trusted);
    let mut watch = bus.feed(&[subjects::STANDING_KEYS]);
    let unfit = WorkerRecord::new("gpu0", Standing::Unfit { reason: "hot".into() });
    bus.write_standing(&unfit).await?;
    assert_eq!(tokio::time::timeout(LIMIT, watch.standing()).await?, unfit);
    assert_eq!(bus.standing("gpu0").await?, unfit.standing);
    assert_eq!(bus.standings().await?, [unfit]);
    Ok(())
}

async fn a_watch_shows_what_is_and_what_comes(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let (job, token, record, revision) = claimed(&bus, 5).await?;
    let mut watch = bus.feed(&[subjects::RECORD_KEYS]);
    let limit = Duration::from_secs(10);
    let first = tokio::time::timeout(limit, watch.record()).await?;
    assert_eq!((first.job, first.revision, first.record), (job, revision, record.clone()));
    let beat = record.beat(&token)?;
    bus.swap(job, revision, &beat).await?;
    let second = tokio::time::timeout(limit, watch.record()).await?;
    assert_eq!(second.record, beat);
    Ok(())
}

async fn a_watch_outlives_a_crash_of_the_server(mut server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let (job, token, record, revision) = claimed(&bus, 11).await?;
    let mut watch = bus.feed(&[subjects::RECORD_KEYS]);
    tokio::time::timeout(LIMIT, watch.record()).await?;
    server.crash_and_restart().await?;
    let beat = record.beat(&token)?;
    bus.swap(job, revision, &beat).await?;
    let next = tokio::time::timeout(LIMIT, watch.record()).await?;
    assert_eq!(next.record, beat, "what was delivered does not come again");
    Ok(())
}

async fn presence_tells_the_time_and_goes(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let worker = WorkerId::new("w", Uuid::nil());
    let presence = Presence {
        worker: worker.clone(),
        host: "h".into(),
        device: "cpu".into(),
        job: Some(order(1).job),
        trainers: ["simulated", "other"].map(in_process::trainer).into(),
        readiness: Readiness::Ready,
    };
    let before = bus.appear(&presence).await?;
    let (.., revision) = claimed(&bus, 12).await?;
    let written = bus.record(order(12).job).await?.context("claimed")?;
    let after = bus.appear(&presence).await?;
    assert!(before < written.written_nanos && written.written_nanos <= after && written.revision == revision);
    assert_eq!(bus.workers().await?, [presence]);
    bus.disappear(&worker).await;
    assert_eq!(bus.workers().await?, []);
    Ok(())
}

/// Every claim needs the server's time. Without it, no job would ever be taken again.
async fn presence_outlives_a_crash_of_the_server(mut server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let presence = Presence::announced("w", "h", Vec::new());
    let before = bus.appear(&presence).await?;
    server.crash_and_restart().await?;
    let after = tokio::time::timeout(LIMIT, async {
        loop {
            match bus.appear(&presence).await {
                Ok(time) => return time,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    assert!(before < after.await.context("the server never told its time again")?);
    Ok(())
}

async fn hints_reach_who_listens(server: Backend) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let mut hints = server.bus().await?.hints().await?;
    let worker = WorkerId::new("w", Uuid::nil());
    let report = LiveReport { worker, job: order(1).job, epoch: 1, epochs: 2, step: 3, steps: 4 };
    // A subscription takes effect after a moment. Hints that are sent before are lost, which is allowed.
    let heard = tokio::time::timeout(LIMIT, async {
        loop {
            bus.hint(&report).await;
            if let Ok(heard) = tokio::time::timeout(Duration::from_millis(100), hints.next()).await {
                return heard;
            }
        }
    });
    assert_eq!(heard.await?, Some(report));
    Ok(())
}
