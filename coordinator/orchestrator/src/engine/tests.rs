//! The engine against hand-made histories of one job.

use shared::blob::BlobRef;
use shared::books::{Checkpoint, Claim, Origin, Progress, Release, Standing, Token};
use shared::ids::WorkerId;
use shared::protocol::{Answer, Demand, JobChange, Priority};
use std::time::Duration;
use uuid::Uuid;

use super::*;

fn job() -> JobId {
    JobId::new(Uuid::from_u128(1))
}

fn engine() -> Engine {
    Engine::new([job()], &|_| false)
}

fn claim(record: &JobRecord, worker: &str) -> (Token, JobRecord) {
    let worker = WorkerId::new(worker, Uuid::nil());
    match record.claim(&worker, Duration::from_mins(1), Duration::from_secs(15)) {
        Claim::Take { token, record } => (token, record),
        other => panic!("not taken: {other:?}"),
    }
}

fn epoch(record: &JobRecord, by: &Token, epoch: u32) -> JobRecord {
    let blob = BlobRef { name: format!("c{epoch}"), sha256: String::new(), size: 1 };
    let progress = Progress { epoch, score: Some(40.0), epoch_seconds: Some(2.0) };
    record.checkpointed(by, Checkpoint { epoch, step: 0, blob, origin: None }, progress).unwrap()
}

fn record_changed(engine: &mut Engine, revision: u64, record: &JobRecord) -> Vec<Effect> {
    engine.apply(Event::RecordChanged { job: job(), revision, record: record.clone() })
}

#[test]
fn a_checkpoint_that_came_from_another_job_is_left_to_the_collector() {
    let mut engine = engine();
    let origin = Origin { job: JobId::new(Uuid::from_u128(7)), epochs: 1 };
    let (me, _) = claim(&JobRecord::pending(), "cpu0");
    let made = epoch(&claim(&JobRecord::pending(), "cpu0").1, &me, 1);
    let mut record = JobRecord::going_on_from(&made.checkpoints[0], origin, History::default());
    record_changed(&mut engine, 1, &record);
    let (token, claimed) = claim(&record, "cpu0");
    record = claimed;
    let effects = (2..=4).flat_map(|n| {
        record = epoch(&record, &token, n);
        record_changed(&mut engine, u64::from(n), &record)
    });
    let dropped = effects.filter(|effect| matches!(effect, Effect::DropCheckpoint(_)));
    assert_eq!(dropped.collect::<Vec<_>>(), [Effect::DropCheckpoint("c2".into())]);
}

/// A job of a sweep that another `ferry run` conducts may go on from it.
#[test]
fn the_checkpoint_of_a_finished_job_is_left_to_the_collector() {
    let mut engine = engine();
    let (token, record) = claim(&JobRecord::pending(), "cpu0");
    let done = epoch(&record, &token, 1).done(&token, None).unwrap();
    record_changed(&mut engine, 1, &done);
    let anew = done.anew(1).unwrap();
    assert!(anew.checkpoints.is_empty());
    let effects = record_changed(&mut engine, 2, &anew);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::DropCheckpoint(_))), "{effects:?}");
}

#[test]
fn a_job_goes_its_way_and_its_result_is_fetched_once() {
    let mut engine = engine();
    record_changed(&mut engine, 1, &JobRecord::pending());
    let (token, mut record) = claim(&JobRecord::pending(), "cpu0");
    assert_eq!(record_changed(&mut engine, 2, &record), []);
    for n in 1..=3 {
        record = epoch(&record, &token, n);
        let effects = record_changed(&mut engine, 2 + u64::from(n), &record);
        assert_eq!(effects.contains(&Effect::DropCheckpoint("c1".into())), n == 3);
    }
    let done = record.done(&token, None).unwrap();
    let effects = record_changed(&mut engine, 6, &done);
    assert!(effects.contains(&Effect::Fetch(job())));
    assert!(effects.contains(&Effect::DropCheckpoint("c2".into())));
    assert!(!effects.contains(&Effect::DropCheckpoint("c3".into())), "a longer training may go on from it");
    assert!(!engine.is_finished());
    assert_eq!(record_changed(&mut engine, 6, &done), [], "a replayed record asks for nothing");
    engine.apply(Event::Stored(job()));
    assert!(engine.is_finished());
    assert_eq!(engine.apply(Event::Reconcile), []);
    assert_eq!(engine.tally(), Tally { done: 1, ..Tally::default() });
}

#[test]
fn a_result_that_could_not_be_fetched_is_asked_for_again() {
    let mut engine = engine();
    let (token, record) = claim(&JobRecord::pending(), "cpu0");
    record_changed(&mut engine, 1, &record.done(&token, None).unwrap());
    engine.apply(Event::NotStored(job()));
    assert!(!engine.is_finished());
    assert_eq!(engine.apply(Event::Reconcile), [Effect::Fetch(job())]);
    assert_eq!(engine.apply(Event::Reconcile), [], "one fetch at a time");
}

#[test]
fn open_jobs_are_queued_again_and_failed_ones_are_not() {
    let mut engine = engine();
    assert_eq!(engine.apply(Event::Reconcile), [Effect::Enqueue(job())]);
    let mut record = JobRecord::pending();
    for n in 1..=3 {
        let (token, claimed) = claim(&record, "cpu0");
        record = claimed.failed(&token, &format!("e{n}"), &[], n).unwrap();
    }
    assert_eq!(record_changed(&mut engine, 9, &record), []);
    assert!(engine.is_finished());
    assert_eq!(engine.apply(Event::Reconcile), []);
    assert_eq!(
        engine.failures().map(|(id, _, why)| (id, why)).collect::<Vec<_>>(),
        [(job(), "3 tries failed, on cpu0: e3")]
    );
    assert_eq!(
        record_changed(&mut engine, 10, &record.reopened()),
        [Effect::Enqueue(job())],
        "it has left the queue"
    );
    assert!(!engine.is_finished());
}

/// Case 21: even while its first result is being fetched.
#[test]
fn a_job_that_is_trained_again_is_fetched_again() {
    let mut engine = engine();
    let (token, record) = claim(&JobRecord::pending(), "cpu0");
    let done = record.done(&token, None).unwrap();
    record_changed(&mut engine, 1, &done);
    let again = done.anew(1).unwrap();
    record_changed(&mut engine, 2, &again);
    engine.apply(Event::Stored(job()));
    assert!(!engine.is_finished());
    assert_eq!(engine.apply(Event::Reconcile), [Effect::Enqueue(job())]);
    let (token, record) = claim(&again, "cpu0");
    assert!(
        record_changed(&mut engine, 3, &record.done(&token, None).unwrap()).contains(&Effect::Fetch(job()))
    );
    engine.apply(Event::Stored(job()));
    assert!(engine.is_finished());
}

#[test]
fn a_result_that_cannot_be_used_fails_its_job() {
    let mut engine = engine();
    let (token, record) = claim(&JobRecord::pending(), "cpu0");
    let done = record.done(&token, None).unwrap();
    record_changed(&mut engine, 1, &done);
    engine.apply(Event::Refused { job: job(), why: "other samples".into() });
    assert!(engine.is_finished());
    assert_eq!((engine.tally().done, engine.tally().failed), (0, 1));
    assert_eq!(engine.failures().map(|(_, _, why)| why).collect::<Vec<_>>(), ["other samples"]);
    record_changed(&mut engine, 2, &done.anew(1).unwrap());
    assert!(!engine.is_finished() && engine.tally().pending == 1);
}

#[test]
fn what_an_earlier_run_stored_is_not_fetched_again() {
    let mut engine = Engine::new([job()], &|_| true);
    assert!(engine.is_finished());
    let (token, record) = claim(&JobRecord::pending(), "cpu0");
    let effects = record_changed(&mut engine, 1, &record.done(&token, None).unwrap());
    assert!(!effects.contains(&Effect::Fetch(job())));
    assert!(engine.is_finished());
}

#[test]
fn other_sweeps_jobs_are_passed_over() {
    let other = JobId::new(Uuid::from_u128(2));
    let event = Event::RecordChanged { job: other, revision: 1, record: JobRecord::pending() };
    assert_eq!(engine().apply(event), []);
}

#[test]
fn what_a_bad_worker_did_is_taken_back_before_the_sweep_can_end() {
    let mut engine = engine();
    record_changed(&mut engine, 1, &JobRecord::pending());
    let mut record = JobRecord::pending();
    for (revision, worker) in [(2, "bad"), (4, "good")] {
        let (token, claimed) = claim(&record, worker);
        record_changed(&mut engine, revision, &claimed);
        record = claimed.failed(&token, "e", &["line".into()], revision).unwrap();
        record_changed(&mut engine, revision + 1, &record);
        assert_eq!(engine.is_finished(), worker == "good");
    }
    assert!(engine.is_finished());
    let unfit = WorkerRecord::new("bad", Standing::Unfit { reason: "no device".into() });
    let effects = engine.apply(Event::StandingChanged { revision: 6, record: unfit.clone() });
    assert!(matches!(&effects[..], [
        Effect::Drained { .. },
        Effect::Swap { revision: 5, next, .. },
    ] if next.state == JobState::Pending && next.failures.len() == 1));
    assert!(!engine.is_finished(), "the job is open again, whether or not the books show it yet");
    assert_eq!(engine.apply(Event::StandingChanged { revision: 6, record: unfit }), [], "it is told once");
}

const PAUSED: Steering = Steering {
    wish: Wish::Pause,
    limit: None,
    checkpoint_instead: None,
    priority: None,
    anew_after: 0,
    retried_after: 0,
    changed_by: None,
};

fn id(n: u128) -> RequestId {
    RequestId::new(Uuid::from_u128(n))
}

fn ask(engine: &mut Engine, n: u128, change: JobChange) -> Vec<Effect> {
    let demand = Demand::Jobs { jobs: vec![job()], change };
    let request = Request::new(id(n), "s", "ada", demand);
    engine.apply(Event::Requested { revision: n as u64, request })
}

/// What follows from a request once it is carried out and its answer is in the books.
fn answered(engine: &mut Engine, n: u128, change: JobChange, steering: Steering) -> Vec<Effect> {
    assert_eq!(ask(engine, n, change), [Effect::CarryOut { request: id(n), job: job(), change }]);
    let outcome = CarriedOut::Done(steering);
    let effects = engine.apply(Event::CarriedOut { request: id(n), job: job(), outcome });
    let answer = Answer::Done { remarks: Vec::new() };
    assert!(effects.contains(&Effect::Answer { request: id(n), answer: answer.clone() }), "{effects:?}");
    let demand = Demand::Jobs { jobs: vec![job()], change };
    let request = Request { answer: Some(answer), ..Request::new(id(n), "s", "ada", demand) };
    engine.apply(Event::Requested { revision: 1000 + n as u64, request });
    effects
}

#[test]
fn a_paused_job_is_not_queued_and_keeps_the_sweep_open() {
    let mut engine = engine();
    record_changed(&mut engine, 1, &JobRecord::pending());
    answered(&mut engine, 1, JobChange::Pause, PAUSED);
    assert_eq!(engine.apply(Event::Reconcile), []);
    assert_eq!((engine.tally().paused, engine.open_jobs(), engine.is_finished()), (1, vec![], false));
    let effects = answered(&mut engine, 2, JobChange::Resume, Steering::default());
    assert!(effects.contains(&Effect::Enqueue(job())));
    assert_eq!(engine.apply(Event::Reconcile), [Effect::Enqueue(job())]);
}

#[test]
fn a_requested_priority_changes_what_a_job_needs() {
    let mut engine = engine();
    record_changed(&mut engine, 1, &JobRecord::pending());
    engine.shifted();
    let priority = Priority::new(-5).ok();
    let change = JobChange::Priority { priority };
    answered(&mut engine, 1, change, Steering { wish: Wish::Train, priority, ..PAUSED });
    assert_eq!(engine.shifted(), [job()]);
    assert_eq!(engine.need(job()), Need::Worker { finished_epochs: 0, priority });
    engine.shift_all();
    assert_eq!(engine.shifted(), [job()], "the priority of the sweep has changed");
}

#[test]
fn a_cancelled_job_ends_the_sweep_once_nobody_holds_it() {
    let mut engine = engine();
    let (token, record) = claim(&JobRecord::pending(), "cpu0");
    record_changed(&mut engine, 1, &record);
    answered(&mut engine, 1, JobChange::Cancel, Steering { wish: Wish::Cancel, ..PAUSED });
    assert!(!engine.is_finished(), "its worker has not stopped yet");
    record_changed(&mut engine, 2, &record.released(&token, Release::Stopping).unwrap());
    assert!(engine.is_finished());
    assert_eq!(engine.tally(), Tally { cancelled: 1, ..Tally::default() });
}

#[test]
fn a_job_that_ended_early_goes_on_before_the_sweep_can_end() {
    let mut engine = engine();
    let (token, record) = claim(&JobRecord::pending(), "cpu0");
    let early = epoch(&record, &token, 1).done(&token, Some(1)).unwrap();
    let limited = Steering { wish: Wish::Train, limit: Some(0), ..PAUSED };
    answered(&mut engine, 1, JobChange::StopEarly, limited);
    let effects = record_changed(&mut engine, 1, &early);
    assert!(
        effects.contains(&Effect::Fetch(job())) && !effects.iter().any(|e| matches!(e, Effect::Swap { .. }))
    );
    engine.apply(Event::Stored(job()));
    assert!(engine.is_finished());
    let effects = answered(&mut engine, 2, JobChange::Limit { epochs: None }, Steering::default());
    let next = early.gone_on().unwrap();
    assert!(effects.contains(&Effect::Swap { job: job(), revision: 1, next: next.clone() }), "{effects:?}");
    assert!(!engine.is_finished());
    record_changed(&mut engine, 2, &next);
    assert_eq!((engine.open_jobs(), engine.tally().pending), (vec![(job(), 1)], 1));
}

#[test]
fn a_coordinator_that_starts_again_brings_records_into_line() {
    let (token, record) = claim(&JobRecord::pending(), "cpu0");
    let done = record.done(&token, None).unwrap();
    let anew = Steering { wish: Wish::Train, anew_after: 1, ..PAUSED };
    let mut engine = Engine::new([job()], &|_| true).steered([(job(), anew)], 0);
    let effects = record_changed(&mut engine, 1, &done);
    let next = done.anew(1).unwrap();
    assert!(effects.contains(&Effect::Swap { job: job(), revision: 1, next: next.clone() }), "{effects:?}");
    assert!(!engine.is_finished());
    assert!(
        !record_changed(&mut engine, 2, &next).iter().any(|effect| matches!(effect, Effect::Swap { .. }))
    );
}

#[test]
fn withdrawn_jobs_are_no_longer_followed() {
    let mut engine = engine();
    let demand = Demand::Withdraw { jobs: vec![job()] };
    let request = Request::new(id(1), "s", "ada", demand.clone());
    let effects = engine.apply(Event::Requested { revision: 1, request });
    assert_eq!(effects, [Effect::ChangePlan { request: id(1), demand }]);
    let change = PlanChange { withdrawn: vec![job()], ..PlanChange::default() };
    engine.apply(Event::PlanChanged { request: id(1), outcome: Ok(change) });
    assert_eq!(engine.tally(), Tally::default());
    assert!(!engine.is_finished(), "the answer is not in the books yet");
    engine.apply(Event::RequestGone(id(1)));
    assert!(engine.is_finished());
}
