//! Tells bad jobs, which fail on every worker, from bad workers, on which jobs fail that get further elsewhere. Pure.
//!
//! A failure is an incident of the worker on which it happened. The incident is withdrawn when the job fails for good,
//! and so elsewhere as well. It is confirmed when the job gets further on another worker. When a worker finishes a job,
//! all its incidents are dropped. Two open incidents put a worker on probation; two confirmed ones drain it. A worker
//! that vanishes before its first checkpoint also has an incident, but it takes three such deaths: a machine that is
//! sometimes switched off is not a bad worker. A death is one incident, however many short jobs it had claimed.

use std::collections::{BTreeMap, BTreeSet};

use shared::books::{Incident, IncidentKind, JobRecord, JobState, Standing, Token};
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
    /// Revision of the last job that it finished. Earlier failures do not count.
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

    /// Handles what the books say about a worker. A worker that takes itself out is believed.
    pub fn standing_changed(&mut self, name: &str, standing: &Standing) {
        let history = self.histories.entry(name.to_owned()).or_default();
        history.written = standing.clone();
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
mod tests {
    use std::time::Duration;

    use shared::blob::BlobRef;
    use shared::books::{Checkpoint, Claim, Progress};
    use shared::ids::WorkerId;
    use uuid::Uuid;

    use super::*;

    /// The records of a few jobs, and the standings that follow from them.
    #[derive(Default)]
    struct TestBooks {
        health: WorkerHealth,
        records: BTreeMap<JobId, JobRecord>,
        revision: u64,
        changes: Vec<(String, Standing)>,
    }

    fn job(n: u128) -> JobId {
        JobId::new(Uuid::from_u128(n))
    }

    impl TestBooks {
        fn record(&self, n: u128) -> JobRecord {
            self.records.get(&job(n)).cloned().unwrap_or_else(JobRecord::pending)
        }

        fn book(&mut self, n: u128, record: JobRecord) {
            self.revision += 1;
            let before = self.records.get(&job(n));
            self.changes.extend(self.health.record_changed(job(n), self.revision, before, &record));
            self.records.insert(job(n), record);
        }

        fn take(&mut self, n: u128, worker: &str) -> Token {
            let life = u128::from(self.revision) << 96; // The first 32 bits tell lives apart.
            let me = WorkerId::new(worker, Uuid::from_u128(life));
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
            let progress = Progress { epoch, score: Some(40.0), ..Progress::default() };
            let checkpoint = Checkpoint { epoch, step: 0, blob, origin: None };
            let next = record.checkpointed(&token, checkpoint, progress).unwrap();
            self.book(n, next);
            token
        }

        fn finish(&mut self, n: u128, worker: &str) {
            let token = self.epoch(n, worker);
            let done = self.record(n).done(&token, None).unwrap();
            self.book(n, done);
        }

        fn of(&self, worker: &str) -> &Standing {
            self.health.histories.get(worker).map_or(&Standing::Trusted, |history| &history.standing)
        }
    }

    #[test]
    fn a_worker_on_which_different_jobs_fail_that_go_on_elsewhere_is_drained() {
        let mut books = TestBooks::default();
        books.fail(1, "bad");
        assert_eq!(*books.of("bad"), Standing::Trusted, "one job tells nothing");
        books.fail(2, "bad");
        assert!(matches!(books.of("bad"), Standing::Probation { incidents } if incidents.len() == 2));
        books.epoch(1, "good");
        assert!(matches!(books.of("bad"), Standing::Probation { .. }));
        books.epoch(2, "good");
        assert!(matches!(books.of("bad"), Standing::Drained { incidents } if incidents.len() == 2));
        assert_eq!(books.health.out(), BTreeSet::from(["bad".to_owned()]));
        assert_eq!(books.changes.len(), 2, "each change is told once");
        assert_eq!(books.health.unwritten().len(), 1);
        let standing = books.of("bad").clone();
        books.health.standing_changed("bad", &standing);
        assert_eq!(books.health.unwritten(), []);
    }

    #[test]
    fn jobs_that_fail_everywhere_drain_nobody() {
        let mut books = TestBooks::default();
        for n in 1..=2 {
            books.fail(n, "a");
        }
        assert!(matches!(books.of("a"), Standing::Probation { .. }));
        for n in 1..=2 {
            books.fail(n, "b");
            assert!(matches!(books.record(n).state, JobState::Parked { .. }));
        }
        assert_eq!((books.of("a"), books.of("b")), (&Standing::Trusted, &Standing::Trusted));
        books.fail(3, "a");
        assert_eq!(*books.of("a"), Standing::Trusted, "what was dismissed does not count again");
    }

    #[test]
    fn a_finished_job_drops_all_charges() {
        let mut books = TestBooks::default();
        books.fail(1, "a");
        books.finish(2, "a");
        books.epoch(1, "b");
        books.fail(3, "a");
        books.epoch(3, "b");
        assert_eq!(*books.of("a"), Standing::Trusted);
    }

    #[test]
    fn repeating_what_was_already_done_proves_nothing() {
        let mut books = TestBooks::default();
        for n in 1..=2 {
            books.epoch(n, "a");
            books.fail(n, "a");
            let lost = JobRecord { checkpoints: Vec::new(), ..books.record(n) };
            books.book(n, lost); // Its checkpoint was damaged.
            books.epoch(n, "b");
        }
        assert!(matches!(books.of("a"), Standing::Probation { .. }), "epoch 1 went well on both");
    }

    #[test]
    fn a_worker_that_dies_at_once_is_drained_later_than_one_that_fails() {
        let mut books = TestBooks::default();
        for n in 1..=3 {
            books.take(n, "bad");
            books.take(n, "good"); // The owner was silent for a lease.
            books.epoch(n, "good");
            let drained = matches!(books.of("bad"), Standing::Drained { .. });
            assert_eq!(drained, n == 3, "after {n} jobs");
        }
        let mut books = TestBooks::default();
        for n in 1..=3 {
            books.take(n, "sometimes off");
            books.epoch(n, "good");
            books.epoch(10 + n, "sometimes off");
        }
        assert_eq!(*books.of("sometimes-off"), Standing::Trusted, "it finishes epochs in between");
    }

    #[test]
    fn a_death_is_one_incident_however_many_jobs_it_cost() {
        let mut books = TestBooks::default();
        let (me, silent) = (WorkerId::new("quick", Uuid::nil()), Duration::from_mins(1));
        for n in 1..=5 {
            let Claim::Take { record, .. } = books.record(n).claim(&me, silent, silent) else {
                panic!("not taken")
            };
            books.book(n, record);
        }
        for n in 1..=5 {
            books.epoch(n, "good");
        }
        assert_eq!(*books.of("quick"), Standing::Trusted);
        assert_eq!(books.health.histories["quick"].incidents.len(), 1);
    }

    #[test]
    fn a_worker_that_takes_itself_out_is_believed_and_may_come_back() {
        let mut health = WorkerHealth::default();
        health.standing_changed("a", &Standing::Unfit { reason: "no GPU".into() });
        assert_eq!(health.out().len(), 1);
        assert_eq!(health.unwritten(), []);
        health.standing_changed("a", &Standing::Trusted);
        assert!(health.out().is_empty());
    }
}
