//! The promises, checked at every write to the books and again at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use memory_server::Event;
use shared::books::{
    Checkpoint, IncidentKind, JobRecord, JobState, MAX_FAILED_WORKERS, MAX_FAILURES, MAX_LOSSES, MAX_NOTES,
    Standing, Token, WorkerRecord,
};
use shared::ids::{JobId, WorkerId};
use shared::protocol::{CheckpointEvery, subjects};
use shared::result::JobResult;

use super::counts::Counts;
use super::expected::Expected;
use super::history::{History, Kind, Script};
use super::trainer::{DEVICE_FAILURE, FAILURE, STEPS, TrainingLog};

/// If another worker is idle, a dead worker's job is taken at most this long after its lease has ended.
const GRANULARITY: Duration = Duration::from_secs(1);

/// What was observed of one job.
#[derive(Debug, Default)]
struct Seen {
    /// The newest record and the time of its write.
    record: Option<(Duration, JobRecord)>,
    holders: BTreeMap<u32, WorkerId>,
    /// Number of notes in the record at its last claim.
    notes_at_claim: usize,
    result: Option<JobResult>,
}

/// Checks every event of a history.
#[derive(Debug)]
pub(super) struct Checker {
    kind: Kind,
    lease: Duration,
    /// Name of the bad worker.
    bad: Option<String>,
    /// Number of good workers.
    good: usize,
    checkpoint_every: CheckpointEvery,
    expected: BTreeMap<JobId, Expected>,
    training_log: Arc<TrainingLog>,
    seen: BTreeMap<JobId, Seen>,
    /// Moved to done by the last event: the next one must be its result.
    half_committed: Option<(JobId, Token)>,
    damaged: bool,
    pub(super) counts: Counts,
    pub(super) violation: Option<String>,
}

type Verdict = Result<(), String>;

fn require(holds: bool, broken: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(broken()) }
}

impl Checker {
    pub(super) fn new(
        history: &History,
        expected: BTreeMap<JobId, Expected>,
        training_log: Arc<TrainingLog>,
    ) -> Self {
        Self {
            kind: history.kind,
            lease: history.timing.lease(),
            bad: history.bad.map(|(worker, _)| format!("w{worker}")),
            good: history.workers - usize::from(history.bad.is_some()),
            checkpoint_every: history.checkpoint_every,
            expected,
            training_log,
            seen: BTreeMap::new(),
            half_committed: None,
            damaged: false,
            counts: Counts::default(),
            violation: None,
        }
    }

    /// Keeps the first broken promise.
    pub(super) fn violate(&mut self, now: Duration, what: &str) {
        self.violation.get_or_insert_with(|| format!("at {:.3} s: {what}", now.as_secs_f64()));
    }

    /// The checkpoint to damage: the newest one of the job whose record changed last.
    pub(super) fn newest_checkpoint(&mut self) -> Option<String> {
        let records = self.seen.values().filter_map(|seen| seen.record.as_ref());
        let (_, record) = records.filter(|(_, r)| !r.checkpoints.is_empty()).max_by_key(|(at, _)| *at)?;
        let name = record.checkpoints.last()?.blob.name.clone();
        self.damaged = true;
        Some(name)
    }

    /// A worker that holds a job now.
    pub(super) fn some_holder(&self) -> Option<&WorkerId> {
        self.seen.values().find_map(|seen| match &seen.record.as_ref()?.1.state {
            JobState::Running { token, .. } => Some(&token.owner),
            JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
                None
            }
        })
    }

    pub(super) fn event(&mut self, now: Duration, by: &str, event: &Event<'_>) {
        if let Err(broken) = self.check(now, by, event) {
            self.violate(now, &broken);
        }
    }

    fn check(&mut self, now: Duration, by: &str, event: &Event<'_>) -> Verdict {
        let half = self.half_committed.take();
        self.counts.events += 1;
        if let Event::Refused { .. } = event {
            self.counts.refused += 1;
        }
        if let Event::Wrote { key, value, .. } = event {
            if let Some(job) = key.strip_prefix("result.") {
                let job: JobId = job.parse().map_err(|error| format!("{key}: {error}"))?;
                let result = serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
                let (_, token) = half
                    .filter(|(of, _)| *of == job)
                    .ok_or_else(|| format!("{job} got a result without its move to done"))?;
                return self.accepted(job, &token, result);
            }
            require(half.is_none(), || format!("{half:?} moved to done without its result"))?;
            if let Some(job) = subjects::job_of_record_key(key) {
                let record: JobRecord =
                    serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
                return self.moved(now, by, job, &record);
            }
            if key.starts_with("worker.") {
                let record: WorkerRecord =
                    serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
                return self.standing_changed(&record);
            }
            return Ok(());
        }
        require(half.is_none(), || format!("{half:?} moved to done without its result"))
    }

    fn moved(&mut self, now: Duration, by: &str, job: JobId, after: &JobRecord) -> Verdict {
        let seen = self.seen.entry(job).or_default();
        let text = |what: &str| format!("{job}: {what}, written by {by}: {}", after.state.describe());
        let Some((at, before)) = seen.record.replace((now, after.clone())) else {
            return require(*after == JobRecord::pending(), || text("its first state is not pending"));
        };
        let silent = now.saturating_sub(at);
        let reopened = by.starts_with("ferry");
        require(after.attempts >= before.attempts, || text("attempts went backwards"))?;
        let spent = self.training_log.of(self.expected[&job].seed);
        let newest = |record: &JobRecord| record.checkpoints.last().map_or((0, 0), Checkpoint::place);
        if newest(after) != newest(&before) && newest(after).1 > 0 {
            self.counts.midway += 1;
        }
        if newest(after) < newest(&before) && !is_done(after) {
            require(self.damaged || spent.torn, || text("a good checkpoint was skipped"))?;
            let noted = after.notes.len() > seen.notes_at_claim || after.notes.len() >= MAX_NOTES;
            require(noted, || text("a training went back without a note"))?;
        }
        let full = before.notes.len() >= MAX_NOTES;
        require(full || after.notes.starts_with(&before.notes), || text("notes were dropped"))?;
        require(reopened || after.failures.len() >= before.failures.len(), || text("failures were dropped"))?;
        let script = self.expected[&job].script;
        let reported = (spent.failures + spent.device_failures) as usize;
        require(after.failures.len() <= reported, || text("a failure that no training reported"))?;
        require(self.expected[&job].shows(after), || text("a score that no training reported"))?;
        match (&before.state, &after.state) {
            (JobState::Pending, JobState::Running { token, .. }) => {
                self.counts.claims += 1;
                seen.claimed(by, token, &before, after).map_err(|what| text(&what))
            }
            (JobState::Running { token: past, .. }, JobState::Running { token, .. }) if past == token => {
                self.counts.adopted += u64::from(by != token.owner.as_str());
                require(is_holder(by, token), || text("moved by someone who does not hold it"))
            }
            (JobState::Running { token: past, .. }, JobState::Running { token, .. }) => {
                self.counts.claims += 1;
                self.counts.takeovers += 1;
                let dead = past.owner == token.owner || silent >= self.lease;
                require(dead, || text(&format!("taken from {past} after only {silent:?} of silence")))?;
                let soon = self.kind != Kind::OneKill || silent <= self.lease + GRANULARITY;
                require(soon, || text(&format!("left with the dead worker {past} for {silent:?}")))?;
                seen.claimed(by, token, &before, after).map_err(|what| text(&what))
            }
            (JobState::Running { token, .. }, JobState::Pending) => {
                self.counts.adopted += u64::from(by != token.owner.as_str());
                require(is_holder(by, token), || text("handed back by someone who does not hold it"))
            }
            (JobState::Running { token: past, .. }, JobState::Done { token }) if past == token => {
                self.half_committed = Some((job, token.clone()));
                require(is_holder(by, token), || text("done by someone who does not hold it"))
            }
            (JobState::Pending | JobState::Running { .. }, JobState::Done { token }) => {
                self.half_committed = Some((job, token.clone()));
                self.counts.late += 1;
                let was_holder = seen.holders.get(&token.attempt.0) == Some(&token.owner);
                require(was_holder && is_holder(by, token), || text("done by someone who never held it"))?;
                require(after.notes != before.notes, || text("a late result was accepted without a note"))
            }
            (JobState::Done { .. }, JobState::Done { .. }) => {
                self.counts.contradicted += 1;
                let same = JobRecord { notes: before.notes.clone(), ..after.clone() } == before;
                require(same && self.expected[&job].script.nondeterministic, || {
                    text("moved after it was done")
                })
            }
            (JobState::Running { token, .. }, JobState::Failed { .. }) => {
                let failed = by == token.owner.as_str() && after.failures.len() >= MAX_FAILURES;
                let known_dead = silent >= self.lease || is_holder(by, token);
                let given_up = known_dead && after.losses >= MAX_LOSSES;
                require(failed || given_up, || text("given up without a reason"))?;
                let good = script.failures == 0 && self.kind == Kind::BadWorker;
                require(!good, || text("a good job was given up while there were good workers"))
            }
            (JobState::Running { token, .. }, JobState::Parked { .. }) => {
                let parked = by == token.owner.as_str() && after.failed_on().len() >= MAX_FAILED_WORKERS;
                require(parked, || text("parked without a reason"))?;
                self.counts.parked += 1;
                require(script.failures > 0, || text("a good job was parked because of a bad worker"))
            }
            (JobState::Failed { .. } | JobState::Parked { .. } | JobState::Pending, JobState::Pending) => {
                let taken_back = after.failures.len() < before.failures.len();
                require(by.starts_with("ferry") && (reopened_state(&before) || taken_back), || {
                    text("reopened by someone who is not the coordinator, or without a reason")
                })
            }
            (JobState::Parked { .. }, JobState::Parked { .. }) => {
                let taken_back = after.failures.len() < before.failures.len();
                require(by.starts_with("ferry") && taken_back, || text("parked again without a reason"))
            }
            (JobState::Done { .. }, _) => Err(text("moved after it was done")),
            (JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. }, _) => {
                Err(text("an illegal transition"))
            }
        }
    }

    /// A bad job never drains a good worker. A job that fails at random may, because it succeeds elsewhere.
    fn standing_changed(&mut self, record: &WorkerRecord) -> Verdict {
        let is_bad = self.bad.as_ref() == Some(&record.name);
        let text = |what: &str| format!("{}: {what}: {:?}", record.name, record.standing);
        self.counts.drained += u64::from(record.standing.refusal().is_some());
        match &record.standing {
            Standing::Trusted | Standing::Probation { .. } => Ok(()),
            Standing::Unfit { .. } => require(is_bad, || text("a good worker declared itself unfit")),
            Standing::Drained { .. } if is_bad => Ok(()),
            Standing::Drained { incidents } => {
                let no_reason = incidents.iter().all(|incident| match &incident.kind {
                    IncidentKind::Failed { .. } => {
                        let failures = self.expected[&incident.job].script.failures as usize;
                        failures > 0 && failures < MAX_FAILURES
                    }
                    IncidentKind::Lost => self.kind == Kind::Kills || self.kind == Kind::Everything,
                });
                require(no_reason, || text("a good worker was drained because of a bad job"))
            }
        }
    }

    fn accepted(&mut self, job: JobId, token: &Token, result: JobResult) -> Verdict {
        let seen = self.seen.entry(job).or_default();
        require(seen.result.is_none(), || format!("{job} got a second result"))?;
        let by_holder = result.worker == token.owner && result.attempt == token.attempt;
        require(by_holder, || format!("{job}: the result is not by {token}"))?;
        let equal = self.expected[&job].is(&result);
        require(equal, || format!("{job}: the result is not that of an undisturbed training"))?;
        seen.result = Some(result);
        Ok(())
    }

    /// Checks that every job ended as it should, and that the run folder has exactly the accepted results.
    pub(super) fn end(&mut self, now: Duration, stored: &BTreeMap<JobId, JobResult>) {
        let jobs: Vec<JobId> = self.expected.keys().copied().collect();
        for job in jobs {
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
        let right = match &record.state {
            JobState::Done { .. } => !fails && seen.result.is_some() && stored == seen.result.as_ref(),
            JobState::Failed { reason } => {
                let known = reason.ends_with(FAILURE) || reason.ends_with(DEVICE_FAILURE);
                fails && known && seen.result.is_none() && stored.is_none()
            }
            JobState::Parked { .. } => {
                expected.script.failures > 0 && seen.result.is_none() && stored.is_none()
            }
            JobState::Pending | JobState::Running { .. } => false,
        };
        require(right, || {
            format!("{job} ended as {}, stored: {}", record.state.describe(), stored.is_some())
        })?;
        if self.kind == Kind::Everything {
            return Ok(());
        }
        if self.kind == Kind::BadWorker && self.good > 1 {
            // With another good worker present, no worker ever tries a job three times.
            let lone = matches!(record.state, JobState::Failed { .. });
            require(!lone, || format!("{job} was given up, though a second worker could have tried it"))?;
        }
        // If only processes died, each new attempt costs at most the work since the last checkpoint.
        let Script { epoch, epochs, .. } = expected.script;
        let most = epoch * epochs + self.distance(epoch) * record.attempts.saturating_sub(1);
        let spent = self.training_log.of(expected.seed).time;
        require(spent <= most, || format!("{job}: {spent:?} of training, at most {most:?} were needed"))
    }
}

impl Checker {
    /// The longest training time between two checkpoints. Here, every epoch is shorter than a minute.
    fn distance(&self, epoch: Duration) -> Duration {
        match self.checkpoint_every {
            CheckpointEvery::Steps(steps) => epoch / STEPS * steps.get().min(STEPS),
            CheckpointEvery::Epoch | CheckpointEvery::Minutes(_) => epoch,
        }
    }
}

impl Seen {
    /// Checks that a claim starts a new attempt of the worker that writes it, and that no attempt has two holders.
    fn claimed(
        &mut self,
        by: &str,
        token: &Token,
        before: &JobRecord,
        after: &JobRecord,
    ) -> Result<(), String> {
        let next = token.attempt.0 == before.attempts + 1 && after.attempts == token.attempt.0;
        require(next && by == token.owner.as_str(), || "claimed with a wrong token".to_owned())?;
        self.notes_at_claim = after.notes.len();
        let held = self.holders.insert(token.attempt.0, token.owner.clone());
        require(held.is_none(), || format!("{} has two holders, the first was {held:?}", token.attempt))
    }
}

fn reopened_state(record: &JobRecord) -> bool {
    matches!(record.state, JobState::Failed { .. } | JobState::Parked { .. })
}

/// True for the holder itself, and for a later process of the same worker that found its leftovers.
fn is_holder(by: &str, token: &Token) -> bool {
    let split = |id: &str| id.rsplit_once('-').map(|(name, nonce)| (name.to_owned(), nonce.to_owned()));
    by == token.owner.as_str()
        || split(by)
            .zip(split(token.owner.as_str()))
            .is_some_and(|((name, later), (owner, earlier))| name == owner && later > earlier)
}

fn is_done(record: &JobRecord) -> bool {
    matches!(record.state, JobState::Done { .. })
}
