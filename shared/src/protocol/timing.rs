//! Lease and heartbeat: how long a silent worker keeps its job, and how often a worker reports. The books hold one
//! value for all jobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Lease and heartbeat of every job on one server. A worker reads it with each job that it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    pub v: u32,
    lease_ms: u64,
    heartbeat_ms: u64,
}

/// Why a timing cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    #[error("a lease of {found:?} is not between {MIN_LEASE:?} and {MAX_LEASE:?}")]
    Lease { found: Duration },
    #[error(
        "a heartbeat every {heartbeat:?} does not suit a lease of {lease:?}: it must be between {MIN_HEARTBEAT:?} and a \
         third of the lease"
    )]
    Heartbeat { heartbeat: Duration, lease: Duration },
}

/// With a shorter lease, a single lost packet could cost a worker its job.
pub const MIN_LEASE: Duration = Duration::from_secs(1);
/// A job of a dead worker should not wait longer than this.
pub const MAX_LEASE: Duration = Duration::from_hours(1);
/// A shorter interval would load the server for nothing.
pub const MIN_HEARTBEAT: Duration = Duration::from_millis(100);
/// Heartbeats per lease, so that two in a row may get lost.
const BEATS_PER_LEASE: u32 = 3;

impl Timing {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;

    /// A lease, and the time between two heartbeats: by default a third of the lease.
    ///
    /// # Errors
    /// When the lease is out of range, or the heartbeat is longer than a third of it or too short.
    pub fn new(lease: Duration, heartbeat: Option<Duration>) -> Result<Self, TimingError> {
        let heartbeat = heartbeat.unwrap_or(lease / BEATS_PER_LEASE);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let timing = Self { v: Self::VERSION, lease_ms: millis(lease), heartbeat_ms: millis(heartbeat) };
        timing.check()?;
        Ok(timing)
    }

    /// Checks a timing that was read from elsewhere.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(&self) -> Result<(), TimingError> {
        let (lease, heartbeat) = (self.lease(), self.heartbeat());
        if !(MIN_LEASE..=MAX_LEASE).contains(&lease) {
            return Err(TimingError::Lease { found: lease });
        }
        if heartbeat < MIN_HEARTBEAT || heartbeat > lease / BEATS_PER_LEASE {
            return Err(TimingError::Heartbeat { heartbeat, lease });
        }
        Ok(())
    }

    /// A worker that has not sent a heartbeat for this long is taken for dead.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// Time between two heartbeats.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self { v: Self::VERSION, lease_ms: 15_000, heartbeat_ms: 5_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_three_heartbeats() {
        let seconds = Duration::from_secs;
        assert_eq!(Timing::new(seconds(15), None).unwrap(), Timing::default());
        assert_eq!(Timing::new(seconds(30), Some(seconds(2))).unwrap().heartbeat(), seconds(2));
        assert!(Timing::default().check().is_ok());
        for (lease, heartbeat) in [(15, Some(6)), (0, None), (4000, None), (15, Some(0))] {
            let wrong = Timing::new(seconds(lease), heartbeat.map(seconds));
            assert!(wrong.is_err(), "{lease} {heartbeat:?}");
        }
    }
}
