//! For how long this worker has seen a record unchanged, by its own steady clock.
//!
//! Ages come from the server's timestamps. After its clock leapt back they are too small, for as long as the leap was
//! wide, and a dead worker's job would wait all that time. A record that this worker has seen unchanged for a lease is
//! abandoned whatever the clocks say.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::ids::JobId;
use tokio::time::Instant;

/// Records that were seen held by others lately.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    seen: BTreeMap<JobId, (u64, Instant)>,
}

/// Sightings kept: a worker looks at one job after the other, so few matter.
const KEPT: usize = 1024;

impl Sightings {
    /// Time since this revision of the job's record was first seen.
    pub(super) fn unchanged_for(&mut self, job: JobId, revision: u64) -> Duration {
        let now = Instant::now();
        if self.seen.len() >= KEPT && !self.seen.contains_key(&job) {
            self.seen.clear(); // Costs a lease at most, and only after a leap of the clock.
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
        let (mut sightings, job) = (Sightings::default(), JobId::new(uuid::Uuid::nil()));
        assert_eq!(sightings.unchanged_for(job, 1), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(sightings.unchanged_for(job, 1), Duration::from_secs(20));
        assert_eq!(sightings.unchanged_for(job, 2), Duration::ZERO);
    }
}
