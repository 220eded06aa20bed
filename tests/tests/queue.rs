//! What leaves the queue before its turn, on the server in memory and on a real one.

use std::time::Duration;

use anyhow::Context;
use shared::bus::{Delivery, Jobs, Queued};
use shared::ids::JobId;
use tests::backend::Backend;
use tests::on_both;
use uuid::Uuid;

on_both!(a_job_is_taken_out_of_the_queue_whether_or_not_it_is_handed_out,);

const LIMIT: Duration = Duration::from_secs(20);

async fn next(jobs: &mut Jobs) -> anyhow::Result<Delivery> {
    tokio::time::timeout(LIMIT, jobs.next())
        .await
        .context("no job was handed out")?
        .context("the queue ended")
}

async fn a_job_is_taken_out_of_the_queue_whether_or_not_it_is_handed_out(
    server: Backend,
) -> anyhow::Result<()> {
    let bus = server.bus().await?;
    let [waiting, handed, other] = [70, 71, 72].map(|n| JobId::new(Uuid::from_u128(n)));
    bus.dequeue(waiting).await?;
    bus.enqueue(handed).await?;
    let held = next(&mut bus.jobs().await?).await?;
    bus.enqueue(waiting).await?;
    bus.enqueue(other).await?;
    for job in [waiting, handed] {
        bus.dequeue(job).await?;
    }
    let mut jobs = bus.jobs().await?;
    let next_one = next(&mut jobs).await?;
    assert_eq!((held.job, next_one.job), (handed, other));
    next_one.finish().await;
    held.hand_back(Duration::ZERO).await;
    assert!(tokio::time::timeout(Duration::from_secs(2), jobs.next()).await.is_err(), "it is gone");
    assert_eq!(bus.enqueue(handed).await?, Queued::Now);
    Ok(())
}
