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
    /// The requests without an answer, when they were entered, and the jobs of their plans.
    open: BTreeMap<RequestId, (Duration, Asked)>,
    /// Jobs that are part of the sweep.
    planned: BTreeSet<JobId>,
    /// Jobs that are part of it, or not, whatever its file says.
    added: BTreeSet<JobId>,
    withdrawn: BTreeSet<JobId>,
    /// The request that last changed the plan.
    plan_changed_by: Option<RequestId>,
}

/// What a request asks for that comes with a plan.
#[derive(Debug, Clone, Default)]
enum Asked {
    #[default]
    NoPlan,
    Add(Vec<JobId>),
    Edit(Vec<JobId>),
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
        match record.changed_by.and_then(|id| self.open.get(&id)) {
            Some((_, Asked::Add(jobs))) => {
                let new: Vec<JobId> =
                    jobs.iter().copied().filter(|job| !self.planned.contains(job)).collect();
                self.withdrawn.retain(|job| !new.contains(job));
                self.added.extend(&new);
                self.planned.extend(new);
            }
            // The others are part of it until the request is answered.
            Some((_, Asked::Edit(jobs))) => {
                self.planned.extend(jobs.iter().filter(|job| !self.withdrawn.contains(job)));
            }
            Some((_, Asked::NoPlan)) | None => {}
        }
    }

    /// A request or its answer was written. `planned` are the jobs of the plan that comes with it.
    ///
    /// # Errors
    ///
    /// The request is said to be met, but the books do not show its effect.
    pub(super) fn requested(
        &mut self,
        now: Duration,
        request: &Request,
        planned: &[JobId],
    ) -> Result<Option<Ended>, String> {
        let id = request.id;
        let Some(answer) = &request.answer else {
            let asked = match &request.demand {
                Demand::Add { .. } => Asked::Add(planned.to_vec()),
                Demand::Edit { .. } => Asked::Edit(planned.to_vec()),
                Demand::Jobs { .. } | Demand::Withdraw { .. } => Asked::NoPlan,
            };
            self.open.insert(id, (now, asked));
            return Ok(None);
        };
        let (_, asked) = self.open.remove(&id).ok_or_else(|| format!("request {id} was answered twice"))?;
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
            Demand::Add { .. } | Demand::Withdraw { .. } | Demand::Edit { .. }
                if self.plan_changed_by != Some(id) =>
            {
                return Err(format!("request {id} was met, but the plan does not say so"));
            }
            Demand::Add { .. } => {}
            // Only what the sweep has can be withdrawn.
            Demand::Withdraw { jobs } => {
                self.withdrawn.extend(jobs.iter().filter(|job| self.planned.contains(job)));
                self.planned.retain(|job| !jobs.contains(job));
                self.added.retain(|job| !jobs.contains(job));
            }
            Demand::Edit { .. } => {
                let Asked::Edit(jobs) = asked else { return Err(format!("request {id} is another one")) };
                let (added, withdrawn) = (&self.added, &self.withdrawn);
                self.planned
                    .retain(|job| (jobs.contains(job) && !withdrawn.contains(job)) || added.contains(job));
            }
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
