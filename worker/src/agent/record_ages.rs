//! How long this worker has seen a record unchanged, by its own monotonic clock.
//!
//! The age of a record comes from the server's timestamps. If the server's clock is set back, ages become too small, and
//! the job of a dead worker would wait longer. So a record that this worker has seen unchanged for a whole lease counts
//! as abandoned, whatever the server's clock says.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::ids::JobId;
use tokio::time::Instant;

/// Recently seen records that other workers hold.
#[derive(Debug, Default)]
pub(super) struct RecordAges {
    seen: BTreeMap<JobId, (u64, Instant)>,
}

/// How many records are remembered. A worker looks at one job after another, so few matter.
const KEPT: usize = 1024;

impl RecordAges {
    /// Time since this revision of the job's record was first seen.
    pub(super) fn unchanged_for(&mut self, job: JobId, revision: u64) -> Duration {
        let now = Instant::now();
        if self.seen.len() >= KEPT && !self.seen.contains_key(&job) {
            self.seen.clear(); // Costs at most a lease, and only if the server's clock was set back.
        }
        let (seen, since) = self.seen.entry(job).or_insert((revision, now));
        if *seen != revision {
            (*seen, *since) = (revision, now);
        }
        now.saturating_duration_since(*since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_record_ages_until_it_changes() {
        let (mut record_ages, job) = (RecordAges::default(), JobId::new(uuid::Uuid::nil()));
        assert_eq!(record_ages.unchanged_for(job, 1), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(record_ages.unchanged_for(job, 1), Duration::from_secs(20));
        assert_eq!(record_ages.unchanged_for(job, 2), Duration::ZERO);
    }
}
