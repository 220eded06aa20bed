//! The story as the books of a server tell it.

use std::collections::{BTreeMap, BTreeSet};

use shared::books::{JobRecord, JobState, Move, Moved, Standing, WorkerRecord};
use shared::device::DeviceRecord;
use shared::ids::{Attempt, JobId};
use shared::protocol::{Presence, Request, Wish};
use shared::result::JobResult;

use super::{Against, Kept, Outcome, Source, Story, Told, What, begun, score, warnings};
use crate::sweep::plan::{Plan, PlannedJob};
use crate::view::labels::Labels;

/// What the books say of a job. Times are the server's, in seconds since the Unix epoch.
#[derive(Debug)]
pub struct InBooks<'a> {
    pub record: &'a JobRecord,
    /// When the record was last written.
    pub written: Option<u64>,
    /// When the job was entered.
    pub ordered: Option<u64>,
    /// What is wanted of it.
    pub wish: Wish,
    pub result: Option<&'a JobResult>,
    /// Requests about it, with the time of its answer, or of the request itself if it has none.
    pub requests: &'a [(Option<u64>, Request)],
    pub standings: &'a [WorkerRecord],
    pub present: &'a [Presence],
}

impl Story {
    /// The story of a job of `plan`.
    pub fn of_books(plan: &Plan, job: &PlannedJob, known: &InBooks<'_>) -> Self {
        let InBooks { record, result, .. } = known;
        let mut story = begun(plan, job, Source::Server, outcome(plan, job, known));
        story.events = events(job.id, known);
        let claims = record.journal.moves.iter().filter(|moved| matches!(moved.what, Move::Claimed { .. }));
        story.untold = record.attempts.saturating_sub(u32::try_from(claims.count()).unwrap_or(u32::MAX));
        story.checkpoints = record
            .checkpoints
            .iter()
            .map(|kept| Kept {
                epoch: kept.epoch,
                step: kept.step,
                bytes: kept.blob.size,
                origin: kept.origin,
            })
            .collect();
        story.incidents = known.standings.iter().flat_map(|worker| against(worker, job.id)).collect();
        story.notes.clone_from(&record.notes);
        story.warnings = result.map_or_else(Vec::new, |result| warnings(plan, job, result));
        story
    }
}

fn outcome(plan: &Plan, job: &PlannedJob, known: &InBooks<'_>) -> Outcome {
    let InBooks { record, written, wish, result, .. } = known;
    let epoch = record.saved_epochs();
    match &record.state {
        JobState::Pending => match wish {
            Wish::Train => Outcome::Pending { epoch },
            Wish::Pause => Outcome::Paused { epoch },
            Wish::Cancel => Outcome::Cancelled { epoch },
        },
        JobState::Running { token, progress, .. } => Outcome::Running {
            worker: token.owner.name().to_owned(),
            attempt: token.attempt,
            epoch: progress.epoch,
            heard: *written,
        },
        JobState::Done { token, stopped_after } => Outcome::Done {
            worker: token.owner.name().to_owned(),
            attempt: token.attempt,
            stopped_after: *stopped_after,
            result: result.map(|result| score(plan, result)),
        },
        JobState::Failed { reason } | JobState::Parked { reason } => Outcome::Failed {
            reason: reason.clone(),
            log: record.failures.last().map_or_else(Vec::new, |last| last.log.clone()),
            reproduce: Labels::of(plan).reproduce(job.id),
        },
    }
}

/// Everything that has a time, in its order. The moves stay in the order in which they were made, whatever the server's
/// clock said.
fn events(job: JobId, known: &InBooks<'_>) -> Vec<Told> {
    let moves = &known.record.journal.moves;
    let mut workers: BTreeMap<Attempt, &str> = BTreeMap::new();
    let (mut told, mut latest) = (Vec::new(), 0);
    told.extend(known.ordered.map(|at| (at, Told { at: Some(at), what: What::Ordered })));
    for Moved { at, attempt, what } in moves {
        let (worker, device) = match what {
            Move::Claimed { worker, .. } => {
                workers.insert(*attempt, worker);
                (None, device(known, *attempt))
            }
            Move::Done { .. }
            | Move::Failed { .. }
            | Move::Lost { .. }
            | Move::Released { .. }
            | Move::Deferred { .. }
            | Move::Dropped => (workers.get(attempt).map(|&worker| worker.to_owned()), None),
            Move::Excused { .. } | Move::Reopened | Move::TrainedAnew | Move::GoneOn | Move::Unknown => {
                (None, None)
            }
        };
        latest = at.unwrap_or(latest).max(latest);
        let what = What::Moved { attempt: *attempt, worker, device, what: what.clone() };
        told.push((latest, Told { at: *at, what }));
    }
    for (at, request) in known.requests.iter().filter(|(_, request)| request.demand.is_about(job)) {
        let what = What::Asked {
            by: request.by.clone(),
            demand: request.demand.to_string(),
            answer: request.answer.as_ref().map(ToString::to_string),
        };
        told.push((at.unwrap_or(u64::MAX), Told { at: *at, what }));
    }
    // Stable, so what has the same time keeps its order.
    told.sort_by_key(|(at, _)| *at);
    told.into_iter().map(|(_, told)| told).collect()
}

/// The device of an attempt: the result names it, and the worker that holds the job now. Of another attempt it is not known,
/// because a worker on another machine may have the same name today.
fn device(known: &InBooks<'_>, attempt: Attempt) -> Option<String> {
    let of_result = known.result.filter(|result| result.attempt == attempt);
    let of_result = of_result.map(|result| in_brief(&result.device));
    let holder = match &known.record.state {
        JobState::Running { token, .. } if token.attempt == attempt => Some(&token.owner),
        JobState::Running { .. }
        | JobState::Pending
        | JobState::Done { .. }
        | JobState::Failed { .. }
        | JobState::Parked { .. } => None,
    };
    let present = || known.present.iter().find(|present| Some(&present.worker) == holder);
    of_result.or_else(|| present().map(|present| format!("{} on {}", present.device, present.host)))
}

pub(super) fn in_brief(DeviceRecord { device, model, host, .. }: &DeviceRecord) -> String {
    format!("{device} ({model}) on {host}")
}

/// What counts against a worker because of this job.
fn against(worker: &WorkerRecord, job: JobId) -> Vec<Against> {
    let (standing, incidents) = match &worker.standing {
        Standing::Trusted | Standing::Unfit { .. } => return Vec::new(),
        Standing::Probation { incidents } => ("on probation", incidents),
        Standing::Drained { incidents } => ("drained", incidents),
    };
    // The same job may have failed on it several times.
    let mut seen = BTreeSet::new();
    incidents
        .iter()
        .filter(|incident| incident.job == job && seen.insert(incident.to_string()))
        .map(|incident| Against { worker: worker.name.clone(), standing, kind: incident.kind.clone() })
        .collect()
}
