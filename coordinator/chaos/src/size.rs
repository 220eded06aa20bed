//! How many jobs keep the workers busy until the last fault. A machine that is twice as fast needs twice as many.

use std::time::Duration;

use super::sweep;

/// Workers under faults finish at most this fraction of the jobs that they would finish without. Measured were a third
/// with thirty faults a minute, and a half or more with few. Too many jobs do no harm: the sweep just outlasts the
/// faults.
const UNDER_FAULTS: f64 = 0.6;

/// A smaller sweep would be done before the faults hit anything.
const FEWEST: usize = 60;

/// How many jobs to train to find out how long one takes: several per worker, because workers slow each other down.
pub fn sample(workers: usize) -> usize {
    workers.saturating_mul(3).min(sweep::MAX_JOBS)
}

/// How many jobs this many workers train in `length` under faults, if these jobs took `seconds` without faults.
pub fn jobs_for(length: Duration, workers: usize, seconds: &[f64]) -> usize {
    let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
    let jobs = UNDER_FAULTS * length.as_secs_f64() * workers as f64 / mean;
    // The conversion saturates, even if the mean is zero.
    (jobs.ceil() as usize).clamp(FEWEST, sweep::MAX_JOBS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_time_a_job_or_twice_the_workers_is_twice_the_jobs() {
        let minutes = Duration::from_mins(5);
        assert_eq!(jobs_for(minutes, 4, &[2.0, 2.0]), 360);
        assert_eq!(jobs_for(minutes, 4, &[1.0]), 720);
        assert_eq!(jobs_for(minutes, 8, &[1.0, 3.0]), 720);
    }

    #[test]
    fn the_number_of_jobs_is_bounded() {
        assert_eq!(jobs_for(Duration::from_secs(1), 1, &[100.0]), FEWEST);
        assert_eq!(jobs_for(Duration::from_hours(100), 64, &[0.0]), sweep::MAX_JOBS);
        assert_eq!(jobs_for(Duration::from_hours(100), 64, &[]), FEWEST);
    }
}
