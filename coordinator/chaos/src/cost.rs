//! What the faults cost: lost work, the time until a job moved on, and the time until another attempt held it. Computed
//! only from the observed records. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use shared::books::{Checkpoint, JobRecord, JobState, Progress, Token};
use shared::ids::JobId;

use super::fault::Kind;
use super::observer::Observation;

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// Since the start of the run.
    pub at: Duration,
    pub kind: Kind,
    pub target: Target,
}

/// What a fault hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A worker that held this job with this token.
    Holder { job: JobId, token: Token },
    /// A worker without a job.
    Idle,
    /// The server, the coordinator or the queue, and so every job.
    Everyone,
}

/// What all faults of one kind cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Row {
    pub injected: usize,
    /// How many of these hit a worker that held a job.
    pub at_work: usize,
    /// How many faults the job that they hit (any job, if they hit everyone) recovered from: it moved on or was done.
    pub recovered: usize,
    /// Work that was repeated or thrown away.
    pub lost_seconds: f64,
    /// Time until the next claim, epoch or end of the job that was hit (of any job, if the fault hit everyone).
    pub recovery: Times,
    /// Time until another attempt held the job that was hit, if one had to take over.
    pub lease: Times,
}

/// Median and worst of some times in seconds; `None` if there are none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Times {
    pub median: Option<f64>,
    pub worst: Option<f64>,
}

/// What all faults cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Costs {
    /// Rows by kind, for the kinds that were injected.
    pub rows: BTreeMap<Kind, Row>,
    /// Lost work that no fault explains.
    pub unexplained_seconds: f64,
    /// All lost work.
    pub lost_seconds: f64,
    /// For all jobs whose holder fell silent, except those that were handed back.
    pub lease: Times,
}

impl Times {
    /// With the upper median, because that is a measured time.
    fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self { median: seconds.get(seconds.len() / 2).copied(), worst: seconds.last().copied() }
    }
}

/// Computes the costs. Both lists must be in order of time.
pub fn of(injections: &[Injection], observations: &[Observation]) -> Costs {
    let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
    let mut recoveries: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
    let mut leases: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
    for injection in injections {
        let row = rows.entry(injection.kind).or_default();
        row.injected += 1;
        row.at_work += usize::from(matches!(injection.target, Target::Holder { .. }));
        let recovery = recovery(injection, observations);
        row.recovered += usize::from(recovery != Recovery::Never);
        if let Recovery::After(time) = recovery {
            recoveries.entry(injection.kind).or_default().push(time.as_secs_f64());
        }
        if let Some(time) = taken_over_after(injection, observations) {
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
    for loss in losses(injections, observations) {
        match loss.cause.and_then(|kind| rows.get_mut(&kind)) {
            Some(row) => row.lost_seconds += loss.seconds,
            None => unexplained_seconds += loss.seconds,
        }
    }
    let lost_seconds = unexplained_seconds + rows.values().map(|row| row.lost_seconds).sum::<f64>();
    Costs { rows, unexplained_seconds, lost_seconds, lease }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    After(Duration),
    /// No job was hit, or all have ended.
    NotNeeded,
    Never,
}

fn recovery(injection: &Injection, observations: &[Observation]) -> Recovery {
    let affected = |job: JobId| match &injection.target {
        Target::Holder { job: hit, .. } => *hit == job,
        Target::Idle | Target::Everyone => true,
    };
    if injection.target == Target::Idle {
        return Recovery::NotNeeded;
    }
    let mut before: BTreeMap<JobId, &Observation> = BTreeMap::new();
    for observation in observations.iter().filter(|observation| affected(observation.job)) {
        let previous = before.insert(observation.job, observation);
        if observation.at > injection.at && previous.is_none_or(|previous| has_moved(previous, observation)) {
            return Recovery::After(observation.at.saturating_sub(injection.at));
        }
    }
    if before.values().all(|last| last.record.state.is_final()) {
        Recovery::NotNeeded
    } else {
        Recovery::Never
    }
}

/// A claim, an epoch or an end, and not just a heartbeat.
fn has_moved(before: &Observation, after: &Observation) -> bool {
    match (&before.record.state, &after.record.state) {
        (JobState::Running { token: old, progress: past, .. }, JobState::Running { token, progress, .. }) => {
            token != old || progress.epoch > past.epoch
        }
        (_, JobState::Running { .. } | JobState::Done { .. }) => true,
        (_, JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. }) => false,
    }
}

/// Time until another attempt held the job that was hit. `None` if its holder kept it, or no job was hit.
fn taken_over_after(injection: &Injection, observations: &[Observation]) -> Option<Duration> {
    let Target::Holder { job, token: hit } = &injection.target else { return None };
    let later =
        observations.iter().filter(|observation| observation.job == *job && observation.at > injection.at);
    for observation in later {
        match &observation.record.state {
            JobState::Running { token, .. } if token != hit => {
                return Some(observation.at.saturating_sub(injection.at));
            }
            JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => return None,
            JobState::Running { .. } | JobState::Pending => {}
        }
    }
    None
}

/// Work that was lost.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Loss {
    seconds: f64,
    cause: Option<Kind>,
}

/// An attempt, as it was observed.
struct Attempt<'a> {
    token: &'a Token,
    /// When its work was last safe: at the claim, then at each checkpoint.
    safe: Duration,
    /// Its progress at that time.
    progress: &'a Progress,
    newest: Option<&'a Checkpoint>,
}

fn losses(injections: &[Injection], observations: &[Observation]) -> Vec<Loss> {
    let mut by_job: BTreeMap<JobId, Vec<&Observation>> = BTreeMap::new();
    for observation in observations {
        by_job.entry(observation.job).or_default().push(observation);
    }
    by_job.values().flat_map(|of_job| losses_of(injections, of_job)).collect()
}

fn losses_of(injections: &[Injection], observations: &[&Observation]) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut current: Option<Attempt> = None;
    let (mut furthest, mut damage) = (0, None);
    let winner = observations.last().and_then(|last| winner(&last.record));
    for observation in observations {
        let (holder, progress) = match &observation.record.state {
            JobState::Running { token, progress, .. } => (Some(token), Some(progress)),
            JobState::Done { token, .. } => (Some(token), None),
            JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. } => (None, None),
        };
        if let Some(attempt) = current.take_if(|attempt| Some(attempt.token) != holder) {
            let loss = unsaved_work(injections, &attempt, observation);
            damage = loss.cause;
            // A late result that was accepted is not lost.
            losses.extend(Some(loss).filter(|_| Some(attempt.token) != winner));
        }
        let (Some(token), Some(progress)) = (holder, progress) else { continue };
        let newest = observation.record.checkpoints.last();
        let fresh = Attempt { token, safe: observation.at, progress, newest };
        match &mut current {
            Some(attempt) if (attempt.progress, attempt.newest) == (progress, newest) => {} // Only a heartbeat.
            Some(attempt) => {
                let within_an_epoch = attempt.progress == progress;
                *attempt = fresh;
                // This epoch was stored before, but its checkpoint could not be used.
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
        JobState::Done { token, .. } => Some(token),
        JobState::Pending | JobState::Running { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
            None
        }
    }
}

/// The work of an attempt without a result since its work was last safe.
fn unsaved_work(injections: &[Injection], attempt: &Attempt, end: &Observation) -> Loss {
    let during = injections.iter().filter(|injection| injection.at < end.at);
    let mut own = during.clone().filter(|injection| {
        matches!(&injection.target, Target::Holder { job, token } if *job == end.job && token == attempt.token)
    });
    let lethal = own.clone().find(|injection| injection.kind.is_lethal());
    let mut everyone =
        during.filter(|injection| injection.target == Target::Everyone && injection.at > attempt.safe);
    let cause = lethal.or_else(|| own.next_back()).or_else(|| everyone.next_back());
    // A worker does no work after a lethal fault, so none could be lost.
    let worked_until = lethal.map_or(end.at, |injection| injection.at.max(attempt.safe));
    let seconds = worked_until.saturating_sub(attempt.safe).as_secs_f64();
    Loss { seconds, cause: cause.map(|injection| injection.kind) }
}

#[cfg(test)]
mod tests {
    use shared::blob::BlobRef;
    use shared::ids::{Attempt as Number, WorkerId};
    use uuid::Uuid;

    use super::*;

    const JOB: JobId = JobId::new(Uuid::nil());

    fn token(attempt: u32, name: &str) -> Token {
        Token { attempt: Number(attempt), owner: WorkerId::new(name, Uuid::nil()) }
    }

    fn seen(at: u64, state: JobState) -> Observation {
        let record = JobRecord { state, ..JobRecord::pending() };
        Observation { at: Duration::from_secs(at), job: JOB, revision: at, record }
    }

    fn runs(at: u64, token: Token, epoch: u32) -> Observation {
        let progress = Progress { epoch, epoch_seconds: Some(2.0), ..Progress::default() };
        seen(at, JobState::Running { token, beat: 0, progress })
    }

    fn claims(at: u64, token: Token, epoch: u32) -> Observation {
        let progress = Progress { epoch, ..Progress::default() };
        seen(at, JobState::Running { token, beat: 0, progress })
    }

    fn hits(at: u64, kind: Kind, token: Token) -> Injection {
        Injection { at: Duration::from_secs(at), kind, target: Target::Holder { job: JOB, token } }
    }

    /// Claimed at 10 s, first epoch at 12 s, killed at 15 s, taken over at 31 s, done at 40 s.
    fn kill() -> (Vec<Injection>, Vec<Observation>) {
        let (first, second) = (token(1, "a"), token(2, "b"));
        let observations = vec![
            seen(1, JobState::Pending),
            claims(10, first.clone(), 0),
            runs(12, first.clone(), 1),
            runs(14, first.clone(), 1),
            claims(31, second.clone(), 1),
            runs(33, second.clone(), 2),
            seen(40, JobState::Done { token: second, stopped_after: None }),
        ];
        (vec![hits(15, Kind::KillWorker, first)], observations)
    }

    #[test]
    fn a_kill_costs_the_work_since_the_checkpoint_and_the_lease() {
        let (injections, observations) = kill();
        let costs = of(&injections, &observations);
        let row = costs.rows[&Kind::KillWorker];
        assert_eq!((row.injected, row.at_work, row.recovered), (1, 1, 1));
        assert!((row.lost_seconds - 3.0).abs() < 1e-9, "{}", row.lost_seconds);
        assert_eq!(row.lease, Times { median: Some(16.0), worst: Some(16.0) });
        assert_eq!((row.recovery, costs.lease), (row.lease, row.lease));
        assert!(costs.unexplained_seconds.abs() < 1e-9);
    }

    #[test]
    fn what_was_saved_within_an_epoch_or_accepted_late_is_not_lost() {
        let (_, mut observations) = kill();
        let injections = [hits(15, Kind::StopWorker, token(1, "a"))];
        let blob = BlobRef { name: "c".into(), sha256: String::new(), size: 1 };
        let mut handed_back = runs(16, token(1, "a"), 1);
        handed_back.record.checkpoints.push(Checkpoint { epoch: 1, step: 3, blob, origin: None });
        observations.insert(4, handed_back);
        assert!(of(&injections, &observations).lost_seconds.abs() < 1e-9);

        let (injections, mut observations) = kill();
        observations[6] = seen(40, JobState::Done { token: token(1, "a"), stopped_after: None });
        let lost = of(&injections, &observations).lost_seconds;
        assert!((lost - 7.0).abs() < 1e-9, "the work of the second attempt since its checkpoint: {lost}");
    }

    #[test]
    fn an_epoch_that_is_trained_again_is_lost() {
        let (injections, mut observations) = kill();
        // The claim names the checkpoint of epoch 1, which cannot be used: the epoch is trained again.
        observations[4] = claims(31, token(2, "b"), 1);
        observations[5] = runs(33, token(2, "b"), 1);
        let injections = [hits(15, Kind::DamageCheckpoint, token(1, "a")), injections[0].clone()];
        let costs = of(&injections, &observations);
        assert!((costs.rows[&Kind::DamageCheckpoint].lost_seconds - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_takeover_that_no_fault_explains_is_counted_apart() {
        let (_, observations) = kill();
        let costs = of(&[], &observations);
        assert!((costs.unexplained_seconds - 19.0).abs() < 1e-9, "{}", costs.unexplained_seconds);
        let everyone =
            Injection { at: Duration::from_secs(20), kind: Kind::KillServer, target: Target::Everyone };
        let costs = of(&[everyone], &observations);
        assert!((costs.rows[&Kind::KillServer].lost_seconds - 19.0).abs() < 1e-9);
        assert_eq!(costs.rows[&Kind::KillServer].recovery.worst, Some(11.0));
    }

    #[test]
    fn a_job_that_never_moves_again_has_not_recovered() {
        let (injections, mut observations) = kill();
        observations.truncate(4);
        observations.push(runs(17, token(1, "a"), 1)); // Only a heartbeat.
        assert_eq!(of(&injections, &observations).rows[&Kind::KillWorker].recovered, 0);
    }

    #[test]
    fn faults_that_hit_nobody_or_come_after_the_end_need_no_recovery() {
        let (_, observations) = kill();
        let at = Duration::from_secs(50);
        let late = Injection { at, kind: Kind::KillServer, target: Target::Everyone };
        let idle = Injection { at, kind: Kind::KillWorker, target: Target::Idle };
        let costs = of(&[late, idle], &observations);
        assert_eq!(costs.rows.values().map(|row| row.recovered).sum::<usize>(), 2);
        assert_eq!(costs.rows[&Kind::KillServer].recovery, Times::default());
    }
}
