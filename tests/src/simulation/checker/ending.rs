//! What must hold at the end of a history.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::books::{JobState, MAX_FAILURES};
use shared::ids::JobId;
use shared::protocol::{CheckpointEvery, Steering, Wish};
use shared::result::JobResult;

use super::{ANSWERED_BY, Checker, Verdict, require};
use crate::simulation::history::{Kind, Script};
use crate::simulation::trainer::{DEVICE_FAILURE, FAILURE, STEPS};

/// An epoch shorter than this takes less time than to store a checkpoint.
const QUICK: Duration = Duration::from_millis(100);

impl Checker {
    /// Checks that every job ended as it should, and that the run folder has exactly the accepted results.
    pub(in crate::simulation) fn end(&mut self, now: Duration, stored: &BTreeMap<JobId, JobResult>) {
        if let Some(request) = self.requested.unanswered(now.saturating_sub(ANSWERED_BY)) {
            self.violate(now, &format!("request {request} has no answer"));
        }
        let jobs: Vec<JobId> = self.expected.keys().copied().collect();
        for job in jobs.into_iter().filter(|job| self.requested.is_planned(*job)).collect::<Vec<_>>() {
            if let Err(broken) = self.job_ended(job, stored.get(&job)) {
                self.violate(now, &broken);
            }
        }
    }

    fn job_ended(&self, job: JobId, stored: Option<&JobResult>) -> Verdict {
        let expected = &self.expected[&job];
        let seen = self.seen.get(&job).ok_or_else(|| format!("{job} was never stored"))?;
        let (_, record) = seen.record.as_ref().ok_or_else(|| format!("{job} has no record"))?;
        let fails = expected.script.failures as usize >= MAX_FAILURES;
        let now = self.requested.now(job);
        let right = match &record.state {
            // Its worker may have finished it before it saw the request, and after the sweep ended.
            JobState::Done { .. } if now.wish == Wish::Cancel => {
                stored.is_none() || stored == seen.result.as_ref()
            }
            JobState::Done { stopped_after, .. } => {
                let enough = stopped_after.is_none_or(|epochs| now.ends_after(epochs));
                let fails = fails && stopped_after.is_none();
                !fails && enough && seen.result.is_some() && stored == seen.result.as_ref()
            }
            JobState::Failed { reason } => {
                let known = reason.ends_with(FAILURE) || reason.ends_with(DEVICE_FAILURE);
                fails && known && seen.result.is_none() && stored.is_none()
            }
            JobState::Parked { .. } => {
                expected.script.failures > 0 && seen.result.is_none() && stored.is_none()
            }
            // A worker that the coordinator did not see yet may still hold a cancelled job: it will stop.
            JobState::Pending | JobState::Running { .. } => now.wish == Wish::Cancel,
        };
        require(right, || {
            format!("{job} ended as {}, stored: {}", record.state.describe(), stored.is_some())
        })?;
        if self.kind == Kind::Everything {
            return Ok(());
        }
        if self.kind == Kind::BadWorker && self.good > self.drained.len() + 1 {
            // With another good worker present that was never drained, no worker ever tries a job three times.
            let lone = matches!(record.state, JobState::Failed { .. });
            require(!lone, || format!("{job} was given up, though a second worker could have tried it"))?;
        }
        // If only processes died, each new attempt costs at most the work since the last checkpoint.
        let Script { epoch, epochs, .. } = expected.script;
        let distance = self.distance(expected.script, now == Steering::default());
        let most = epoch * epochs * (1 + seen.anew) + distance * record.attempts.saturating_sub(1);
        let spent = self.training_log.of(expected.spec.seed).time;
        require(spent <= most, || format!("{job}: {spent:?} of training, at most {most:?} were needed"))
    }

    /// The longest training time between two stored checkpoints. Here, every epoch is shorter than a minute. A quick
    /// training may have ended before its first checkpoint is stored.
    fn distance(&self, Script { epoch, epochs, .. }: Script, as_planned: bool) -> Duration {
        if epoch < QUICK {
            return epoch * epochs;
        }
        match self.checkpoint_every {
            _ if !as_planned => epoch, // A request may ask for fewer checkpoints.
            CheckpointEvery::Steps(steps) => epoch / STEPS * steps.get().min(STEPS),
            CheckpointEvery::Epoch | CheckpointEvery::Minutes(_) => epoch,
        }
    }
}
