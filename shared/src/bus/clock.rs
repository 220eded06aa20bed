//! What this process knows of the server's time without asking for it: the newest time that it has heard of, carried on by
//! the steady clock of its machine. No clock of a machine is believed, so a wrong one does no harm.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::Bus;

/// The server's time, as far as this process has heard of it.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    heard: Mutex<Option<Heard>>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    /// In nanoseconds since the Unix epoch.
    nanos: i128,
    at: Instant,
}

impl Heard {
    fn carried_on(self, now: Instant) -> i128 {
        let since = i128::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(i128::MAX);
        self.nanos.saturating_add(since)
    }
}

impl ServerClock {
    /// The server wrote something at this time, just now or earlier.
    pub(super) fn heard(&self, nanos: i128) {
        self.hear(nanos, Instant::now());
    }

    fn hear(&self, nanos: i128, now: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.is_none_or(|heard| heard.carried_on(now) < nanos) {
            *heard = Some(Heard { nanos, at: now });
        }
    }

    /// It is this time now, even if that is earlier than this process believed, because the server's clock was set back.
    pub(super) fn set(&self, nanos: i128) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = Some(Heard { nanos, at: Instant::now() });
    }

    fn now(&self, now: Instant) -> Option<i128> {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|heard| heard.carried_on(now))
    }
}

impl Bus {
    /// The server's time in seconds since the Unix epoch, for displays: not later than it is, and earlier by at most the
    /// time since this process last heard of a new write. `None` if it has heard of none. Ages of records that something is
    /// decided by are computed with [`Self::appear`].
    pub fn server_seconds(&self) -> Option<u64> {
        u64::try_from(self.clock.now(Instant::now())? / 1_000_000_000).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_newest_time_is_carried_on() {
        let (clock, start) = (ServerClock::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(clock.now(start), None);
        clock.hear(100_000_000_000, start);
        assert_eq!(clock.now(after(5)), Some(105_000_000_000));
        clock.hear(102_000_000_000, after(5));
        assert_eq!(clock.now(after(6)), Some(106_000_000_000), "an old write tells nothing new");
        clock.hear(110_000_000_000, after(6));
        assert_eq!(clock.now(after(7)), Some(111_000_000_000));
        clock.set(50_000_000_000);
        assert!(clock.now(Instant::now()).is_some_and(|now| now < 60_000_000_000), "it was set back");
        clock.hear(i128::MAX, after(7));
        assert_eq!(clock.now(after(8)), Some(i128::MAX));
    }
}
