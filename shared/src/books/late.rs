//! Results of attempts that may have lost their job. Pure.
//!
//! Training is deterministic, so a finished result is as good as the one still being trained elsewhere. It is accepted
//! while the job is open, and the current holder is fenced off.

use super::{Fenced, JobRecord, JobState, Token};
use crate::result::JobResult;

/// What to do with a finished result.
#[derive(Debug, Clone, PartialEq)]
pub enum Late {
    /// Swap the record for this one, together with the result.
    Accept(Box<JobRecord>),
    /// The job is already done, by this attempt.
    Done(Token),
    Refused(Fenced),
}

impl JobRecord {
    /// Decides on the result of attempt `by`, which holds the job or held it before. `stopped_after` is that of the result.
    pub fn finished_by(&self, by: &Token, stopped_after: Option<u32>) -> Late {
        let refused = || Late::Refused(Fenced { token: by.clone(), now: self.state.describe() });
        let accept = |next: Self| Late::Accept(Box::new(next));
        match &self.state {
            JobState::Done { token, .. } => Late::Done(token.clone()),
            JobState::Failed { .. } | JobState::Parked { .. } => refused(),
            // The job has since been asked to be trained again.
            JobState::Pending | JobState::Running { .. } if by.attempt.0 <= self.retried_after => refused(),
            // No attempt with this number was ever made.
            JobState::Pending | JobState::Running { .. } if by.attempt.0 > self.attempts => refused(),
            // The number belongs to another worker's attempt.
            JobState::Running { token, .. } if token.attempt == by.attempt && token != by => refused(),
            JobState::Running { token, .. } if token == by => accept(self.accepting(by, stopped_after)),
            JobState::Running { token, .. } => {
                accept(self.accepted(by, stopped_after, &format!("while {token} trained it again")))
            }
            JobState::Pending => accept(self.accepted(by, stopped_after, "while it waited for a worker")),
        }
    }

    fn accepted(&self, by: &Token, stopped_after: Option<u32>, when: &str) -> Self {
        let next = self.accepting(by, stopped_after);
        next.with_note(format!("the result of {by} came late and was accepted {when}"))
    }

    /// A second result differs from the accepted one, which stays. `None` when the job is not done.
    #[must_use]
    pub fn contradicted(&self, by: &Token, difference: &str) -> Option<Self> {
        match &self.state {
            JobState::Done { token, .. } => Some(self.clone().with_note(format!(
                "a second result, by {by}, differs from the accepted one of {token}: {difference}"
            ))),
            JobState::Pending
            | JobState::Running { .. }
            | JobState::Failed { .. }
            | JobState::Parked { .. } => None,
        }
    }
}

/// How a second result of a job differs from the accepted one; `None` if they are equal. Where and when they were
/// trained does not count. Results after different numbers of epochs, because only one ended early, cannot be compared.
pub fn difference(accepted: &JobResult, second: &JobResult) -> Option<String> {
    if accepted.stopped_after != second.stopped_after {
        return None;
    }
    let probabilities = |result: &JobResult| -> Vec<(String, String)> {
        let sets = result.predictions.iter();
        sets.map(|(name, set)| (name.clone(), set.probabilities.sha256.clone())).collect()
    };
    let artifacts = |result: &JobResult| -> Vec<(String, String)> {
        result.artifacts.iter().map(|(name, blob)| (name.clone(), blob.sha256.clone())).collect()
    };
    let parts = [
        ("the best epoch", accepted.best_epoch == second.best_epoch),
        ("the probabilities", probabilities(accepted) == probabilities(second)),
        ("the weights", artifacts(accepted) == artifacts(second)),
    ];
    let unequal: Vec<&str> = parts.into_iter().filter(|(_, equal)| !equal).map(|(part, _)| part).collect();
    let places =
        [accepted, second].map(|result| format!("{} of {}", result.device.model, result.device.host));
    (!unequal.is_empty()).then(|| format!("{} (trained on {})", unequal.join(", "), places.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{running, token};
    use super::*;

    #[test]
    fn a_superseded_attempt_is_accepted_while_the_record_is_open() {
        let (old, new) = (token(1, "a"), token(2, "b"));
        let record = running(&new);
        let Late::Accept(done) = record.finished_by(&old, None) else { panic!("not accepted") };
        assert_eq!(done.state, JobState::Done { token: old.clone(), stopped_after: None });
        assert!(done.notes[0].contains("b-00000000#2 trained it again"), "{:?}", done.notes);
        assert!(done.beat(&new).is_err() && done.done(&new, None).is_err(), "the holder is fenced");
        assert_eq!(done.finished_by(&new, None), Late::Done(old.clone()));

        let given_back = record.released(&new, crate::books::Release::Stopping).unwrap();
        assert!(matches!(given_back.finished_by(&old, None), Late::Accept(_)));
    }

    #[test]
    fn the_holder_itself_is_no_matter_for_a_note() {
        let me = token(3, "a");
        let Late::Accept(done) = running(&me).finished_by(&me, None) else { panic!("not accepted") };
        assert_eq!(Ok(*done), running(&me).done(&me, None));
    }

    #[test]
    fn attempts_that_never_were_and_jobs_that_are_closed_take_nothing() {
        let me = token(2, "a");
        let refused =
            |record: &JobRecord, by: &Token| matches!(record.finished_by(by, None), Late::Refused(_));
        assert!(refused(&running(&me), &token(3, "c")));
        assert!(refused(&running(&me), &token(2, "c")));
        assert!(refused(&JobRecord::pending(), &token(1, "c")));
        let failed = JobRecord { state: JobState::Failed { reason: "x".into() }, ..running(&me) };
        assert!(refused(&failed, &me));
    }

    #[test]
    fn a_job_that_is_trained_again_does_not_take_the_old_result_again() {
        let (old, new) = (token(1, "a"), token(2, "b"));
        let again = running(&old).done(&old, None).unwrap().anew(1).unwrap();
        assert!(matches!(again.finished_by(&old, None), Late::Refused(_)));
        let held = JobRecord { state: running(&new).state, attempts: 2, ..again };
        assert!(matches!(held.finished_by(&old, None), Late::Refused(_)));
        assert!(matches!(held.finished_by(&new, None), Late::Accept(_)));
    }

    #[test]
    fn a_contradiction_changes_nothing_but_the_notes() {
        let (me, other) = (token(1, "a"), token(2, "b"));
        let done = running(&me).done(&me, None).unwrap();
        let noted = done.contradicted(&other, "the weights").unwrap();
        assert_eq!((&noted.state, noted.notes.len()), (&done.state, 1));
        assert_eq!(running(&me).contradicted(&other, "the weights"), None);
    }
}
