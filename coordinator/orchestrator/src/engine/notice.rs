//! What a user is told: what happened between two records of a job.

use serde::Serialize;
use shared::books::{Incident, JobRecord, JobState, Standing};
use shared::ids::{JobId, WorkerId};

/// Something worth a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Notice {
    /// A worker took the job, which continues after `epoch`.
    Started {
        job: JobId,
        worker: WorkerId,
        epoch: u32,
    },
    /// A worker took the job over from one that stopped responding.
    TakenOver {
        job: JobId,
        worker: WorkerId,
        from: WorkerId,
        epoch: u32,
    },
    Epoch {
        job: JobId,
        worker: WorkerId,
        epoch: u32,
        score: f64,
    },
    /// The holder handed the job back unharmed.
    GivenBack {
        job: JobId,
    },
    /// An attempt failed and the job will be tried again.
    Failed {
        job: JobId,
        error: String,
    },
    /// The job failed for good; `log` is the end of the last training's log.
    GivenUp {
        job: JobId,
        reason: String,
        log: Vec<String>,
    },
    /// The job was handed back because of something temporary: the server, the network or a disk.
    #[serde(rename = "set_back")]
    Deferred {
        job: JobId,
    },
    /// Different jobs failed on a worker, and no other worker has tried them yet.
    Suspected {
        worker: String,
        #[serde(rename = "charges")]
        incidents: Vec<Incident>,
    },
    /// A worker gets no more jobs.
    Drained {
        worker: String,
        reason: String,
    },
    /// The job has a result; after `stopped_after` epochs, if it ended early.
    Done {
        job: JobId,
        worker: WorkerId,
        #[serde(skip_serializing_if = "Option::is_none")]
        stopped_after: Option<u32>,
    },
    /// A request to change the sweep was answered.
    Answered {
        /// Who asked.
        by: String,
        demand: String,
        answer: String,
    },
    /// A remark of the worker, such as a damaged checkpoint.
    Note {
        job: JobId,
        note: String,
    },
}

/// What happened between two records. From a record that is seen for the first time, only the current state is told.
pub fn between(job: JobId, before: Option<&JobRecord>, after: &JobRecord) -> Vec<Notice> {
    let known = before.map_or(after.notes.len(), |before| before.notes.len().min(after.notes.len()));
    let mut notices: Vec<Notice> =
        after.notes[known..].iter().map(|note| Notice::Note { job, note: note.clone() }).collect();
    notices.extend(change(job, before, after));
    notices
}

fn change(job: JobId, before: Option<&JobRecord>, after: &JobRecord) -> Option<Notice> {
    let old = before.map(|record| &record.state);
    match &after.state {
        JobState::Running { token, progress, .. } => {
            let worker = token.owner.clone();
            match old {
                Some(JobState::Running { token: held, progress: past, .. }) if held == token => {
                    let score = progress.score.filter(|_| progress.epoch > past.epoch)?;
                    Some(Notice::Epoch { job, worker, epoch: progress.epoch, score })
                }
                Some(JobState::Running { token: held, .. }) => {
                    Some(Notice::TakenOver { job, worker, from: held.owner.clone(), epoch: progress.epoch })
                }
                Some(
                    JobState::Pending
                    | JobState::Done { .. }
                    | JobState::Failed { .. }
                    | JobState::Parked { .. },
                )
                | None => Some(Notice::Started { job, worker, epoch: progress.epoch }),
            }
        }
        JobState::Pending => match before {
            Some(past) if after.failures.len() > past.failures.len() => {
                let error = after.failures.last().map_or_else(String::new, |failure| failure.error.clone());
                Some(Notice::Failed { job, error })
            }
            Some(past) if after.deferrals > past.deferrals => Some(Notice::Deferred { job }),
            Some(past) if matches!(past.state, JobState::Running { .. }) => Some(Notice::GivenBack { job }),
            Some(_) | None => None,
        },
        JobState::Done { token, stopped_after } => {
            old.filter(|old| !old.is_final())?;
            Some(Notice::Done { job, worker: token.owner.clone(), stopped_after: *stopped_after })
        }
        JobState::Failed { reason } | JobState::Parked { reason } => {
            let log = after.failures.last().map_or_else(Vec::new, |failure| failure.log.clone());
            Some(Notice::GivenUp { job, reason: reason.clone(), log })
        }
    }
}

/// What to tell about a worker's new standing.
pub(super) fn of_standing(name: &str, standing: &Standing) -> Option<Notice> {
    let worker = name.to_owned();
    match standing {
        Standing::Trusted => None,
        Standing::Probation { incidents } => Some(Notice::Suspected { worker, incidents: incidents.clone() }),
        Standing::Drained { .. } | Standing::Unfit { .. } => {
            Some(Notice::Drained { worker, reason: standing.refusal()? })
        }
    }
}
