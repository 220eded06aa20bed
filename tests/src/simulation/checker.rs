//! The promises, checked at every write to the books and again at the end.

mod ending;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use memory_server::Event;
use shared::books::{
    Checkpoint, JobRecord, JobState, MAX_FAILED_WORKERS, MAX_FAILURES, MAX_LOSSES, MAX_NOTES, Token,
    WorkerRecord,
};
use shared::ids::{JobId, RequestId, WorkerId};
use shared::protocol::{CheckpointEvery, JobOrder, Request, SweepRecord, subjects};
use shared::result::JobResult;

use super::counts::Counts;
use super::expected::Expected;
use super::history::{History, Kind};
use super::requested::{Ended, Requested};
use super::trainer::TrainingLog;

/// How soon workers that are not disturbed follow a request: a heartbeat, or the time between reading an order and the
/// claim.
const REACTION: Duration = Duration::from_secs(12);
/// The same if processes are suspended or cut off.
const SLOW_REACTION: Duration = Duration::from_mins(2);
/// A request that was entered so long before the end of the history has its answer.
const ANSWERED_BY: Duration = Duration::from_mins(3);

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
    /// How often it was begun anew on request.
    anew: u32,
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
    /// Good workers that were drained because jobs failed on them at random.
    drained: BTreeSet<String>,
    checkpoint_every: CheckpointEvery,
    expected: BTreeMap<JobId, Expected>,
    training_log: Arc<TrainingLog>,
    seen: BTreeMap<JobId, Seen>,
    /// Written by the last event: the next one must move its job to done.
    half_committed: Option<JobResult>,
    /// By whom the last event moved a job to done.
    done: Option<Token>,
    damaged: bool,
    /// What was requested of the sweep.
    pub(super) requested: Requested,
    /// The jobs of each plan that comes with a request.
    added: BTreeMap<RequestId, Vec<JobId>>,
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
        planned: impl IntoIterator<Item = JobId>,
        expected: BTreeMap<JobId, Expected>,
        training_log: Arc<TrainingLog>,
    ) -> Self {
        Self {
            kind: history.kind,
            lease: history.timing.lease(),
            bad: history.bad.map(|(worker, _)| format!("w{worker}")),
            good: history.workers - usize::from(history.bad.is_some()),
            drained: BTreeSet::new(),
            checkpoint_every: history.checkpoint_every,
            expected,
            training_log,
            seen: BTreeMap::new(),
            half_committed: None,
            done: None,
            damaged: false,
            requested: Requested::of_plan(planned),
            added: BTreeMap::new(),
            counts: Counts::default(),
            violation: None,
        }
    }

    /// These are the jobs of the plan that comes with a request.
    pub(super) fn asks_for(&mut self, request: RequestId, jobs: Vec<JobId>) {
        self.added.insert(request, jobs);
    }

    /// A result was put into the run folder.
    pub(super) fn stored(&mut self, now: Duration, job: JobId) {
        if !self.requested.is_planned(job) {
            self.violate(now, &format!("the result of {job} was stored, though it was withdrawn"));
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
            if key.starts_with("result.") {
                require(half.is_none(), || format!("{half:?} was written without its job's move to done"))?;
                let result = serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
                self.half_committed = Some(result);
                return Ok(());
            }
            if let Some(job) = subjects::job_of_record_key(key) {
                let record: JobRecord =
                    serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
                self.moved(now, by, job, &record)?;
                return match (half, self.done.take()) {
                    (Some(result), Some(token)) => self.accepted(job, &token, result),
                    (None, None) => Ok(()),
                    (Some(_), None) => Err(format!("{job} got a result without its move to done")),
                    (None, Some(_)) => Err(format!("{job} moved to done without its result")),
                };
            }
            require(half.is_none(), || format!("{half:?} was written without its job's move to done"))?;
            if key.starts_with("worker.") {
                let record: WorkerRecord =
                    serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
                return self.standing_changed(&record);
            }
            if key.starts_with("order.") {
                let order: JobOrder =
                    serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
                self.requested.ordered(now, &order);
            }
            if key.starts_with("sweep.") {
                let record: SweepRecord =
                    serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
                self.requested.planned(&record);
            }
            if subjects::request_of_key(key).is_some() {
                let request: Request =
                    serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
                return self.asked(now, &request);
            }
            return Ok(());
        }
        require(half.is_none(), || format!("{half:?} moved to done without its result"))
    }

    fn asked(&mut self, now: Duration, request: &Request) -> Verdict {
        let added = self.added.get(&request.id).map_or(&[][..], Vec::as_slice);
        match self.requested.requested(now, request, added)? {
            None => self.counts.requests += 1,
            Some(Ended::Met) => self.counts.met += 1,
            Some(Ended::Refused) => {}
            Some(Ended::Superseded) => self.counts.superseded += 1,
        }
        Ok(())
    }

    /// How long after a request a worker may still claim the job or report its progress. It read the order before, and
    /// may have been suspended or cut off since.
    fn reaction(&self) -> Duration {
        if self.kind == Kind::Kills { REACTION } else { SLOW_REACTION }
    }

    /// Checks what a move does to the record, whatever the states.
    fn check_content(&mut self, by: &str, job: JobId, before: &JobRecord, after: &JobRecord) -> Verdict {
        let said = str::to_owned;
        require(after.attempts >= before.attempts, || said("attempts went backwards"))?;
        let spent = self.training_log.of(self.expected[&job].spec.seed);
        let begins_anew = after.anew_after > before.anew_after;
        let seen = self.seen.entry(job).or_default();
        if begins_anew {
            seen.anew += 1;
            seen.result = None;
            let asked = self.requested.may_begin_anew(job, before.anew_after);
            require(asked, || said("begun anew without a request"))?;
            require(after.checkpoints.is_empty(), || said("begun anew with a checkpoint"))?;
        }
        let newest = |record: &JobRecord| record.checkpoints.last().map_or((0, 0), Checkpoint::place);
        if newest(after) != newest(before) && newest(after).1 > 0 {
            self.counts.midway += 1;
        }
        if newest(after) < newest(before) && !is_done(after) && !begins_anew {
            require(self.damaged || spent.torn, || said("a good checkpoint was skipped"))?;
            let noted = after.notes.len() > seen.notes_at_claim || after.notes.len() >= MAX_NOTES;
            require(noted, || said("a training went back without a note"))?;
        }
        let is_dated = after.journal.moves.iter().all(|moved| moved.at.is_some());
        require(is_dated, || said("a move without its time"))?;
        let full = before.notes.len() >= MAX_NOTES;
        require(full || after.notes.starts_with(&before.notes), || said("notes were dropped"))?;
        require(by.starts_with("ferry") || after.failures.len() >= before.failures.len(), || {
            said("failures were dropped")
        })?;
        let reported = (spent.failures + spent.device_failures) as usize;
        require(after.failures.len() <= reported, || said("a failure that no training reported"))?;
        require(self.expected[&job].shows(after), || said("a score that no training reported"))
    }

    fn moved(&mut self, now: Duration, by: &str, job: JobId, after: &JobRecord) -> Verdict {
        let seen = self.seen.entry(job).or_default();
        let text = |what: &str| format!("{job}: {what}, written by {by}: {}", after.state.describe());
        let Some((at, before)) = seen.record.replace((now, after.clone())) else {
            return require(*after == JobRecord::pending(), || text("its first state is not pending"));
        };
        self.check_content(by, job, &before, after).map_err(|what| text(&what))?;
        let reaction = self.reaction();
        let requested = &self.requested;
        let unwanted = requested.unwanted_since(job).is_some_and(|since| now > since + reaction);
        let silent = now.saturating_sub(at);
        let begins_anew = after.anew_after > before.anew_after;
        let script = self.expected[&job].script;
        let seen = self.seen.entry(job).or_default();
        match (&before.state, &after.state) {
            (JobState::Pending, JobState::Running { token, .. }) => {
                self.counts.claims += 1;
                require(!unwanted, || text("claimed, though nobody should work on it"))?;
                seen.claimed(by, token, &before, after).map_err(|what| text(&what))
            }
            (
                JobState::Running { token: past, progress: earlier, .. },
                JobState::Running { token, progress, .. },
            ) if past == token => {
                let works = unwanted && progress.epoch > earlier.epoch;
                require(!works, || text("trained on, though nobody should work on it"))?;
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
            (JobState::Running { token: past, .. }, JobState::Done { token, .. }) if past == token => {
                self.done = Some(token.clone());
                require(is_holder(by, token), || text("done by someone who does not hold it"))
            }
            (JobState::Pending | JobState::Running { .. }, JobState::Done { token, .. }) => {
                self.done = Some(token.clone());
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
            (JobState::Done { stopped_after, .. }, JobState::Pending) => {
                let goes_on = stopped_after.is_some_and(|epochs| requested.may_go_on(job, epochs));
                seen.result = None;
                self.counts.gone_on += u64::from(!begins_anew);
                require(by.starts_with("ferry") && (begins_anew || goes_on), || {
                    text("opened again without a request")
                })
            }
            (JobState::Failed { .. } | JobState::Parked { .. } | JobState::Pending, JobState::Pending) => {
                let taken_back = after.failures.len() < before.failures.len() || begins_anew;
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

    fn accepted(&mut self, job: JobId, token: &Token, result: JobResult) -> Verdict {
        let seen = self.seen.entry(job).or_default();
        require(seen.result.is_none(), || format!("{job} got a second result"))?;
        let by_holder = result.worker == token.owner && result.attempt == token.attempt;
        require(by_holder, || format!("{job}: the result is not by {token}"))?;
        let equal = self.expected[&job].is(&result);
        require(equal, || format!("{job}: the result is not that of an undisturbed training"))?;
        let asked = result.stopped_after.is_none_or(|epochs| self.requested.may_end_after(job, epochs));
        require(asked, || format!("{job} ended early without a request"))?;
        self.counts.early += u64::from(result.stopped_after.is_some());
        seen.result = Some(result);
        Ok(())
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
