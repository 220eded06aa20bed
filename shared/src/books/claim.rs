//! Whether a worker may take a job, and what happens to a job whose worker died. Pure: the record and its age decide.

use std::time::Duration;

use super::{Beginning, Fenced, History, JobRecord, JobState, MAX_LOSSES, Move, Progress, Token};
use crate::ids::{Attempt, WorkerId};

/// What a worker should do with a job that the queue handed out.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// Swap the record for this one; on success the token holds the job.
    Take { token: Token, record: JobRecord },
    /// Another worker holds it and is alive: hand the message back for this long.
    Wait(Duration),
    /// The job has ended: remove the message from the queue.
    Finished,
    /// Too many workers died training it: swap the record for this one and remove the message.
    GiveUp(JobRecord),
}

impl JobRecord {
    /// Decides on a claim by `me`. `age` is the time since the record was last written, by the server's clock. A holder
    /// that has been silent for `lease` is taken for dead. If that is wrong, the fencing token still protects the job.
    pub fn claim(&self, me: &WorkerId, age: Duration, lease: Duration) -> Claim {
        let lost = |by: &Token| self.clone().moved(by.attempt, Move::Lost { silent: Some(age.as_secs()) });
        match &self.state {
            JobState::Pending => self.take(me, self.losses),
            JobState::Running { token, .. } if &token.owner == me => self.take(me, self.losses),
            JobState::Running { .. } if age < lease => Claim::Wait(lease.saturating_sub(age)),
            JobState::Running { token, .. } if self.is_last_loss() => {
                Claim::GiveUp(lost(token).given_up(token))
            }
            JobState::Running { token, .. } => lost(token).take(me, self.losses + 1),
            JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => Claim::Finished,
        }
    }

    /// A record just claimed, of a job that is trained anew: nothing of what attempts up to `after` did is wanted.
    #[must_use]
    pub fn taken_anew(self, after: u32) -> Self {
        if self.anew_after >= after {
            return self;
        }
        let earlier = self.attempts.saturating_sub(1);
        let (retried_after, anew_after) = (earlier, earlier.max(after));
        let state = match self.state {
            JobState::Running { token, beat, .. } => {
                JobState::Running { token, beat, progress: Progress::default() }
            }
            other @ (JobState::Pending
            | JobState::Done { .. }
            | JobState::Failed { .. }
            | JobState::Parked { .. }) => other,
        };
        let (checkpoints, history, journal) = (Vec::new(), History::default(), self.journal.beginning_anew());
        Self { state, checkpoints, history, journal, saved_score: None, retried_after, anew_after, ..self }
            .with_note("trained anew on request".to_owned())
    }

    /// The holder is known to be dead: the job goes back without waiting for the lease, and the loss is counted.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn lost(&self, by: &Token) -> Result<Self, Fenced> {
        self.held(by)?;
        let next = self.clone().moved(by.attempt, Move::Lost { silent: None });
        if self.is_last_loss() {
            return Ok(next.given_up(by));
        }
        Ok(Self { state: JobState::Pending, losses: self.losses + 1, ..next })
    }

    fn is_last_loss(&self) -> bool {
        self.losses.saturating_add(1) >= MAX_LOSSES
    }

    fn take(&self, me: &WorkerId, losses: u32) -> Claim {
        // A damaged record must not crash this program.
        let attempts = self.attempts.saturating_add(1);
        let token = Token { attempt: Attempt(attempts), owner: me.clone() };
        let progress = Progress { epoch: self.saved_epochs(), ..Progress::default() };
        let state = JobState::Running { token: token.clone(), beat: 0, progress };
        let from = self.checkpoints.last().map(|checkpoint| Box::new(Beginning::from(checkpoint)));
        let claimed = Move::Claimed { worker: me.name().to_owned(), from };
        let record = Self { state, attempts, losses, ..self.clone() }.moved(token.attempt, claimed);
        Claim::Take { token, record }
    }

    fn given_up(&self, last: &Token) -> Self {
        let reason = format!(
            "{MAX_LOSSES} times in a row the worker died while training it, last {last}: perhaps the machine ran out of \
             memory; see that worker's log, then run the sweep again to retry"
        );
        Self { state: JobState::Failed { reason }, losses: self.losses.saturating_add(1), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{running, token};
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn decide(record: &JobRecord, age_seconds: u64) -> Claim {
        record.claim(&token(0, "me").owner, Duration::from_secs(age_seconds), LEASE)
    }

    #[test]
    fn a_pending_job_is_taken_with_the_next_attempt() {
        let record = JobRecord { attempts: 4, ..JobRecord::pending() };
        let Claim::Take { token, record } = decide(&record, 0) else { panic!("not taken") };
        assert_eq!((token.attempt, record.attempts, record.losses), (Attempt(5), 5, 0));
        assert!(record.beat(&token).is_ok());
    }

    #[test]
    fn a_live_owner_is_left_alone_and_a_silent_one_is_not() {
        let record = running(&token(1, "other"));
        assert_eq!(decide(&record, 6), Claim::Wait(Duration::from_secs(9)));
        let Claim::Take { token, record } = decide(&record, 15) else { panic!("not taken") };
        assert_eq!((token.attempt, record.losses), (Attempt(2), 1));
    }

    #[test]
    fn a_job_that_kills_its_workers_is_given_up() {
        let record = JobRecord { losses: MAX_LOSSES - 1, ..running(&token(5, "other")) };
        let Claim::GiveUp(given_up) = decide(&record, 60) else { panic!("not given up") };
        assert!(given_up.state.is_final());
        assert_eq!(decide(&given_up, 60), Claim::Finished);
    }

    /// Case 23: workers that crash and hand back their job after each restart do not go on for ever.
    #[test]
    fn a_worker_that_is_known_to_be_dead_is_a_loss_without_a_wait() {
        let mut record = JobRecord::pending();
        for n in 1..=MAX_LOSSES {
            let by = token(n, "me");
            let held = JobRecord { losses: record.losses, ..running(&by) };
            assert!(held.lost(&token(n, "other")).is_err());
            record = held.lost(&by).unwrap();
            assert_eq!((record.losses, record.state.is_final()), (n, n == MAX_LOSSES));
        }
        assert!(record.state.failure().unwrap().contains("out of memory"), "{:?}", record.state);
    }

    #[test]
    fn counts_at_their_end_end_nothing() {
        let most = JobRecord { attempts: u32::MAX, losses: u32::MAX, ..running(&token(u32::MAX, "other")) };
        assert!(matches!(decide(&most, 60), Claim::GiveUp(_)));
        let pending = JobRecord { attempts: u32::MAX, ..JobRecord::pending() };
        let Claim::Take { token, record } = decide(&pending, 0) else { panic!("not taken") };
        let JobState::Running { progress, .. } = record.state.clone() else { panic!("not running") };
        let tired = JobRecord {
            state: JobState::Running { token: token.clone(), beat: u64::MAX, progress },
            ..record
        };
        assert!(tired.beat(&token).is_ok() && tired.noted(&token, String::new()).is_ok());
    }

    #[test]
    fn a_finished_job_is_finished() {
        let owner = token(1, "other");
        assert_eq!(decide(&running(&owner).done(&owner, None).unwrap(), 60), Claim::Finished);
    }
}
