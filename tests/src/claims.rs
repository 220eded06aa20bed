//! The order in which workers take jobs.

use std::time::Duration;

use anyhow::Context;
use shared::books::JobState;
use shared::bus::Bus;
use shared::ids::JobId;
use shared::protocol::subjects;

/// The jobs in the order in which workers took them first, until that is enough.
///
/// # Errors
/// When it takes longer than `limit`.
pub async fn taken(
    bus: &Bus,
    limit: Duration,
    is_enough: impl Fn(&[JobId]) -> bool,
) -> anyhow::Result<Vec<JobId>> {
    let mut records = bus.feed(&[subjects::RECORD_KEYS]);
    let mut taken = Vec::new();
    let all = async {
        while !is_enough(&taken) {
            let entry = records.record().await;
            if !matches!(entry.record.state, JobState::Pending) && !taken.contains(&entry.job) {
                taken.push(entry.job);
            }
        }
    };
    let in_time = tokio::time::timeout(limit, all).await;
    in_time.with_context(|| format!("only these jobs were taken: {taken:?}"))?;
    Ok(taken)
}
