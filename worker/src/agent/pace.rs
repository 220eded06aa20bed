//! How many jobs a worker has at a time. One, unless jobs are so short that asking the server takes longer than training:
//! then the next ones are claimed, and the last results handed in, while one trains. Still only one trains at a time.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::{MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How much work may wait for the device: little, because other workers could do it.
const LINE: Duration = Duration::from_millis(250);
/// The most jobs that may wait for the device.
const LONGEST_LINE: u32 = 128;
/// How long a job waits for the device before it is given back.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The device of a worker, and the jobs that wait for it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    device: tokio::sync::Mutex<()>,
    company: RwLock<()>,
    line: std::sync::Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    /// Jobs that are looked at, wait for the device or train.
    length: u32,
    limit: u32,
}

impl Default for Line {
    fn default() -> Self {
        Self { length: 0, limit: 1 }
    }
}

impl Line {
    /// Lets more jobs wait after one that took this time, or fewer. It begins with one, and at most doubles.
    fn took(&mut self, time: Duration) {
        let fit = LINE.as_micros() / time.as_micros().max(1);
        let fit = u32::try_from(fit).unwrap_or(LONGEST_LINE).min(LONGEST_LINE);
        self.limit = fit.min(self.limit.saturating_mul(2)).max(1);
    }

    /// Whether one more may be looked at, where `held` jobs are in line or being handed in.
    fn has_room(&self, held: usize) -> bool {
        held == 0 || (self.limit > 1 && self.length < self.limit && held < 2 * self.limit as usize)
    }
}

/// Whom a job has beside it.
#[derive(Debug)]
pub(super) enum Company<'a> {
    Others { _together: RwLockReadGuard<'a, ()> },
    Nobody { _alone: RwLockWriteGuard<'a, ()> },
}

/// A job's place in the line. It is left when this is dropped.
#[derive(Debug)]
pub(super) struct InLine<'a> {
    pace: &'a Pace,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.pace.line().length -= 1;
    }
}

/// A job's turn on the device, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    since: tokio::time::Instant,
    _device: MutexGuard<'a, ()>,
    _in_line: InLine<'a>,
}

impl Turn<'_> {
    /// The training has gone well.
    pub(super) fn went_well(&self) {
        self.pace.line().took(self.since.elapsed());
    }
}

impl Pace {
    /// Whether one more job may be looked at, where `held` have not ended.
    pub(super) fn has_room(&self, held: usize) -> bool {
        self.line().has_room(held)
    }

    /// Whether there is more than one job at a time.
    pub(super) fn is_brisk(&self) -> bool {
        self.line().limit > 1
    }

    /// Something is wrong, or takes long: one job at a time from now on.
    pub(super) fn slow_down(&self) {
        self.line().limit = 1;
    }

    pub(super) fn line_up(&self) -> InLine<'_> {
        self.line().length += 1;
        InLine { pace: self }
    }

    /// Waits for the device, for something else than a job.
    pub(super) async fn device(&self) -> MutexGuard<'_, ()> {
        self.device.lock().await
    }

    /// Waits for the device.
    pub(super) async fn turn<'a>(&'a self, in_line: InLine<'a>) -> Turn<'a> {
        let device = self.device.lock().await;
        Turn { pace: self, since: tokio::time::Instant::now(), _device: device, _in_line: in_line }
    }

    /// Lets a job be one of several, unless another one wants to be alone.
    pub(super) fn among_others(&self) -> Option<Company<'_>> {
        Some(Company::Others { _together: self.company.try_read().ok()? })
    }

    /// Waits until no other job is left. A job that was lost or has failed before must be alone: if it kills this worker,
    /// it takes no others with it, and everybody can tell which job it was.
    pub(super) async fn alone(&self) -> Company<'_> {
        self.slow_down();
        Company::Nobody { _alone: self.company.write().await }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_jobs_form_a_line() {
        let mut line = Line::default();
        assert!(line.has_room(0) && !line.has_room(1));
        line.took(Duration::from_mins(1));
        assert!(!line.has_room(1));
        for expected in [2, 4, 8] {
            line.took(Duration::from_millis(10));
            assert_eq!(line.limit, expected);
        }
        line.length = 7;
        assert!(line.has_room(7) && line.has_room(15) && !line.has_room(16), "as many may be handed in");
        line.length = 8;
        assert!(!line.has_room(8));
        for _ in 0..9 {
            line.took(Duration::ZERO);
        }
        assert_eq!(line.limit, LONGEST_LINE);
        line.took(Duration::from_millis(126));
        assert_eq!(line.limit, 1, "the next one is not claimed ahead");
    }

    #[tokio::test]
    async fn whoever_wants_to_be_alone_waits_for_the_others_and_they_for_it() {
        let pace = Pace::default();
        let other = pace.among_others().expect("nobody wants to be alone");
        let mut alone = Box::pin(pace.alone());
        assert!(futures::poll!(&mut alone).is_pending());
        assert!(pace.among_others().is_none());
        drop(other);
        drop(alone.await);
        assert!(pace.among_others().is_some());
    }
}
