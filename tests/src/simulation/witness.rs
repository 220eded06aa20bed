//! Somebody who follows the events of a sweep, and checks that none is missing and none is told twice.

use std::collections::{BTreeMap, BTreeSet};

use orchestrator::events::{EventKind, SweepEvent};
use shared::books::{JobRecord, JobState};
use shared::ids::{Attempt, JobId, RequestId};
use shared::result::JobResult;

/// What was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    reports: BTreeSet<(JobId, Attempt, (u32, u32))>,
    /// Lines of the newest attempt's log.
    lines: BTreeMap<(JobId, Attempt), u64>,
    answered: BTreeSet<RequestId>,
    /// The last state of each job that was told.
    ends: BTreeMap<JobId, End>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Open,
    Done,
    /// With the reason: after failures were taken back, it may be given up again, for another one.
    GivenUp(String),
}

impl Heard {
    /// What is wrong with an event, after those before it.
    pub(super) fn saw(&mut self, event: &SweepEvent) -> Result<(), String> {
        let twice = |what: &str| Err(format!("{what} twice: {event:?}"));
        match &event.kind {
            EventKind::Reported { job, attempt, epoch, step, .. } => {
                if !self.reports.insert((*job, *attempt, (*epoch, *step))) {
                    return twice("a report was told");
                }
            }
            EventKind::Logged { job, attempt, line, lines } => {
                let known = self.lines.entry((*job, *attempt)).or_default();
                if *line < *known {
                    return twice("a line was told");
                }
                *known = line + lines.len() as u64;
            }
            EventKind::Done { job, .. } => {
                if self.ends.insert(*job, End::Done) == Some(End::Done) {
                    return twice("a job was done");
                }
            }
            EventKind::GivenUp { job, reason, .. } => {
                let end = End::GivenUp(reason.clone());
                if self.ends.insert(*job, end.clone()) == Some(end) {
                    return twice("a job was given up");
                }
            }
            EventKind::Started { job, .. }
            | EventKind::TakenOver { job, .. }
            | EventKind::GivenBack { job }
            | EventKind::Failed { job, .. }
            | EventKind::Deferred { job } => drop(self.ends.insert(*job, End::Open)),
            EventKind::Answered { request, .. } => {
                if !self.answered.insert(*request) {
                    return twice("an answer was told");
                }
            }
            EventKind::Note { job, note } if note.contains("on request") => {
                self.ends.insert(*job, End::Open);
            }
            EventKind::Note { .. }
            | EventKind::Suspected { .. }
            | EventKind::Drained { .. }
            | EventKind::Trusted { .. }
            | EventKind::Asked { .. }
            | EventKind::Planned { .. }
            | EventKind::EnsembleReady { .. }
            | EventKind::EnsembleScored { .. } => {}
        }
        Ok(())
    }

    /// What was not told of a job, given what the books say in the end.
    pub(super) fn misses(
        &self,
        job: JobId,
        record: &JobRecord,
        result: Option<&JobResult>,
    ) -> Option<String> {
        let end = self.ends.get(&job);
        match &record.state {
            JobState::Done { .. } if end != Some(&End::Done) => {
                return Some(format!("{job} is done: {end:?}"));
            }
            JobState::Failed { .. } | JobState::Parked { .. } if !matches!(end, Some(End::GivenUp(_))) => {
                return Some(format!("{job} was given up: {end:?}"));
            }
            JobState::Pending
            | JobState::Running { .. }
            | JobState::Done { .. }
            | JobState::Failed { .. }
            | JobState::Parked { .. } => {}
        }
        let told = |place: (u32, u32)| self.reports.iter().any(|(of, _, at)| *of == job && *at == place);
        let points =
            result.filter(|_| matches!(record.state, JobState::Done { .. })).map(|result| &result.history);
        let missing = points.into_iter().flatten().find(|point| !told(point.place()));
        missing.map(|point| format!("{job} has a report of {:?} that was not told", point.place()))
    }
}
