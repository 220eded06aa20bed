//! Checks what is stored after a run with faults: every job was done exactly once, with the result of a run without
//! faults, and no state was ever reverted. Pure, so that tests can tamper with the input and see the audit fail.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shared::books::{Checkpoint, JobRecord, JobState, Token};
use shared::ids::JobId;
use shared::result::JobResult;

use super::observer::Observation;

/// Digests of what a job computed, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub probabilities: BTreeMap<String, String>,
    pub artifacts: BTreeMap<String, String>,
}

impl From<&JobResult> for Output {
    fn from(result: &JobResult) -> Self {
        let sets = result.predictions.iter();
        let files = result.artifacts.iter();
        Self {
            probabilities: sets.map(|(name, set)| (name.clone(), set.probabilities.sha256.clone())).collect(),
            artifacts: files.map(|(name, file)| (name.clone(), file.sha256.clone())).collect(),
        }
    }
}

/// What is stored for one job at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct FinalState {
    pub record: Option<JobRecord>,
    pub result: Option<JobResult>,
    /// Why one of the result's blobs cannot be read from the store; `None` if all can.
    pub unreadable: Option<String>,
    /// What the coordinator's run folder holds.
    pub stored: Option<Output>,
}

/// A checkpoint that was damaged on purpose. Its reader must notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    pub job: JobId,
    /// The attempt that wrote it and was then killed.
    pub token: Token,
    pub checkpoint: Checkpoint,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub job: JobId,
    pub what: String,
}

/// Checks everything. An empty list means that all promises were kept. `observations` are in order of time.
pub fn audit(
    expected: &BTreeMap<JobId, Output>,
    states: &BTreeMap<JobId, FinalState>,
    observations: &[Observation],
    damaged: &[Damaged],
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut found = |job: JobId, what: String| violations.push(Violation { job, what });
    for (&job, output) in expected {
        match states.get(&job) {
            Some(state) => check_state(output, state, &mut |what| found(job, what)),
            None => found(job, "the server has no record of it".to_owned()),
        }
    }
    for &job in states.keys().filter(|job| !expected.contains_key(*job)) {
        found(job, "it is not part of the sweep".to_owned());
    }
    let mut before: BTreeMap<JobId, &Observation> = BTreeMap::new();
    for observation in observations {
        if let Some(before) = before.insert(observation.job, observation) {
            check_move(before, observation, &mut |what| found(observation.job, what));
        }
    }
    for damage in damaged.iter().filter(|damage| is_silent(damage, observations)) {
        found(
            damage.job,
            format!("its damaged checkpoint of {} was skipped without a note", damage.checkpoint),
        );
    }
    violations
}

fn check_state(expected: &Output, stored: &FinalState, found: &mut dyn FnMut(String)) {
    let done = match stored.record.as_ref().map(|record| &record.state) {
        Some(JobState::Done { token, .. }) => Some(token),
        Some(
            state @ (JobState::Pending
            | JobState::Running { .. }
            | JobState::Failed { .. }
            | JobState::Parked { .. }),
        ) => {
            found(format!("not done: {}", state.describe()));
            None
        }
        None => {
            found("it has no record".to_owned());
            None
        }
    };
    match (&stored.result, done) {
        (Some(result), Some(token)) => check_result(expected, result, token, found),
        (Some(_), None) => found("it has a result but is not done".to_owned()),
        (None, Some(_)) => found("it is done but has no result".to_owned()),
        (None, None) => {}
    }
    if let Some(why) = &stored.unreadable {
        found(format!("its result cannot be read: {why}"));
    }
    match &stored.stored {
        Some(stored) if stored == expected => {}
        Some(_) => found("the run folder's files differ from those of the run without faults".to_owned()),
        None => found("it is missing from the run folder".to_owned()),
    }
}

fn check_result(expected: &Output, result: &JobResult, token: &Token, found: &mut dyn FnMut(String)) {
    if (&result.worker, result.attempt) != (&token.owner, token.attempt) {
        let (worker, attempt) = (&result.worker, result.attempt);
        found(format!("done by {token}, but the result was written by {worker}{attempt}"));
    }
    let output = Output::from(result);
    for (is, was, before, after) in [
        (&output.probabilities, &expected.probabilities, "matrix of ", " probabilities"),
        (&output.artifacts, &expected.artifacts, "", ""),
    ] {
        let names: BTreeSet<&String> = is.keys().chain(was.keys()).collect();
        for name in names.into_iter().filter(|name| is.get(*name) != was.get(*name)) {
            found(format!("its {before}{name}{after} differs from that of the run without faults"));
        }
    }
}

fn check_move(before: &Observation, after: &Observation, found: &mut dyn FnMut(String)) {
    if after.revision <= before.revision {
        found(format!("its revision {} came after {}", after.revision, before.revision));
    }
    if after.record.attempts < before.record.attempts {
        found(format!(
            "its count of attempts went to {} after {}",
            after.record.attempts, before.record.attempts
        ));
    }
    if let JobState::Done { .. } = &before.record.state
        && after.record.state != before.record.state
    {
        let (was, is) = (before.record.state.describe(), after.record.state.describe());
        found(format!("it was {was}, then {is}"));
    }
}

/// True if the next attempt had to resume from that checkpoint, but no note about it was ever written.
fn is_silent(damage: &Damaged, observations: &[Observation]) -> bool {
    let of_job = || observations.iter().filter(|observation| observation.job == damage.job);
    let holder = |observation: &Observation| match &observation.record.state {
        JobState::Running { token, .. } => Some(token.clone()),
        JobState::Done { .. } | JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. } => None,
    };
    let since = of_job().skip_while(|observation| holder(observation).as_ref() != Some(&damage.token));
    let successor =
        since.into_iter().find(|observation| holder(observation).is_some_and(|token| token != damage.token));
    // The killed worker may have had a newer one on its disk.
    let had_to =
        successor.is_some_and(|successor| successor.record.checkpoints.last() == Some(&damage.checkpoint));
    let last = of_job().next_back();
    had_to && last.is_some_and(|last| last.record.state.is_final() && last.record.notes.is_empty())
}

#[cfg(test)]
mod tests;
