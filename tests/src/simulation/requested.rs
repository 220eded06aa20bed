//! What was requested of a sweep while it ran, as the books show it, and what may follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::ids::{JobId, RequestId};
use shared::protocol::{Answer, Demand, JobOrder, Request, Steering, SweepRecord, Wish};

/// The requests of one history, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Requested {
    /// What the order of each job has said so far, oldest first.
    steerings: BTreeMap<JobId, Vec<(Duration, Steering)>>,
    /// The requests without an answer, when they were entered, and the jobs that they ask to be added.
    open: BTreeMap<RequestId, (Duration, Vec<JobId>)>,
    /// Jobs that are part of the sweep.
    planned: BTreeSet<JobId>,
    /// The request that last changed the plan.
    plan_changed_by: Option<RequestId>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Met,
    Refused,
    Superseded,
}

impl Requested {
    pub(super) fn of_plan(jobs: impl IntoIterator<Item = JobId>) -> Self {
        Self { planned: jobs.into_iter().collect(), ..Self::default() }
    }

    /// An order was written.
    pub(super) fn ordered(&mut self, now: Duration, order: &JobOrder) {
        self.steerings.entry(order.job).or_default().push((now, order.execution.steering));
    }

    /// The entry of the sweep was written.
    pub(super) fn planned(&mut self, record: &SweepRecord) {
        self.plan_changed_by = record.changed_by;
        let added = record.changed_by.and_then(|id| self.open.get(&id));
        self.planned.extend(added.into_iter().flat_map(|(_, jobs)| jobs));
    }

    /// A request or its answer was written. `added` are the jobs of a plan to be added.
    ///
    /// # Errors
    ///
    /// The request is said to be met, but the books do not show its effect.
    pub(super) fn requested(
        &mut self,
        now: Duration,
        request: &Request,
        added: &[JobId],
    ) -> Result<Option<Ended>, String> {
        let id = request.id;
        let Some(answer) = &request.answer else {
            self.open.insert(id, (now, added.to_vec()));
            return Ok(None);
        };
        self.open.remove(&id).ok_or_else(|| format!("request {id} was answered twice"))?;
        let remarks = match answer {
            Answer::Done { remarks } => remarks,
            Answer::Refused { .. } => return Ok(Some(Ended::Refused)),
            Answer::Superseded { .. } => return Ok(Some(Ended::Superseded)),
        };
        let remark = |job: &JobId| remarks.iter().any(|remark| remark.contains(&job.short()));
        match &request.demand {
            Demand::Jobs { jobs, .. } => {
                let shows = |job: &JobId| self.now(*job).changed_by == Some(id);
                let lost = jobs.iter().find(|job| !remark(job) && !shows(job));
                lost.map_or(Ok(()), |job| Err(format!("request {id} was met, but not for {job}")))?;
            }
            Demand::Add { .. } | Demand::Withdraw { .. } if self.plan_changed_by != Some(id) => {
                return Err(format!("request {id} was met, but the plan does not say so"));
            }
            Demand::Add { .. } => {}
            Demand::Withdraw { jobs } => self.planned.retain(|job| !jobs.contains(job)),
        }
        Ok(Some(Ended::Met))
    }

    /// What the order of a job says now.
    pub(super) fn now(&self, job: JobId) -> Steering {
        self.steerings.get(&job).and_then(|all| all.last()).map(|(_, now)| *now).unwrap_or_default()
    }

    /// Whether the job is part of the sweep.
    pub(super) fn is_planned(&self, job: JobId) -> bool {
        self.planned.contains(&job)
    }

    /// Since when nobody should work on the job.
    pub(super) fn unwanted_since(&self, job: JobId) -> Option<Duration> {
        let all = self.steerings.get(&job)?;
        let unwanted = all.iter().rev().take_while(|(_, steering)| steering.wish != Wish::Train);
        unwanted.last().map(|(since, _)| *since)
    }

    /// Whether the job was ever to end early after so many epochs.
    pub(super) fn may_end_after(&self, job: JobId, epochs: u32) -> bool {
        self.any(job, |steering| steering.ends_after(epochs))
    }

    /// Whether the job, which ended early after so many epochs, was ever to go on.
    pub(super) fn may_go_on(&self, job: JobId, epochs: u32) -> bool {
        self.any(job, |steering| !steering.ends_after(epochs))
    }

    /// Whether the job was ever to be trained anew, after more than `after` attempts.
    pub(super) fn may_begin_anew(&self, job: JobId, after: u32) -> bool {
        self.any(job, |steering| steering.anew_after > after)
    }

    fn any(&self, job: JobId, holds: impl Fn(&Steering) -> bool) -> bool {
        self.steerings.get(&job).into_iter().flatten().any(|(_, steering)| holds(steering))
    }

    /// Jobs of the sweep that are paused.
    pub(super) fn paused(&self) -> Vec<JobId> {
        self.planned.iter().copied().filter(|job| self.now(*job).wish == Wish::Pause).collect()
    }

    /// A request that was entered before `then` and has no answer.
    pub(super) fn unanswered(&self, then: Duration) -> Option<RequestId> {
        self.open.iter().find(|(_, (at, _))| *at < then).map(|(id, _)| *id)
    }

    pub(super) fn are_open(&self) -> bool {
        !self.open.is_empty()
    }
}
