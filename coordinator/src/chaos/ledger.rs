//! What the faults cost, from what was seen of the books: work lost, times to recover and to lease a job anew. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use shared::books::{Checkpoint, JobRecord, JobState, Progress, Token};
use shared::ids::JobId;

use super::fault::Kind;
use super::observer::Sighting;

/// A fault as it was performed.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// Since the start of the play.
    pub at: Duration,
    pub kind: Kind,
    pub victim: Victim,
}

/// Whom a fault hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Victim {
    /// A worker that held this job with this token.
    Holder { job: JobId, token: Token },
    /// A worker without a job.
    Idle,
    /// All: the server, the coordinator or the queue.
    Everyone,
}

/// What one kind of fault did.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Row {
    pub injected: usize,
    /// Of these: on a worker at work.
    pub at_work: usize,
    /// Faults after which the job they hit (or, where they hit everyone, any job) moved on or was done.
    pub recovered: usize,
    /// Work of a device that was done again or thrown away.
    pub lost_seconds: f64,
    /// Until the next claim, epoch or end of the job that was hit (or of any job).
    pub recovery: Times,
    /// Until another attempt held the job that was hit, where one had to.
    pub lease: Times,
}

/// Median and worst of some times in seconds; `None` of no times.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Times {
    pub median: Option<f64>,
    pub worst: Option<f64>,
}

/// Everything the faults cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ledger {
    /// By kind; kinds that were not injected are left out.
    pub rows: BTreeMap<Kind, Row>,
    /// Work lost without a fault that explains it.
    pub unexplained_seconds: f64,
    /// All work lost.
    pub lost_seconds: f64,
    /// Over all jobs whose holder fell silent; those that were handed back are not among them.
    pub lease: Times,
}

impl Times {
    /// The upper median, so that it is a time that was measured.
    fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self { median: seconds.get(seconds.len() / 2).copied(), worst: seconds.last().copied() }
    }
}

/// Reckons it up. Both lists are in order of time.
pub fn reckon(injections: &[Injection], sightings: &[Sighting]) -> Ledger {
    let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
    let mut recoveries: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
    let mut leases: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
    for injection in injections {
        let row = rows.entry(injection.kind).or_default();
        row.injected += 1;
        row.at_work += usize::from(matches!(injection.victim, Victim::Holder { .. }));
        let recovery = recovery(injection, sightings);
        row.recovered += usize::from(recovery != Recovery::Never);
        if let Recovery::After(time) = recovery {
            recoveries.entry(injection.kind).or_default().push(time.as_secs_f64());
        }
        if let Some(time) = leased_anew(injection, sightings) {
            leases.entry(injection.kind).or_default().push(time.as_secs_f64());
        }
    }
    let silent = leases.iter().filter(|(kind, _)| **kind != Kind::StopWorker);
    let lease = Times::of(silent.flat_map(|(_, times)| times.iter().copied()).collect());
    for (kind, row) in &mut rows {
        row.recovery = Times::of(recoveries.remove(kind).unwrap_or_default());
        row.lease = Times::of(leases.remove(kind).unwrap_or_default());
    }
    let mut unexplained_seconds = 0.0;
    for loss in losses(injections, sightings) {
        match loss.cause.and_then(|kind| rows.get_mut(&kind)) {
            Some(row) => row.lost_seconds += loss.seconds,
            None => unexplained_seconds += loss.seconds,
        }
    }
    let lost_seconds = unexplained_seconds + rows.values().map(|row| row.lost_seconds).sum::<f64>();
    Ledger { rows, unexplained_seconds, lost_seconds, lease }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    After(Duration),
    /// Nothing had to recover: no job was hit, or none was left open.
    NotNeeded,
    Never,
}

fn recovery(injection: &Injection, sightings: &[Sighting]) -> Recovery {
    let concerned = |job: JobId| match &injection.victim {
        Victim::Holder { job: hit, .. } => *hit == job,
        Victim::Idle | Victim::Everyone => true,
    };
    if injection.victim == Victim::Idle {
        return Recovery::NotNeeded;
    }
    let mut before: BTreeMap<JobId, &Sighting> = BTreeMap::new();
    for sighting in sightings.iter().filter(|sighting| concerned(sighting.job)) {
        let previous = before.insert(sighting.job, sighting);
        if sighting.at > injection.at && previous.is_none_or(|previous| has_moved(previous, sighting)) {
            return Recovery::After(sighting.at.saturating_sub(injection.at));
        }
    }
    if before.values().all(|last| last.record.state.is_final()) {
        Recovery::NotNeeded
    } else {
        Recovery::Never
    }
}

/// A claim, an epoch or an end; not a mere sign of life.
fn has_moved(before: &Sighting, after: &Sighting) -> bool {
    match (&before.record.state, &after.record.state) {
        (JobState::Running { token: old, progress: past, .. }, JobState::Running { token, progress, .. }) => {
            token != old || progress.epoch > past.epoch
        }
        (_, JobState::Running { .. } | JobState::Done { .. }) => true,
        (_, JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. }) => false,
    }
}

/// Time until the job that was hit ran under another token. `None` when its holder kept it, or none was hit.
fn leased_anew(injection: &Injection, sightings: &[Sighting]) -> Option<Duration> {
    let Victim::Holder { job, token: hit } = &injection.victim else { return None };
    let later = sightings.iter().filter(|sighting| sighting.job == *job && sighting.at > injection.at);
    for sighting in later {
        match &sighting.record.state {
            JobState::Running { token, .. } if token != hit => {
                return Some(sighting.at.saturating_sub(injection.at));
            }
            JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => return None,
            JobState::Running { .. } | JobState::Pending => {}
        }
    }
    None
}

/// Work that counted for nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Loss {
    seconds: f64,
    cause: Option<Kind>,
}

/// An attempt at work, as the sightings tell of it.
struct Attempt<'a> {
    token: &'a Token,
    /// When its work was safe last: at its claim, then at each of its checkpoints.
    safe: Duration,
    /// What it said of itself then.
    progress: &'a Progress,
    newest: Option<&'a Checkpoint>,
}

fn losses(injections: &[Injection], sightings: &[Sighting]) -> Vec<Loss> {
    let mut by_job: BTreeMap<JobId, Vec<&Sighting>> = BTreeMap::new();
    for sighting in sightings {
        by_job.entry(sighting.job).or_default().push(sighting);
    }
    by_job.values().flat_map(|of_job| losses_of(injections, of_job)).collect()
}

fn losses_of(injections: &[Injection], sightings: &[&Sighting]) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut current: Option<Attempt> = None;
    let (mut furthest, mut damage) = (0, None);
    let winner = sightings.last().and_then(|last| winner(&last.record));
    for sighting in sightings {
        let (holder, progress) = match &sighting.record.state {
            JobState::Running { token, progress, .. } => (Some(token), Some(progress)),
            JobState::Done { token } => (Some(token), None),
            JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. } => (None, None),
        };
        if let Some(attempt) = current.take_if(|attempt| Some(attempt.token) != holder) {
            let loss = tail(injections, &attempt, sighting);
            damage = loss.cause;
            // What came late and was accepted all the same is not lost.
            losses.extend(Some(loss).filter(|_| Some(attempt.token) != winner));
        }
        let (Some(token), Some(progress)) = (holder, progress) else { continue };
        let newest = sighting.record.checkpoints.last();
        let fresh = Attempt { token, safe: sighting.at, progress, newest };
        match &mut current {
            Some(attempt) if (attempt.progress, attempt.newest) == (progress, newest) => {} // A mere sign of life.
            Some(attempt) => {
                let within_an_epoch = attempt.progress == progress;
                *attempt = fresh;
                // An epoch that had been safe before: its checkpoint was of no use.
                if !within_an_epoch
                    && progress.epoch <= furthest
                    && let Some(seconds) = progress.epoch_seconds
                {
                    losses.push(Loss { seconds, cause: damage });
                }
            }
            None => current = Some(fresh),
        }
        furthest = furthest.max(progress.epoch);
    }
    losses
}

fn winner(record: &JobRecord) -> Option<&Token> {
    match &record.state {
        JobState::Done { token } => Some(token),
        JobState::Pending | JobState::Running { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
            None
        }
    }
}

/// What an attempt that ended without a result had done since it was safe last.
fn tail(injections: &[Injection], attempt: &Attempt, end: &Sighting) -> Loss {
    let during = injections.iter().filter(|injection| injection.at < end.at);
    let mut own = during.clone().filter(|injection| {
        matches!(&injection.victim, Victim::Holder { job, token } if *job == end.job && token == attempt.token)
    });
    let lethal = own.clone().find(|injection| injection.kind.is_lethal());
    let mut everyone =
        during.filter(|injection| injection.victim == Victim::Everyone && injection.at > attempt.safe);
    let cause = lethal.or_else(|| own.next_back()).or_else(|| everyone.next_back());
    // From a lethal fault on nothing was done that could be lost.
    let worked_until = lethal.map_or(end.at, |injection| injection.at.max(attempt.safe));
    let seconds = worked_until.saturating_sub(attempt.safe).as_secs_f64();
    Loss { seconds, cause: cause.map(|injection| injection.kind) }
}

#[cfg(test)]
mod tests {
    use shared::ids::{Attempt as Number, WorkerId};
    use shared::result::BlobRef;
    use uuid::Uuid;

    use super::*;

    const JOB: JobId = JobId::new(Uuid::nil());

    fn token(attempt: u32, name: &str) -> Token {
        Token { attempt: Number(attempt), owner: WorkerId::new(name, Uuid::nil()) }
    }

    fn seen(at: u64, state: JobState) -> Sighting {
        let record = JobRecord { state, ..JobRecord::pending() };
        Sighting { at: Duration::from_secs(at), job: JOB, revision: at, record }
    }

    fn runs(at: u64, token: Token, epoch: u32) -> Sighting {
        let progress = Progress { epoch, epoch_seconds: Some(2.0), ..Progress::default() };
        seen(at, JobState::Running { token, beat: 0, progress })
    }

    fn claims(at: u64, token: Token, epoch: u32) -> Sighting {
        let progress = Progress { epoch, ..Progress::default() };
        seen(at, JobState::Running { token, beat: 0, progress })
    }

    fn hits(at: u64, kind: Kind, token: Token) -> Injection {
        Injection { at: Duration::from_secs(at), kind, victim: Victim::Holder { job: JOB, token } }
    }

    /// Claimed at 10 s, first epoch at 12 s, killed at 15 s, taken over at 31 s, done at 40 s.
    fn kill() -> (Vec<Injection>, Vec<Sighting>) {
        let (first, second) = (token(1, "a"), token(2, "b"));
        let sightings = vec![
            seen(1, JobState::Pending),
            claims(10, first.clone(), 0),
            runs(12, first.clone(), 1),
            runs(14, first.clone(), 1),
            claims(31, second.clone(), 1),
            runs(33, second.clone(), 2),
            seen(40, JobState::Done { token: second }),
        ];
        (vec![hits(15, Kind::KillWorker, first)], sightings)
    }

    #[test]
    fn a_kill_costs_the_work_since_the_checkpoint_and_the_lease() {
        let (injections, sightings) = kill();
        let ledger = reckon(&injections, &sightings);
        let row = ledger.rows[&Kind::KillWorker];
        assert_eq!((row.injected, row.at_work, row.recovered), (1, 1, 1));
        assert!((row.lost_seconds - 3.0).abs() < 1e-9, "{}", row.lost_seconds);
        assert_eq!(row.lease, Times { median: Some(16.0), worst: Some(16.0) });
        assert_eq!((row.recovery, ledger.lease), (row.lease, row.lease));
        assert!(ledger.unexplained_seconds.abs() < 1e-9);
    }

    #[test]
    fn what_was_saved_within_an_epoch_or_accepted_late_is_not_lost() {
        let (_, mut sightings) = kill();
        let injections = [hits(15, Kind::StopWorker, token(1, "a"))];
        let blob = BlobRef { name: "c".into(), sha256: String::new(), size: 1 };
        let mut handed_over = runs(16, token(1, "a"), 1);
        handed_over.record.checkpoints.push(Checkpoint { epoch: 1, step: 3, blob });
        sightings.insert(4, handed_over);
        assert!(reckon(&injections, &sightings).lost_seconds.abs() < 1e-9);

        let (injections, mut sightings) = kill();
        sightings[6] = seen(40, JobState::Done { token: token(1, "a") });
        let lost = reckon(&injections, &sightings).lost_seconds;
        assert!((lost - 7.0).abs() < 1e-9, "what the second did since its checkpoint: {lost}");
    }

    #[test]
    fn an_epoch_that_is_trained_again_is_lost() {
        let (injections, mut sightings) = kill();
        // The claim names the checkpoint of epoch 1, which was of no use: the epoch is trained again.
        sightings[4] = claims(31, token(2, "b"), 1);
        sightings[5] = runs(33, token(2, "b"), 1);
        let injections = [hits(15, Kind::DamageCheckpoint, token(1, "a")), injections[0].clone()];
        let ledger = reckon(&injections, &sightings);
        assert!((ledger.rows[&Kind::DamageCheckpoint].lost_seconds - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_takeover_that_no_fault_explains_is_told_apart() {
        let (_, sightings) = kill();
        let ledger = reckon(&[], &sightings);
        assert!((ledger.unexplained_seconds - 19.0).abs() < 1e-9, "{}", ledger.unexplained_seconds);
        let everyone =
            Injection { at: Duration::from_secs(20), kind: Kind::KillServer, victim: Victim::Everyone };
        let ledger = reckon(&[everyone], &sightings);
        assert!((ledger.rows[&Kind::KillServer].lost_seconds - 19.0).abs() < 1e-9);
        assert_eq!(ledger.rows[&Kind::KillServer].recovery.worst, Some(11.0));
    }

    #[test]
    fn a_job_that_never_moves_again_has_not_recovered() {
        let (injections, mut sightings) = kill();
        sightings.truncate(4);
        sightings.push(runs(17, token(1, "a"), 1)); // A mere sign of life.
        assert_eq!(reckon(&injections, &sightings).rows[&Kind::KillWorker].recovered, 0);
    }

    #[test]
    fn faults_that_hit_nobody_or_come_after_the_end_need_no_recovery() {
        let (_, sightings) = kill();
        let at = Duration::from_secs(50);
        let late = Injection { at, kind: Kind::KillServer, victim: Victim::Everyone };
        let idle = Injection { at, kind: Kind::KillWorker, victim: Victim::Idle };
        let ledger = reckon(&[late, idle], &sightings);
        assert_eq!(ledger.rows.values().map(|row| row.recovered).sum::<usize>(), 2);
        assert_eq!(ledger.rows[&Kind::KillServer].recovery, Times::default());
    }
}
