//! The promises, checked at every write to the books and once more at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::books::{JobRecord, JobState, MAX_FAILURES, MAX_LOSSES, Token};
use shared::bus::LEASE;
use shared::bus::memory::Event;
use shared::ids::{JobId, WorkerId};
use shared::predictions::to_npy;
use shared::protocol::subjects;
use shared::result::JobResult;
use worker::train::Finished;

use super::history::{Kind, Script};
use super::trainer::{FAILURE, Ledger};

/// A dead worker's job moves on this long after its lease at the latest, when somebody idles.
const GRANULARITY: Duration = Duration::from_secs(1);

/// What a job should come to.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) seed: u64,
    pub(super) script: Script,
    pub(super) finished: Finished,
}

/// What was seen of one job.
#[derive(Debug, Default)]
struct Seen {
    /// The newest record and the time of its write.
    record: Option<(Duration, JobRecord)>,
    holders: BTreeMap<u32, WorkerId>,
    result: Option<JobResult>,
}

/// Sees every event of a history.
#[derive(Debug)]
pub(super) struct Checker {
    kind: Kind,
    expected: BTreeMap<JobId, Expected>,
    ledger: Arc<Ledger>,
    seen: BTreeMap<JobId, Seen>,
    /// Moved to done by the last event: its result must be the next.
    half_committed: Option<(JobId, Token)>,
    damaged: bool,
    pub(super) counts: Counts,
    pub(super) violation: Option<String>,
}

/// How much a history tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// On the server.
    pub events: u64,
    /// Jobs taken, those from a silent holder included.
    pub claims: u64,
    /// Jobs taken from a silent holder.
    pub takeovers: u64,
    /// Writes that came too late.
    pub refused: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.claims += other.claims;
        self.takeovers += other.takeovers;
        self.refused += other.refused;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, claims, takeovers, refused } = self;
        write!(
            f,
            "{events} events, {claims} claims, {takeovers} of them take-overs, {refused} writes refused"
        )
    }
}

type Verdict = Result<(), String>;

fn require(holds: bool, broken: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(broken()) }
}

impl Checker {
    pub(super) fn new(kind: Kind, expected: BTreeMap<JobId, Expected>, ledger: Arc<Ledger>) -> Self {
        Self {
            kind,
            expected,
            ledger,
            seen: BTreeMap::new(),
            half_committed: None,
            damaged: false,
            counts: Counts::default(),
            violation: None,
        }
    }

    /// Notes the first broken promise.
    pub(super) fn violate(&mut self, now: Duration, what: &str) {
        self.violation.get_or_insert_with(|| format!("at {:.3} s: {what}", now.as_secs_f64()));
    }

    /// A checkpoint to do harm to: the newest of the job that was written to last.
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
            JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } => None,
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
            return Ok(());
        }
        require(half.is_none(), || format!("{half:?} moved to done without its result"))
    }

    fn moved(&mut self, now: Duration, by: &str, job: JobId, after: &JobRecord) -> Verdict {
        let seen = self.seen.entry(job).or_default();
        let told = |what: &str| format!("{job}: {what}, written by {by}: {}", after.state.describe());
        let Some((at, before)) = seen.record.replace((now, after.clone())) else {
            return require(*after == JobRecord::pending(), || told("did not begin pending"));
        };
        let silent = now.saturating_sub(at);
        let reopened = matches!(before.state, JobState::Failed { .. });
        require(after.attempts >= before.attempts, || told("attempts went backwards"))?;
        require(self.damaged || after.saved_epochs() >= before.saved_epochs() || is_done(after), || {
            told("saved epochs went backwards")
        })?;
        require(reopened || after.failures.len() >= before.failures.len(), || {
            told("failures were forgotten")
        })?;
        let reported = self.ledger.of(self.expected[&job].seed).failures as usize;
        require(after.failures.len() <= reported, || told("a failure that no training reported"))?;
        match (&before.state, &after.state) {
            (JobState::Pending, JobState::Running { token, .. }) => {
                self.counts.claims += 1;
                seen.claimed(by, token, &before, after).map_err(|what| told(&what))
            }
            (JobState::Running { token: past, .. }, JobState::Running { token, .. }) if past == token => {
                require(by == token.owner.as_str(), || told("moved by another than its holder"))
            }
            (JobState::Running { token: past, .. }, JobState::Running { token, .. }) => {
                self.counts.claims += 1;
                self.counts.takeovers += 1;
                let dead = past.owner == token.owner || silent >= LEASE;
                require(dead, || told(&format!("taken from {past} after only {silent:?} of silence")))?;
                let soon = self.kind != Kind::OneKill || silent <= LEASE + GRANULARITY;
                require(soon, || told(&format!("left with the dead {past} for {silent:?}")))?;
                seen.claimed(by, token, &before, after).map_err(|what| told(&what))
            }
            (JobState::Running { token, .. }, JobState::Pending) => {
                require(by == token.owner.as_str(), || told("given back by another than its holder"))
            }
            (JobState::Running { token: past, .. }, JobState::Done { token }) => {
                self.half_committed = Some((job, token.clone()));
                require(past == token && by == token.owner.as_str(), || {
                    told("done by another than its holder")
                })
            }
            (JobState::Running { token, .. }, JobState::Failed { .. }) => {
                let failed = by == token.owner.as_str() && after.failures.len() >= MAX_FAILURES;
                let given_up = silent >= LEASE && after.losses >= MAX_LOSSES;
                require(failed || given_up, || told("given up without cause"))
            }
            (JobState::Failed { .. }, JobState::Pending) => {
                require(by.starts_with("ferry"), || told("opened again by another than the coordinator"))
            }
            (JobState::Done { .. }, _) => Err(told("moved after it was done")),
            (JobState::Pending | JobState::Failed { .. }, _) => Err(told("made an illegal move")),
        }
    }

    fn accepted(&mut self, job: JobId, token: &Token, result: JobResult) -> Verdict {
        let seen = self.seen.entry(job).or_default();
        require(seen.result.is_none(), || format!("{job} got a second result"))?;
        let by_holder = result.worker == token.owner && result.attempt == token.attempt;
        require(by_holder, || format!("{job}: the result is not by {token}"))?;
        let finished = &self.expected[&job].finished;
        let sha256 = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        let equal = result.epochs == finished.epochs
            && result.best_epoch == finished.best_epoch
            && result.model.sha256 == sha256(&finished.model)
            && result.validation.probabilities.sha256 == sha256(&to_npy(&finished.validation));
        require(equal, || format!("{job}: the result is not that of an undisturbed training"))?;
        seen.result = Some(result);
        Ok(())
    }

    /// The end: every job came to what it should, and the run folder holds just the accepted results.
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
        let seen = self.seen.get(&job).ok_or_else(|| format!("{job} never came into the books"))?;
        let (_, record) = seen.record.as_ref().ok_or_else(|| format!("{job} has no record"))?;
        let fails = expected.script.failures as usize >= MAX_FAILURES;
        let right = match &record.state {
            JobState::Done { .. } => !fails && seen.result.is_some() && stored == seen.result.as_ref(),
            JobState::Failed { reason } => {
                fails && reason == FAILURE && seen.result.is_none() && stored.is_none()
            }
            JobState::Pending | JobState::Running { .. } => false,
        };
        require(right, || {
            format!("{job} ended as {}, stored: {}", record.state.describe(), stored.is_some())
        })?;
        if self.kind == Kind::Everything {
            return Ok(());
        }
        // Nothing but processes died: each handover costs the epoch at work at most.
        let most = expected.script.epoch * (expected.script.epochs + record.attempts.saturating_sub(1));
        let spent = self.ledger.of(expected.seed).time;
        require(spent <= most, || format!("{job}: {spent:?} of training, at most {most:?} were needed"))
    }
}

impl Seen {
    /// A claim is a new attempt, by its writer, and no attempt has two holders.
    fn claimed(
        &mut self,
        by: &str,
        token: &Token,
        before: &JobRecord,
        after: &JobRecord,
    ) -> Result<(), String> {
        let next = token.attempt.0 == before.attempts + 1 && after.attempts == token.attempt.0;
        require(next && by == token.owner.as_str(), || "claimed with a wrong token".to_owned())?;
        let held = self.holders.insert(token.attempt.0, token.owner.clone());
        require(held.is_none(), || format!("{} has two holders, the first was {held:?}", token.attempt))
    }
}

fn is_done(record: &JobRecord) -> bool {
    matches!(record.state, JobState::Done { .. })
}
