//! What failed trainings do to a job: tried again, parked, given up, or taken back when a worker was to blame. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, Fenced, JobRecord, JobState, MAX_LOSSES, Token};

/// Failures of the training itself after which a job is given up.
pub const MAX_FAILURES: usize = 3;

/// Workers on which the training of one job may fail before the job, not they, is taken for the cause.
pub const MAX_FAILED_WORKERS: usize = 2;

/// Lines of a failed training's log that its record keeps.
pub const LOG_TAIL: usize = 20;

/// Characters of an error or a line of a log that a record keeps: libtorch's errors bring whole stacks with them.
const LONGEST: usize = 2000;

impl JobRecord {
    /// The training itself failed, with `log` as its last lines, while the record had revision `mark`. A job that
    /// failed on [`MAX_FAILED_WORKERS`] workers is parked, one that failed [`MAX_FAILURES`] times is given up.
    pub fn failed(&self, by: &Token, error: &str, log: &[String], mark: u64) -> Result<Self, Fenced> {
        self.held(by)?;
        let last = &log[log.len().saturating_sub(LOG_TAIL)..];
        let log = last.iter().map(|line| begin_of(line)).collect();
        let mut next = self.clone();
        next.failures.push(Failure { token: by.clone(), error: begin_of(error), log, mark });
        next.state = next.after_failures();
        Ok(next)
    }

    /// Where its failures leave a job that nobody holds.
    fn after_failures(&self) -> JobState {
        match self.failures.last() {
            Some(_) if self.failed_on().len() >= MAX_FAILED_WORKERS => {
                JobState::Parked { reason: self.story() }
            }
            Some(last) if self.failures.len() >= MAX_FAILURES => {
                JobState::Failed { reason: last.error.clone() }
            }
            Some(_) | None => JobState::Pending,
        }
    }

    /// Names of the workers on which its training failed.
    pub fn failed_on(&self) -> BTreeSet<&str> {
        self.failures.iter().map(|failure| failure.token.owner.name()).collect()
    }

    /// Which worker saw which error last.
    fn story(&self) -> String {
        let last: BTreeMap<&str, &str> =
            self.failures.iter().map(|f| (f.token.owner.name(), f.error.as_str())).collect();
        let errors: BTreeSet<&str> = last.values().copied().collect();
        let names: Vec<&str> = last.keys().copied().collect();
        if let (1, Some(error)) = (errors.len(), errors.first()) {
            return format!("failed on {}: {error}", names.join(" and "));
        }
        let each: Vec<String> = last.iter().map(|(name, error)| format!("on {name}: {error}")).collect();
        format!("failed {}", each.join("; "))
    }

    /// The record without what `workers` (names) did to it, which is theirs and not the job's; `None` where that is
    /// nothing, or the job is held or done. A job that was set aside because of them waits for a worker again.
    pub fn excused(&self, workers: &BTreeSet<String>) -> Option<Self> {
        match &self.state {
            JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. } => {}
            JobState::Running { .. } | JobState::Done { .. } => return None,
        }
        let mut next = self.clone();
        next.failures.retain(|failure| !workers.contains(failure.token.owner.name()));
        if next.failures.len() == self.failures.len() {
            return None;
        }
        let died_of = self.losses >= MAX_LOSSES && matches!(self.state, JobState::Failed { .. });
        if !died_of {
            next.state = next.after_failures();
        }
        Some(next)
    }
}

fn begin_of(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{running, token};
    use super::*;

    #[test]
    fn the_third_failure_gives_up_and_reopening_forgives() {
        let me = token(1, "a");
        let mut record = running(&me);
        for n in 1..=MAX_FAILURES {
            assert!(!record.state.is_final());
            let held = JobRecord { state: running(&me).state, ..record };
            record = held.failed(&me, &format!("error {n}"), &[], n as u64).unwrap();
        }
        assert_eq!(record.state, JobState::Failed { reason: "error 3".into() });
        let again = record.reopened();
        assert_eq!((again.state, again.failures.len(), again.attempts), (JobState::Pending, 0, 1));
    }

    fn failing(record: &JobRecord, by: &Token, error: &str) -> JobRecord {
        let held = JobRecord { state: running(by).state, ..record.clone() };
        held.failed(by, error, &[], 1).unwrap()
    }

    #[test]
    fn a_job_that_fails_on_two_workers_is_parked_with_both_errors() {
        let once = failing(&JobRecord::pending(), &token(1, "a"), "no memory");
        let again = failing(&once, &token(2, "a"), "no memory");
        assert_eq!(again.state, JobState::Pending, "twice on one worker tells nothing about the job");
        let parked = failing(&again, &token(3, "b"), "not finite");
        let reason = "failed on a: no memory; on b: not finite".to_owned();
        assert_eq!(parked.state, JobState::Parked { reason });
        assert!(parked.state.is_final());
        let alike = failing(&once, &token(2, "b"), "no memory").state.describe();
        assert_eq!(alike, "parked: failed on a and b: no memory");
        assert_eq!(parked.reopened().state, JobState::Pending);
    }

    #[test]
    fn what_a_bad_worker_did_to_a_job_is_taken_back() {
        let bad = BTreeSet::from(["a".to_owned()]);
        let parked = failing(&failing(&JobRecord::pending(), &token(1, "a"), "x"), &token(2, "b"), "y");
        let excused = parked.excused(&bad).unwrap();
        assert_eq!((&excused.state, excused.failures.len()), (&JobState::Pending, 1));
        assert_eq!(excused.excused(&bad), None, "there is nothing left to take back");
        let held = running(&token(3, "c"));
        assert_eq!(
            JobRecord { failures: parked.failures, ..held }.excused(&bad),
            None,
            "a held job is its holder's"
        );
        let still = failing(&failing(&excused, &token(3, "c"), "y"), &token(4, "a"), "x");
        assert!(
            matches!(still.excused(&bad).unwrap().state, JobState::Parked { .. }),
            "others blame it, too"
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
