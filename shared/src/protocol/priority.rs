//! How early a job is trained among all that wait, and the jobs that are trained out of the queue's order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::JobId;

/// How early a job is trained, from −100 to 100: before all of a lower priority. The normal one is 0. It is part of no
/// job's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "i64", try_from = "i64")]
pub struct Priority(i8);

/// What is wrong with a priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{written} is not a valid priority; write a whole number from {} to {}, where 0 is normal",
    Priority::LEAST,
    Priority::MOST
)]
pub struct NotAPriority {
    written: String,
}

impl Priority {
    pub const NORMAL: Self = Self(0);
    pub const MOST: Self = Self(100);
    pub const LEAST: Self = Self(-100);

    /// # Errors
    /// When it is too far from 0.
    pub fn new(number: i64) -> Result<Self, NotAPriority> {
        let known = i8::try_from(number).ok().map(Self);
        known
            .filter(|known| (Self::LEAST..=Self::MOST).contains(known))
            .ok_or_else(|| NotAPriority { written: number.to_string() })
    }

    /// True if serde need not write it.
    pub fn is_normal(&self) -> bool {
        *self == Self::NORMAL
    }
}

impl From<Priority> for i64 {
    fn from(Priority(number): Priority) -> Self {
        number.into()
    }
}

impl TryFrom<i64> for Priority {
    type Error = NotAPriority;

    fn try_from(number: i64) -> Result<Self, NotAPriority> {
        Self::new(number)
    }
}

impl FromStr for Priority {
    type Err = NotAPriority;

    fn from_str(text: &str) -> Result<Self, NotAPriority> {
        let number = text.parse().map_err(|_| NotAPriority { written: format!("`{text}`") })?;
        Self::new(number)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job that waits, and its priority, which is not the normal one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prioritised {
    pub job: JobId,
    pub priority: Priority,
}

/// The jobs that workers take out of the queue's order, by priority, and for one priority in this order: those above 0
/// before what the queue hands out, those below 0 when it hands out nothing. Only the next ones of each sweep are here;
/// whoever conducts it keeps them up to date. An entry that no longer holds is harmless, because the claim decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Priorities {
    pub v: u32,
    pub jobs: Vec<Prioritised>,
}

impl Priorities {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;

    /// The most jobs on either side of the normal priority: a worker may look at all of them before a claim.
    pub const MOST: usize = 64;

    pub fn new(jobs: Vec<Prioritised>) -> Self {
        Self { v: Self::VERSION, jobs }.bounded()
    }

    /// Those that come before what the queue hands out.
    pub fn before(&self) -> impl Iterator<Item = JobId> {
        self.jobs.iter().filter(|entry| entry.priority > Priority::NORMAL).map(|entry| entry.job)
    }

    /// Those that come when the queue hands out nothing.
    pub fn after(&self) -> impl Iterator<Item = JobId> {
        self.jobs.iter().filter(|entry| entry.priority < Priority::NORMAL).map(|entry| entry.job)
    }

    /// In order, and no more than may be: the lowest priorities above 0, and the lowest below 0, are left out.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.jobs.retain(|entry| entry.priority != Priority::NORMAL);
        self.jobs.sort_by_key(|entry| std::cmp::Reverse(entry.priority));
        let first_after = self.jobs.partition_point(|entry| entry.priority > Priority::NORMAL);
        let mut after = self.jobs.split_off(first_after);
        self.jobs.truncate(Self::MOST);
        after.truncate(Self::MOST);
        self.jobs.append(&mut after);
        self
    }

    /// With `now` in place of the jobs that `is_ours` knows.
    #[must_use]
    pub fn with(&self, is_ours: impl Fn(JobId) -> bool, now: &[Prioritised]) -> Self {
        let others = self.jobs.iter().filter(|entry| !is_ours(entry.job));
        Self::new(others.chain(now).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn entry(n: u128, priority: i64) -> Prioritised {
        Prioritised { job: JobId::new(Uuid::from_u128(n)), priority: Priority::new(priority).unwrap() }
    }

    #[test]
    fn a_priority_is_a_small_whole_number() {
        assert_eq!("-100".parse(), Ok(Priority::LEAST));
        for wrong in ["101", "-101", "1.5", "high", "", "300"] {
            let said = wrong.parse::<Priority>().unwrap_err().to_string();
            assert!(said.contains(wrong) && said.contains("from -100 to 100"), "{said}");
        }
        assert!(serde_json::from_str::<Priority>("101").is_err());
        assert_eq!(serde_json::to_string(&Priority::MOST).unwrap(), "100");
    }

    #[test]
    fn the_highest_of_all_sweeps_come_first_and_the_list_stays_short() {
        let others = Priorities::new(vec![entry(1, 5), entry(2, -5), entry(3, 50), entry(4, 0)]);
        let ours = |job| job == entry(1, 0).job;
        let merged = others.with(ours, &[entry(8, 50), entry(9, -1)]);
        assert_eq!(merged.jobs, [entry(3, 50), entry(8, 50), entry(9, -1), entry(2, -5)]);
        assert_eq!(merged.before().collect::<Vec<_>>(), [entry(3, 0).job, entry(8, 0).job]);
        assert_eq!(merged.after().collect::<Vec<_>>(), [entry(9, 0).job, entry(2, 0).job]);
        let many: Vec<_> = (0..200).flat_map(|n| [entry(n, 1), entry(1000 + n, -1)]).collect();
        assert_eq!(merged.with(|_| false, &many).jobs.len(), 2 * Priorities::MOST);
    }
}
