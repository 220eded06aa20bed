//! How many jobs keep the workers busy until the last fault has come: a machine twice as fast needs twice as many.

use std::time::Duration;

use super::sweep;

/// Part of the jobs of an undisturbed run that workers get done under faults, at most: nothing is missed when the sweep is
/// not done yet. A third was seen with thirty faults a minute, a half and more with few.
const UNDER_FAULTS: f64 = 0.6;

/// Never fewer: a small sweep is done before its faults meet anything.
const FEWEST: usize = 60;

/// Jobs that are trained to learn how long one takes: some for each worker, for they slow each other down.
pub fn sample(workers: usize) -> usize {
    workers.saturating_mul(3).min(sweep::LARGEST)
}

/// Jobs that so many workers train in `length` under faults, when undisturbed ones took so many seconds each.
pub fn filling(length: Duration, workers: usize, seconds: &[f64]) -> usize {
    let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
    let jobs = UNDER_FAULTS * length.as_secs_f64() * workers as f64 / mean;
    // Converting saturates, also where no time passed.
    (jobs.ceil() as usize).clamp(FEWEST, sweep::LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_time_a_job_or_twice_the_workers_is_twice_the_jobs() {
        let minutes = Duration::from_mins(5);
        assert_eq!(filling(minutes, 4, &[2.0, 2.0]), 360);
        assert_eq!(filling(minutes, 4, &[1.0]), 720);
        assert_eq!(filling(minutes, 8, &[1.0, 3.0]), 720);
    }

    #[test]
    fn a_sweep_is_neither_tiny_nor_endless() {
        assert_eq!(filling(Duration::from_secs(1), 1, &[100.0]), FEWEST);
        assert_eq!(filling(Duration::from_hours(100), 64, &[0.0]), sweep::LARGEST);
        assert_eq!(filling(Duration::from_hours(100), 64, &[]), FEWEST);
    }
}
