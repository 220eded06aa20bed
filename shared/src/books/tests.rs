//! Legal moves of a record, refused ones, and records of earlier versions.

use crate::blob::BlobRef;
use std::time::Duration;

use uuid::Uuid;

use super::*;

pub(super) fn token(attempt: u32, name: &str) -> Token {
    Token { attempt: Attempt(attempt), owner: WorkerId::new(name, Uuid::nil()) }
}

pub(super) fn running(by: &Token) -> JobRecord {
    let state = JobState::Running { token: by.clone(), beat: 0, progress: Progress::default() };
    JobRecord { state, attempts: by.attempt.0, ..JobRecord::pending() }
}

fn checkpoint(epoch: u32) -> Checkpoint {
    let blob = BlobRef { name: format!("c{epoch}"), sha256: String::new(), size: 1 };
    Checkpoint { epoch, step: 0, blob, origin: None }
}

#[test]
fn only_the_holder_moves_a_record() {
    let (me, zombie) = (token(2, "b"), token(1, "a"));
    let record = running(&me);
    assert!(record.beat(&me).is_ok());
    for outcome in [
        record.beat(&zombie),
        record.done(&zombie, None),
        record.released(&zombie, Release::Stopping),
        record.failed(&zombie, "x", &[], 1),
        record.deferred(&zombie, "x".into()),
        record.checkpointed(&zombie, checkpoint(1), Progress::default()),
        record.noted(&zombie, "x".into()),
        JobRecord::pending().done(&me, None),
    ] {
        assert!(outcome.is_err());
    }
    let same_attempt_other_life = Token { owner: WorkerId::new("b", Uuid::max()), ..me.clone() };
    assert!(record.beat(&same_attempt_other_life).is_err());
}

#[test]
fn the_newest_two_checkpoints_are_kept_and_wipe_the_losses() {
    let me = token(1, "a");
    let mut record = JobRecord { losses: 3, ..running(&me) };
    for epoch in 1..=3 {
        record = record.checkpointed(&me, checkpoint(epoch), Progress::default()).unwrap();
    }
    assert_eq!(record.checkpoints, [checkpoint(2), checkpoint(3)]);
    assert_eq!((record.losses, record.saved_epochs()), (0, 3));
    let done = record.done(&me, None).unwrap();
    assert_eq!(done.checkpoints, [checkpoint(3)], "a longer training may go on from it");
    assert!(done.without_checkpoints().checkpoints.is_empty());
    let early = record.done(&me, Some(3)).unwrap();
    assert_eq!(early.without_checkpoints().checkpoints.len(), 2);
}

#[test]
fn a_job_is_trained_again_only_when_it_has_ended() {
    let me = token(2, "a");
    let held = running(&me).checkpointed(&me, checkpoint(1), Progress::default()).unwrap();
    assert_eq!((held.anew(2), JobRecord::pending().anew(0)), (None, None));
    let failed = held.failed(&me, "x", &[], 1).unwrap();
    let failed = JobRecord { state: JobState::Parked { reason: "x".into() }, ..failed };
    for ended in [held.done(&me, None).unwrap(), failed] {
        let again = ended.anew(2).unwrap();
        assert_eq!((&again.state, again.attempts, again.losses), (&JobState::Pending, 2, 0));
        assert!(again.failures.is_empty() && again.checkpoints.is_empty(), "it begins from the start");
        assert_eq!(again.notes.len(), 1);
    }
}

#[test]
fn a_setback_costs_the_job_nothing_and_notes_stay_few() {
    let me = token(1, "a");
    let mut record = JobRecord::pending();
    for n in 0..30 {
        let held = JobRecord { state: running(&me).state, ..record };
        record = held.deferred(&me, format!("disk full {n}")).unwrap();
    }
    assert_eq!((record.deferrals, record.losses, record.failures.len()), (30, 0, 0));
    assert_eq!((record.notes.len(), record.notes.last().unwrap().as_str()), (MAX_NOTES, "disk full 29"));
}

/// Case 29: a job that was handed back keeps its last score.
#[test]
fn the_last_score_outlives_the_worker() {
    let me = token(1, "a");
    let scored = Progress { epoch: 6, score: Some(61.5), epoch_seconds: Some(2.0) };
    let record = running(&me).checkpointed(&me, checkpoint(6), scored).unwrap();
    let within_the_next_epoch = Progress { epoch: 6, ..Progress::default() };
    let record = record.checkpointed(&me, Checkpoint { step: 9, ..checkpoint(6) }, within_the_next_epoch);
    let released = record.unwrap().released(&me, Release::Stopping).unwrap();
    assert_eq!(released.last_score(), Some(61.5));
    let taken = released.claim(&token(2, "b").owner, Duration::ZERO, Duration::ZERO);
    let Claim::Take { record, .. } = taken else { panic!("a released job can be taken: {taken:?}") };
    assert_eq!(record.last_score(), Some(61.5));
    let JobState::Running { progress, .. } = &record.state else { panic!("it runs: {:?}", record.state) };
    assert_eq!(progress.score, None, "this worker has not finished an epoch yet");
}

#[test]
fn a_record_without_a_score_is_written_as_before_there_were_scores() {
    let text = serde_json::to_string(&JobRecord::pending()).unwrap();
    assert!(!text.contains("saved_score"), "{text}");
    assert_eq!(serde_json::from_str::<JobRecord>(&text).unwrap(), JobRecord::pending());
}

#[test]
fn records_of_version_1_are_read() {
    let old = r#"{"v":1,"state":{"state":"pending"},"attempts":1,"losses":0,"checkpoints":[],"notes":[],
        "failures":[{"token":{"attempt":1,"owner":"a-00000000"},"error":"x"}]}"#;
    let record: JobRecord = serde_json::from_str(old).unwrap();
    assert_eq!((record.deferrals, record.failures[0].mark), (0, 0));
}

#[test]
fn records_of_version_1_know_no_steps() {
    let me = token(7, "gpu0");
    let record = running(&me).checkpointed(&me, checkpoint(4), Progress::default()).unwrap();
    let text = serde_json::to_string(&record).unwrap();
    assert!(text.contains("\"step\":0,"));
    assert_eq!(serde_json::from_str::<JobRecord>(&text.replace("\"step\":0,", "")).unwrap(), record);
}

#[test]
fn records_read_back_as_written() {
    let me = token(7, "gpu0");
    let record = running(&me).checkpointed(&me, checkpoint(4), Progress::default()).unwrap();
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<JobRecord>(&text).unwrap(), record);
}

#[test]
fn a_job_that_ended_early_keeps_its_checkpoints_and_may_go_on() {
    let (me, later) = (token(2, "a"), token(3, "b"));
    let held = running(&me).checkpointed(&me, checkpoint(4), Progress::default()).unwrap();
    let early = held.done(&me, Some(4)).unwrap();
    assert_eq!(early.checkpoints, [checkpoint(4)]);
    let on = early.gone_on().unwrap();
    assert_eq!((&on.state, on.saved_epochs()), (&JobState::Pending, 4));
    assert!(on.notes[0].contains("after epoch 4"), "{:?}", on.notes);
    assert!(matches!(on.finished_by(&me, Some(4)), Late::Refused(_)), "the early result is known already");
    let held = JobRecord { state: running(&later).state, attempts: 3, ..on };
    assert!(matches!(held.finished_by(&later, None), Late::Accept(_)));
    assert_eq!(held.done(&later, None).unwrap().gone_on(), None, "it has no epoch left");
}

#[test]
fn a_job_is_trained_anew_once_whatever_it_has() {
    let me = token(2, "a");
    let held = running(&me).checkpointed(&me, checkpoint(1), Progress::default()).unwrap();
    assert_eq!(held.anew(2), None, "its holder drops it");
    let dropped = held.dropped(&me).unwrap();
    assert_eq!((dropped.retried_after, dropped.checkpoints.len()), (2, 0));
    assert_eq!(dropped.anew(2), None, "that has happened");
    let pending = held.released(&me, Release::Paused).unwrap().anew(2).unwrap();
    assert_eq!((pending.retried_after, pending.checkpoints.len()), (2, 0));
    let done = held.done(&me, None).unwrap().anew(2).unwrap();
    assert_eq!(done.state, JobState::Pending);
    assert!(matches!(done.finished_by(&me, None), Late::Refused(_)));
    assert_eq!(JobRecord::pending().anew(0), None, "nobody has worked on it yet");
}
