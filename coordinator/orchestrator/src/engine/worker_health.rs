//! Tells bad jobs, which fail on every worker, from bad workers, on which jobs fail that get further elsewhere. Pure.
//!
//! A failure is an incident of the worker on which it happened. The incident is withdrawn when the job fails for good,
//! and so elsewhere as well. It is confirmed when the job gets further on another worker. When a worker finishes a job,
//! all its incidents are dropped. Two open incidents put a worker on probation; two confirmed ones drain it. A worker
//! that vanishes before its first checkpoint also has an incident, but it takes three such deaths: a machine that is
//! sometimes switched off is not a bad worker. A death is one incident, however many short jobs it had claimed.

use std::collections::{BTreeMap, BTreeSet};

use shared::books::{Incident, IncidentKind, JobRecord, JobState, Standing, Token, WorkerRecord};
use shared::ids::{Attempt, JobId};

/// How many different failed jobs put a worker on probation, and drain it once they got further elsewhere.
const FAILED_JOBS: usize = 2;
/// The same for incidents of any kind, including deaths of the worker.
const ANY_INCIDENTS: usize = 3;

/// The incidents against the workers, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WorkerHealth {
    histories: BTreeMap<String, WorkerHistory>,
}

#[derive(Debug, Clone, PartialEq)]
struct WorkerHistory {
    standing: Standing,
    /// The standing in the books.
    written: Standing,
    /// Revision of the last job that it finished, or at which a user trusted it again. Earlier failures do not count.
    finished: u64,
    /// The last attempt here that got as far as a checkpoint.
    advanced: Option<(JobId, Attempt)>,
    incidents: BTreeMap<JobId, Suspicion>,
}

#[derive(Debug, Clone, PartialEq)]
struct Suspicion {
    kind: IncidentKind,
    /// The attempt that the worker failed or lost.
    token: Token,
    /// The epochs that the job had finished here.
    epoch: u32,
    confirmed: bool,
}

impl Default for WorkerHistory {
    fn default() -> Self {
        let standing = Standing::Trusted;
        Self { written: standing.clone(), standing, finished: 0, advanced: None, incidents: BTreeMap::new() }
    }
}

impl WorkerHealth {
    /// Handles the change of a job's record; returns the workers whose standing changed with it.
    pub fn record_changed(
        &mut self,
        job: JobId,
        revision: u64,
        before: Option<&JobRecord>,
        after: &JobRecord,
    ) -> Vec<(String, Standing)> {
        self.add_failures(job, after);
        self.add_loss(job, before, after);
        match &after.state {
            JobState::Running { token, progress, .. } if progress.score.is_some() => {
                self.history(token).advance(job, token);
                self.confirm(job, token, progress.epoch);
            }
            JobState::Running { token, .. } if got_further(before, token, after) => {
                self.history(token).advance(job, token);
            }
            JobState::Pending | JobState::Running { .. } => {}
            JobState::Done { token, stopped_after } => {
                let history = self.history(token);
                history.finished = history.finished.max(revision);
                history.incidents.clear();
                // A job that ended early may have ended before the epoch in which it fails everywhere.
                self.confirm(job, token, stopped_after.unwrap_or(u32::MAX));
            }
            JobState::Failed { .. } | JobState::Parked { .. } => self.withdraw(job),
        }
        self.update_standings()
    }

    /// Handles what the books say about a worker. A worker that takes itself out is believed, and so is a user who trusts
    /// one again.
    pub fn standing_changed(
        &mut self,
        revision: u64,
        WorkerRecord { name, standing, by, .. }: &WorkerRecord,
    ) {
        let history = self.histories.entry(name.clone()).or_default();
        history.written = standing.clone();
        if by.is_some() && *standing == Standing::Trusted {
            history.standing = Standing::Trusted;
            history.finished = history.finished.max(revision);
            history.incidents.clear();
        }
        match standing {
            Standing::Unfit { .. } | Standing::Drained { .. } => history.standing = standing.clone(),
            // The worker says that it is fit again. The incidents from its jobs are judged here.
            Standing::Trusted if matches!(history.standing, Standing::Unfit { .. }) => {
                history.standing = Standing::Trusted;
            }
            Standing::Trusted | Standing::Probation { .. } => {}
        }
    }

    /// Workers that get no more jobs.
    pub fn out(&self) -> BTreeSet<String> {
        let out = self.histories.iter().filter(|(_, history)| history.standing.refusal().is_some());
        out.map(|(name, _)| name.clone()).collect()
    }

    /// Standings that the books do not show yet.
    pub fn unwritten(&self) -> Vec<(String, Standing)> {
        let unwritten = self.histories.iter().filter(|(_, history)| history.written != history.standing);
        unwritten.map(|(name, history)| (name.clone(), history.standing.clone())).collect()
    }

    fn history(&mut self, token: &Token) -> &mut WorkerHistory {
        self.histories.entry(token.owner.name().to_owned()).or_default()
    }

    fn add_failures(&mut self, job: JobId, record: &JobRecord) {
        for failure in &record.failures {
            let history = self.history(&failure.token);
            if failure.mark > history.finished {
                let kind = IncidentKind::Failed { error: failure.error.clone() };
                history.add(job, kind, &failure.token, record.saved_epochs());
            }
        }
    }

    /// The job's worker stopped responding before it stored a checkpoint.
    fn add_loss(&mut self, job: JobId, before: Option<&JobRecord>, after: &JobRecord) {
        let Some(JobRecord { state: JobState::Running { token, .. }, .. }) = before else { return };
        let taken_over = matches!(&after.state, JobState::Running { token: now, .. } if now != token);
        let given_up = matches!(after.state, JobState::Failed { .. }) && after.losses > 0;
        let lost = taken_over || (given_up && after.failures.is_empty());
        let history = self.history(token);
        if lost && history.advanced != Some((job, token.attempt)) && !history.is_known_dead(token) {
            history.add(job, IncidentKind::Lost, token, after.saved_epochs());
        }
    }

    /// `job` got past `epoch` on the worker of `token`, so a worker that failed it before is the cause.
    fn confirm(&mut self, job: JobId, token: &Token, epoch: u32) {
        let others = self.histories.iter_mut().filter(|(name, _)| *name != token.owner.name());
        for (_, history) in others {
            if let Some(suspicion) = history.incidents.get_mut(&job) {
                suspicion.confirmed |= epoch > suspicion.epoch;
            }
        }
    }

    fn withdraw(&mut self, job: JobId) {
        for history in self.histories.values_mut() {
            history.incidents.remove(&job);
        }
    }

    fn update_standings(&mut self) -> Vec<(String, Standing)> {
        let mut changed = Vec::new();
        for (name, history) in &mut self.histories {
            let standing = history.current_standing();
            if standing != history.standing {
                history.standing = standing.clone();
                changed.push((name.clone(), standing));
            }
        }
        changed
    }
}

impl WorkerHistory {
    fn add(&mut self, job: JobId, kind: IncidentKind, token: &Token, epoch: u32) {
        let suspicion = Suspicion { kind, token: token.clone(), epoch, confirmed: false };
        self.incidents.entry(job).or_insert(suspicion);
    }

    /// True if the death of this process is an incident already.
    fn is_known_dead(&self, token: &Token) -> bool {
        let lost = |suspicion: &Suspicion| matches!(suspicion.kind, IncidentKind::Lost);
        self.incidents.values().any(|suspicion| lost(suspicion) && suspicion.token.owner == token.owner)
    }

    /// The worker stored a checkpoint, so it does not die right after it takes a job.
    fn advance(&mut self, job: JobId, token: &Token) {
        self.advanced = Some((job, token.attempt));
        self.incidents.retain(|_, suspicion| !matches!(suspicion.kind, IncidentKind::Lost));
    }

    fn current_standing(&self) -> Standing {
        match &self.standing {
            Standing::Drained { .. } | Standing::Unfit { .. } => return self.standing.clone(),
            Standing::Trusted | Standing::Probation { .. } => {}
        }
        let incidents = |confirmed_only: bool| -> Vec<Incident> {
            let counted =
                self.incidents.iter().filter(|(_, suspicion)| suspicion.confirmed || !confirmed_only);
            counted.map(|(&job, suspicion)| Incident { job, kind: suspicion.kind.clone() }).collect()
        };
        let (all, confirmed) = (incidents(false), incidents(true));
        if is_enough(&confirmed) {
            Standing::Drained { incidents: confirmed }
        } else if is_enough(&all) {
            Standing::Probation { incidents: all }
        } else {
            Standing::Trusted
        }
    }
}

/// True if the holder has stored a checkpoint.
fn got_further(before: Option<&JobRecord>, by: &Token, after: &JobRecord) -> bool {
    let Some(JobRecord { state: JobState::Running { token, .. }, checkpoints, .. }) = before else {
        return false;
    };
    token == by && checkpoints.last() != after.checkpoints.last()
}

fn is_enough(incidents: &[Incident]) -> bool {
    let failed =
        incidents.iter().filter(|incident| matches!(incident.kind, IncidentKind::Failed { .. })).count();
    failed >= FAILED_JOBS || incidents.len() >= ANY_INCIDENTS
}

#[cfg(test)]
mod tests;
