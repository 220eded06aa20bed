//! Whether the books are in order after a play: every job done exactly once, with the result of an undisturbed run,
//! and nothing taken back on the way. Pure, so that doctored books can show that it fails.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::books::{Checkpoint, JobRecord, JobState, Token};
use shared::ids::JobId;
use shared::result::JobResult;

use super::observer::Sighting;

/// Digests of what a job has computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub validation: String,
    pub test: Option<String>,
    pub model: String,
}

impl From<&JobResult> for Output {
    fn from(result: &JobResult) -> Self {
        Self {
            validation: result.validation.probabilities.sha256.clone(),
            test: result.test.as_ref().map(|test| test.probabilities.sha256.clone()),
            model: result.model.sha256.clone(),
        }
    }
}

/// What the books hold of one job at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub record: Option<JobRecord>,
    pub result: Option<JobResult>,
    /// Why one of the result's blobs cannot be had from the store whole.
    pub damaged: Option<String>,
    /// What the run folder of the coordinator holds of it.
    pub stored: Option<Output>,
}

/// A checkpoint that was damaged, and whose damage therefore must be noticed by whoever reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    pub job: JobId,
    /// Who had written it, and is dead since.
    pub token: Token,
    pub checkpoint: Checkpoint,
}

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub job: JobId,
    pub what: String,
}

/// Looks through everything; an empty list is a clean audit. `sightings` are in the order in which they were made.
pub fn audit(
    expected: &BTreeMap<JobId, Output>,
    books: &BTreeMap<JobId, Page>,
    sightings: &[Sighting],
    damaged: &[Damaged],
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut found = |job: JobId, what: String| violations.push(Violation { job, what });
    for (&job, output) in expected {
        match books.get(&job) {
            Some(page) => check_page(output, page, &mut |what| found(job, what)),
            None => found(job, "the books do not know it".to_owned()),
        }
    }
    for &job in books.keys().filter(|job| !expected.contains_key(*job)) {
        found(job, "the sweep does not ask for it".to_owned());
    }
    let mut before: BTreeMap<JobId, &Sighting> = BTreeMap::new();
    for sighting in sightings {
        if let Some(before) = before.insert(sighting.job, sighting) {
            check_move(before, sighting, &mut |what| found(sighting.job, what));
        }
    }
    for damage in damaged.iter().filter(|damage| is_silent(damage, sightings)) {
        found(
            damage.job,
            format!("its damaged checkpoint of {} was passed over silently", damage.checkpoint),
        );
    }
    violations
}

fn check_page(expected: &Output, page: &Page, found: &mut dyn FnMut(String)) {
    let done = match page.record.as_ref().map(|record| &record.state) {
        Some(JobState::Done { token }) => Some(token),
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
    match (&page.result, done) {
        (Some(result), Some(token)) => check_result(expected, result, token, found),
        (Some(_), None) => found("it has a result without being done".to_owned()),
        (None, Some(_)) => found("done without a result".to_owned()),
        (None, None) => {}
    }
    if let Some(why) = &page.damaged {
        found(format!("its result cannot be read: {why}"));
    }
    match &page.stored {
        Some(stored) if stored == expected => {}
        Some(_) => found("the run folder holds other bits than that of the undisturbed run".to_owned()),
        None => found("the run folder does not hold it".to_owned()),
    }
}

fn check_result(expected: &Output, result: &JobResult, token: &Token, found: &mut dyn FnMut(String)) {
    if (&result.worker, result.attempt) != (&token.owner, token.attempt) {
        let (worker, attempt) = (&result.worker, result.attempt);
        found(format!("done by {token}, but its result is that of {worker}{attempt}"));
    }
    let output = Output::from(result);
    for (what, is, was) in [
        ("validation probabilities", Some(&output.validation), Some(&expected.validation)),
        ("test probabilities", output.test.as_ref(), expected.test.as_ref()),
        ("model", Some(&output.model), Some(&expected.model)),
    ] {
        if is != was {
            found(format!("its {what} differ from those of the undisturbed run"));
        }
    }
}

fn check_move(before: &Sighting, after: &Sighting, found: &mut dyn FnMut(String)) {
    if after.revision <= before.revision {
        found(format!("revision {} came after {}", after.revision, before.revision));
    }
    if after.record.attempts < before.record.attempts {
        found(format!("{} attempts after {}", after.record.attempts, before.record.attempts));
    }
    if let JobState::Done { .. } = &before.record.state
        && after.record.state != before.record.state
    {
        let (was, is) = (before.record.state.describe(), after.record.state.describe());
        found(format!("{was}, and then {is}"));
    }
}

/// True when the next attempt had to go on from that checkpoint, and neither then nor later a word was said about it.
fn is_silent(damage: &Damaged, sightings: &[Sighting]) -> bool {
    let of_job = || sightings.iter().filter(|sighting| sighting.job == damage.job);
    let holder = |sighting: &Sighting| match &sighting.record.state {
        JobState::Running { token, .. } => Some(token.clone()),
        JobState::Done { .. } | JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. } => None,
    };
    let since = of_job().skip_while(|sighting| holder(sighting).as_ref() != Some(&damage.token));
    let heir = since.into_iter().find(|sighting| holder(sighting).is_some_and(|token| token != damage.token));
    // A newer one may have come from the disk of the worker that was killed.
    let had_to = heir.is_some_and(|heir| heir.record.checkpoints.last() == Some(&damage.checkpoint));
    let last = of_job().next_back();
    had_to && last.is_some_and(|last| last.record.state.is_final() && last.record.notes.is_empty())
}

#[cfg(test)]
mod tests;
