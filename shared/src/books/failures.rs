//! What failed trainings do to a job: it is retried, fails for good, or is cleared if the worker was the cause. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::journal::in_brief;
use super::{AttemptFailure, Fenced, JobRecord, JobState, MAX_LOSSES, Move, Token};
use crate::ids::Attempt;

/// Failures of the training itself after which a job fails for good.
pub const MAX_FAILURES: usize = 3;

/// A job that failed on this many workers is itself the cause, and fails for good.
pub const MAX_FAILED_WORKERS: usize = 2;

/// Lines of a failed training's log that the job's record keeps.
pub const LOG_TAIL: usize = 20;

/// How many characters of an error or a log line a record keeps: libtorch's errors contain whole stack traces.
const LONGEST: usize = 2000;

impl JobRecord {
    /// The training itself failed, with `log` as its last lines, while the record had revision `mark`. The job fails
    /// for good after failures on [`MAX_FAILED_WORKERS`] workers, or after [`MAX_FAILURES`] of them.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn failed(&self, by: &Token, error: &str, log: &[String], mark: u64) -> Result<Self, Fenced> {
        self.held(by)?;
        let last = &log[log.len().saturating_sub(LOG_TAIL)..];
        let log = last.iter().map(|line| shortened(line)).collect();
        let mut next = self.clone();
        next.failures.push(AttemptFailure { token: by.clone(), error: shortened(error), log, mark });
        next.state = next.after_failures();
        Ok(next.moved(by.attempt, Move::Failed { error: in_brief(error) }))
    }

    /// The state of a job that nobody holds, given its failures.
    fn after_failures(&self) -> JobState {
        match self.failures.last() {
            Some(_) if self.failed_on().len() >= MAX_FAILED_WORKERS => {
                JobState::Parked { reason: self.summary() }
            }
            Some(_) if self.failures.len() >= MAX_FAILURES => JobState::Failed { reason: self.summary() },
            Some(_) | None => JobState::Pending,
        }
    }

    /// Names of the workers on which the training failed.
    pub fn failed_on(&self) -> BTreeSet<&str> {
        self.failures.iter().map(|failure| failure.token.owner.name()).collect()
    }

    /// How often it failed, on which workers, and the last error on each.
    fn summary(&self) -> String {
        let tries = match self.failures.len() {
            1 => "1 try".to_owned(),
            more => format!("{more} tries"),
        };
        let last: BTreeMap<&str, &str> =
            self.failures.iter().map(|f| (f.token.owner.name(), f.error.as_str())).collect();
        let errors: BTreeSet<&str> = last.values().copied().collect();
        let names: Vec<&str> = last.keys().copied().collect();
        if let (1, Some(error)) = (errors.len(), errors.first()) {
            return format!("{tries} failed, on {}: {error}", names.join(" and "));
        }
        let each: Vec<String> = last.iter().map(|(name, error)| format!("on {name}: {error}")).collect();
        format!("{tries} failed, {}", each.join("; "))
    }

    /// The record without the failures on `workers` (names), which caused them. `None` if there are none, or the job is
    /// held or done. A job that had failed for good because of them is pending again.
    pub fn excused(&self, workers: &BTreeSet<String>) -> Option<Self> {
        match &self.state {
            JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. } => {}
            JobState::Running { .. } | JobState::Done { .. } => return None,
        }
        let by_them = |failure: &AttemptFailure| workers.contains(failure.token.owner.name());
        if !self.failures.iter().any(by_them) {
            return None;
        }
        let bad = self.failed_on().into_iter().filter(|name| workers.contains(*name));
        let taken_back = Move::Excused { workers: bad.map(str::to_owned).collect() };
        let mut next = self.clone().moved(Attempt(self.attempts), taken_back);
        next.failures.retain(|failure| !by_them(failure));
        let died_of = self.losses >= MAX_LOSSES && matches!(self.state, JobState::Failed { .. });
        if !died_of {
            next.state = next.after_failures();
        }
        Some(next)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{running, token};
    use super::*;

    #[test]
    fn the_third_failure_is_final_and_reopening_clears_them() {
        let me = token(1, "a");
        let mut record = running(&me);
        for n in 1..=MAX_FAILURES {
            assert!(!record.state.is_final());
            let held = JobRecord { state: running(&me).state, ..record };
            record = held.failed(&me, &format!("error {n}"), &[], n as u64).unwrap();
        }
        assert_eq!(record.state, JobState::Failed { reason: "3 tries failed, on a: error 3".into() });
        let again = record.reopened();
        assert_eq!((again.state, again.failures.len(), again.attempts), (JobState::Pending, 0, 1));
    }

    fn failing(record: &JobRecord, by: &Token, error: &str) -> JobRecord {
        let held = JobRecord { state: running(by).state, ..record.clone() };
        held.failed(by, error, &[], 1).unwrap()
    }

    #[test]
    fn a_job_that_fails_on_two_workers_fails_for_good_with_both_errors() {
        let once = failing(&JobRecord::pending(), &token(1, "a"), "no memory");
        let again = failing(&once, &token(2, "a"), "no memory");
        assert_eq!(again.state, JobState::Pending, "twice on one worker tells nothing about the job");
        let parked = failing(&again, &token(3, "b"), "not finite");
        let reason = "3 tries failed, on a: no memory; on b: not finite".to_owned();
        assert_eq!(parked.state, JobState::Parked { reason });
        assert!(parked.state.is_final());
        let alike = failing(&once, &token(2, "b"), "no memory").state.describe();
        assert_eq!(alike, "failed: 2 tries failed, on a and b: no memory");
        assert_eq!(parked.reopened().state, JobState::Pending);
    }

    #[test]
    fn failures_on_a_bad_worker_are_taken_back() {
        let bad = BTreeSet::from(["a".to_owned()]);
        let parked = failing(&failing(&JobRecord::pending(), &token(1, "a"), "x"), &token(2, "b"), "y");
        let excused = parked.excused(&bad).unwrap();
        assert_eq!((&excused.state, excused.failures.len()), (&JobState::Pending, 1));
        assert_eq!(excused.excused(&bad), None, "nothing is left to take back");
        let held = running(&token(3, "c"));
        assert_eq!(
            JobRecord { failures: parked.failures, ..held }.excused(&bad),
            None,
            "only its holder moves a held job"
        );
        let still = failing(&failing(&excused, &token(3, "c"), "y"), &token(4, "a"), "x");
        assert!(
            matches!(still.excused(&bad).unwrap().state, JobState::Parked { .. }),
            "it failed on others, too"
        );
    }

    #[test]
    fn only_the_end_of_a_log_is_kept() {
        let me = token(1, "a");
        let log: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        let record = running(&me).failed(&me, "x", &log, 7).unwrap();
        assert_eq!((record.failures[0].log.len(), record.failures[0].log[0].as_str()), (LOG_TAIL, "30"));
        assert_eq!(record.failures[0].mark, 7);
    }
}
