//! Tells bad jobs, which fail wherever they are tried, from bad workers, on which jobs fail that go further elsewhere. Pure.
//!
//! A failure is charged to the worker that it happened on. The charge is *dismissed* when the job fails for good, that is
//! elsewhere as well, and *proven* when the job gets further on another worker. A worker that finishes a job has all its
//! charges dropped. Two open charges put a worker on probation; two proven ones drain it. Workers that vanish before
//! their first checkpoint are charged too, but it takes three such jobs: a machine that is switched off now and then is
//! not a bad worker.

use std::collections::{BTreeMap, BTreeSet};

use shared::books::{Charge, JobRecord, JobState, Offence, Standing, Token};
use shared::ids::{Attempt, JobId};

/// Different failed jobs that put a worker on probation, and that drain it once they got further elsewhere.
const FAILED_JOBS: usize = 2;
/// The same for charges of any kind, including jobs whose worker stopped responding.
const LOST_JOBS: usize = 3;

/// The charges against the workers, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Blame {
    accounts: BTreeMap<String, Account>,
}

#[derive(Debug, Clone, PartialEq)]
struct Account {
    standing: Standing,
    /// What the books last said.
    booked: Standing,
    /// Revision of the last job that it finished: failures before that do not count.
    finished: u64,
    /// The last attempt here that got as far as a checkpoint.
    advanced: Option<(JobId, Attempt)>,
    charges: BTreeMap<JobId, Evidence>,
}

#[derive(Debug, Clone, PartialEq)]
struct Evidence {
    offence: Offence,
    /// Finished epochs that the job had here.
    epoch: u32,
    proven: bool,
}

impl Default for Account {
    fn default() -> Self {
        let standing = Standing::Trusted;
        Self { booked: standing.clone(), standing, finished: 0, advanced: None, charges: BTreeMap::new() }
    }
}

impl Blame {
    /// Takes in that a job's record moved; returns the workers whose standing changed with it.
    pub fn moved(
        &mut self,
        job: JobId,
        revision: u64,
        before: Option<&JobRecord>,
        after: &JobRecord,
    ) -> Vec<(String, Standing)> {
        self.charge_failures(job, after);
        self.charge_loss(job, before, after);
        match &after.state {
            JobState::Running { token, progress, .. } if progress.macro_f1.is_some() => {
                self.account(token).advance(job, token);
                self.prove(job, token, progress.epoch);
            }
            JobState::Running { token, .. } if got_further(before, token, after) => {
                self.account(token).advance(job, token);
            }
            JobState::Pending | JobState::Running { .. } => {}
            JobState::Done { token } => {
                let account = self.account(token);
                account.finished = account.finished.max(revision);
                account.charges.clear();
                self.prove(job, token, u32::MAX);
            }
            JobState::Failed { .. } | JobState::Parked { .. } => self.dismiss(job),
        }
        self.judge()
    }

    /// Takes in what the books say about a worker. A worker that takes itself out is believed.
    pub fn booked(&mut self, name: &str, standing: &Standing) {
        let account = self.accounts.entry(name.to_owned()).or_default();
        account.booked = standing.clone();
        match standing {
            Standing::Unfit { .. } | Standing::Drained { .. } => account.standing = standing.clone(),
            // It says that it is fit again; the charges from its jobs are judged here.
            Standing::Trusted if matches!(account.standing, Standing::Unfit { .. }) => {
                account.standing = Standing::Trusted;
            }
            Standing::Trusted | Standing::Probation { .. } => {}
        }
    }

    /// Workers that get no more jobs.
    pub fn out(&self) -> BTreeSet<String> {
        let out = self.accounts.iter().filter(|(_, account)| account.standing.refusal().is_some());
        out.map(|(name, _)| name.clone()).collect()
    }

    /// Standings that the books do not show yet.
    pub fn unbooked(&self) -> Vec<(String, Standing)> {
        let unbooked = self.accounts.iter().filter(|(_, account)| account.booked != account.standing);
        unbooked.map(|(name, account)| (name.clone(), account.standing.clone())).collect()
    }

    fn account(&mut self, token: &Token) -> &mut Account {
        self.accounts.entry(token.owner.name().to_owned()).or_default()
    }

    fn charge_failures(&mut self, job: JobId, record: &JobRecord) {
        for failure in &record.failures {
            let account = self.account(&failure.token);
            if failure.mark > account.finished {
                let offence = Offence::Failed { error: failure.error.clone() };
                account.charge(job, offence, record.saved_epochs());
            }
        }
    }

    /// The job's worker stopped responding before it stored a checkpoint.
    fn charge_loss(&mut self, job: JobId, before: Option<&JobRecord>, after: &JobRecord) {
        let Some(JobRecord { state: JobState::Running { token, .. }, .. }) = before else { return };
        let taken_over = matches!(&after.state, JobState::Running { token: now, .. } if now != token);
        let given_up = matches!(after.state, JobState::Failed { .. }) && after.losses > 0;
        let lost = taken_over || (given_up && after.failures.is_empty());
        let account = self.account(token);
        if lost && account.advanced != Some((job, token.attempt)) {
            account.charge(job, Offence::Lost, after.saved_epochs());
        }
    }

    /// `job` got past `epoch` on the worker of `token`: a worker that failed it before is the cause.
    fn prove(&mut self, job: JobId, token: &Token, epoch: u32) {
        let others = self.accounts.iter_mut().filter(|(name, _)| *name != token.owner.name());
        for (_, account) in others {
            if let Some(evidence) = account.charges.get_mut(&job) {
                evidence.proven |= epoch > evidence.epoch;
            }
        }
    }

    fn dismiss(&mut self, job: JobId) {
        for account in self.accounts.values_mut() {
            account.charges.remove(&job);
        }
    }

    fn judge(&mut self) -> Vec<(String, Standing)> {
        let mut changed = Vec::new();
        for (name, account) in &mut self.accounts {
            let standing = account.judged();
            if standing != account.standing {
                account.standing = standing.clone();
                changed.push((name.clone(), standing));
            }
        }
        changed
    }
}

impl Account {
    fn charge(&mut self, job: JobId, offence: Offence, epoch: u32) {
        self.charges.entry(job).or_insert(Evidence { offence, epoch, proven: false });
    }

    /// A worker that stores a checkpoint does not die at once.
    fn advance(&mut self, job: JobId, token: &Token) {
        self.advanced = Some((job, token.attempt));
        self.charges.retain(|_, evidence| !matches!(evidence.offence, Offence::Lost));
    }

    fn judged(&self) -> Standing {
        match &self.standing {
            Standing::Drained { .. } | Standing::Unfit { .. } => return self.standing.clone(),
            Standing::Trusted | Standing::Probation { .. } => {}
        }
        let charges = |proven_only: bool| -> Vec<Charge> {
            let counted = self.charges.iter().filter(|(_, evidence)| evidence.proven || !proven_only);
            counted.map(|(&job, evidence)| Charge { job, offence: evidence.offence.clone() }).collect()
        };
        let (all, proven) = (charges(false), charges(true));
        if weighty(&proven) {
            Standing::Drained { charges: proven }
        } else if weighty(&all) {
            Standing::Probation { charges: all }
        } else {
            Standing::Trusted
        }
    }
}

/// True when the holder has stored a checkpoint.
fn got_further(before: Option<&JobRecord>, by: &Token, after: &JobRecord) -> bool {
    let Some(JobRecord { state: JobState::Running { token, .. }, checkpoints, .. }) = before else {
        return false;
    };
    token == by && checkpoints.last() != after.checkpoints.last()
}

fn weighty(charges: &[Charge]) -> bool {
    let failed = charges.iter().filter(|charge| matches!(charge.offence, Offence::Failed { .. })).count();
    failed >= FAILED_JOBS || charges.len() >= LOST_JOBS
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::books::{Checkpoint, Claim, Progress};
    use shared::ids::WorkerId;
    use shared::result::BlobRef;
    use uuid::Uuid;

    use super::*;

    /// The records of a few jobs, and the standings that follow from them.
    #[derive(Default)]
    struct Ledger {
        blame: Blame,
        records: BTreeMap<JobId, JobRecord>,
        revision: u64,
        changes: Vec<(String, Standing)>,
    }

    fn job(n: u128) -> JobId {
        JobId::new(Uuid::from_u128(n))
    }

    impl Ledger {
        fn record(&self, n: u128) -> JobRecord {
            self.records.get(&job(n)).cloned().unwrap_or_else(JobRecord::pending)
        }

        fn book(&mut self, n: u128, record: JobRecord) {
            self.revision += 1;
            let before = self.records.get(&job(n));
            self.changes.extend(self.blame.moved(job(n), self.revision, before, &record));
            self.records.insert(job(n), record);
        }

        fn take(&mut self, n: u128, worker: &str) -> Token {
            let me = WorkerId::new(worker, Uuid::from_u128(self.revision.into()));
            let silent = Duration::from_mins(1);
            let Claim::Take { token, record } = self.record(n).claim(&me, silent, silent) else {
                panic!("not taken")
            };
            self.book(n, record);
            token
        }

        fn fail(&mut self, n: u128, worker: &str) {
            let token = self.take(n, worker);
            let failed = self.record(n).failed(&token, "no memory", &[], self.revision).unwrap();
            self.book(n, failed);
        }

        fn epoch(&mut self, n: u128, worker: &str) -> Token {
            let token = self.take(n, worker);
            let record = self.record(n);
            let epoch = record.saved_epochs() + 1;
            let blob = BlobRef { name: "c".into(), sha256: String::new(), size: 1 };
            let progress = Progress { epoch, macro_f1: Some(40.0), ..Progress::default() };
            let next = record.checkpointed(&token, Checkpoint { epoch, step: 0, blob }, progress).unwrap();
            self.book(n, next);
            token
        }

        fn finish(&mut self, n: u128, worker: &str) {
            let token = self.epoch(n, worker);
            let done = self.record(n).done(&token).unwrap();
            self.book(n, done);
        }

        fn of(&self, worker: &str) -> &Standing {
            self.blame.accounts.get(worker).map_or(&Standing::Trusted, |account| &account.standing)
        }
    }

    #[test]
    fn a_worker_on_which_different_jobs_fail_that_go_on_elsewhere_is_drained() {
        let mut ledger = Ledger::default();
        ledger.fail(1, "bad");
        assert_eq!(*ledger.of("bad"), Standing::Trusted, "one job tells nothing");
        ledger.fail(2, "bad");
        assert!(matches!(ledger.of("bad"), Standing::Probation { charges } if charges.len() == 2));
        ledger.epoch(1, "good");
        assert!(matches!(ledger.of("bad"), Standing::Probation { .. }));
        ledger.epoch(2, "good");
        assert!(matches!(ledger.of("bad"), Standing::Drained { charges } if charges.len() == 2));
        assert_eq!(ledger.blame.out(), BTreeSet::from(["bad".to_owned()]));
        assert_eq!(ledger.changes.len(), 2, "each change is told once");
        assert_eq!(ledger.blame.unbooked().len(), 1);
        let standing = ledger.of("bad").clone();
        ledger.blame.booked("bad", &standing);
        assert_eq!(ledger.blame.unbooked(), []);
    }

    #[test]
    fn jobs_that_fail_everywhere_drain_nobody() {
        let mut ledger = Ledger::default();
        for n in 1..=2 {
            ledger.fail(n, "a");
        }
        assert!(matches!(ledger.of("a"), Standing::Probation { .. }));
        for n in 1..=2 {
            ledger.fail(n, "b");
            assert!(matches!(ledger.record(n).state, JobState::Parked { .. }));
        }
        assert_eq!((ledger.of("a"), ledger.of("b")), (&Standing::Trusted, &Standing::Trusted));
        ledger.fail(3, "a");
        assert_eq!(*ledger.of("a"), Standing::Trusted, "what was dismissed does not count again");
    }

    #[test]
    fn a_finished_job_drops_all_charges() {
        let mut ledger = Ledger::default();
        ledger.fail(1, "a");
        ledger.finish(2, "a");
        ledger.epoch(1, "b");
        ledger.fail(3, "a");
        ledger.epoch(3, "b");
        assert_eq!(*ledger.of("a"), Standing::Trusted);
    }

    #[test]
    fn repeating_what_was_already_done_proves_nothing() {
        let mut ledger = Ledger::default();
        for n in 1..=2 {
            ledger.epoch(n, "a");
            ledger.fail(n, "a");
            let lost = JobRecord { checkpoints: Vec::new(), ..ledger.record(n) };
            ledger.book(n, lost); // Its checkpoint was damaged.
            ledger.epoch(n, "b");
        }
        assert!(matches!(ledger.of("a"), Standing::Probation { .. }), "epoch 1 went well on both");
    }

    #[test]
    fn a_worker_that_dies_at_once_is_drained_later_than_one_that_fails() {
        let mut ledger = Ledger::default();
        for n in 1..=3 {
            ledger.take(n, "bad");
            ledger.take(n, "good"); // The owner was silent for a lease.
            ledger.epoch(n, "good");
            let drained = matches!(ledger.of("bad"), Standing::Drained { .. });
            assert_eq!(drained, n == 3, "after {n} jobs");
        }
        let mut ledger = Ledger::default();
        for n in 1..=3 {
            ledger.take(n, "sometimes off");
            ledger.epoch(n, "good");
            ledger.epoch(10 + n, "sometimes off");
        }
        assert_eq!(*ledger.of("sometimes-off"), Standing::Trusted, "it finishes epochs in between");
    }

    #[test]
    fn a_worker_that_takes_itself_out_is_believed_and_may_come_back() {
        let mut blame = Blame::default();
        blame.booked("a", &Standing::Unfit { reason: "no GPU".into() });
        assert_eq!(blame.out().len(), 1);
        assert_eq!(blame.unbooked(), []);
        blame.booked("a", &Standing::Trusted);
        assert!(blame.out().is_empty());
    }
}
