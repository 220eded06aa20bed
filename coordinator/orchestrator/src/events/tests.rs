//! Followers of one job: those that see every change, those that miss some, and those that come late.

use std::time::Duration;

use shared::blob::BlobRef;
use shared::books::{
    Checkpoint, Claim, History, JobRecord, LOG_TAIL, LogTail, Origin, Progress, Standing, Token, WorkerRecord,
};
use shared::bus::{BookEntry, Change, Fed, RequestEntry};
use shared::ids::{Attempt, JobId, RequestId, WorkerId};
use shared::metrics::{Metrics, Point, Ranking};
use shared::protocol::{
    Answer, CheckpointEvery, Demand, EnsembleState, JobChange, Request, Scoreboard, ScoredEnsemble,
    SweepRecord,
};
use uuid::Uuid;

use super::*;
use crate::sweep::plan::{DatasetSource, EnsembleRule, Filter, Plan, PlannedJob, Query, Requested};

fn job() -> JobId {
    JobId::new(Uuid::from_u128(1))
}

fn plan() -> Plan {
    let settings = serde_json::Map::new();
    let planned = PlannedJob {
        id: job(),
        group: "g".into(),
        also_in: vec![],
        params: settings.clone().into(),
        settings: settings.into(),
    };
    let rule = EnsembleRule {
        name: "all".into(),
        members: vec![Query::All { filter: Filter::new() }],
        size: 1,
        paper: None,
    };
    Plan {
        name: "s".into(),
        trainer: shared::mtl::trainer(),
        ranking: Ranking { metric: "score".into(), goal: shared::metrics::Goal::Max },
        dataset: Some(DatasetSource::Pack("p".into())),
        dataset_digest: None,
        checkpoint_every: CheckpointEvery::default(),
        keep_checkpoints: true,
        priority: shared::protocol::Priority::NORMAL,
        jobs: vec![planned],
        ensembles: vec![rule],
        tables: vec![],
        weights: vec![],
        requested: Requested::default(),
        notes: vec![],
    }
}

/// What the books said, one after the other.
#[derive(Default)]
struct Books {
    changes: Vec<Change>,
}

impl Books {
    fn record(&self) -> JobRecord {
        let newest = self.changes.iter().rev().find_map(|change| match change {
            Change::Record(entry) => Some(entry.record.clone()),
            _ => None,
        });
        newest.unwrap_or_else(JobRecord::pending)
    }

    fn write(&mut self, record: JobRecord) {
        let revision = self.changes.len() as u64 + 1;
        let entry = BookEntry { job: job(), record, revision, written_nanos: 0 };
        self.changes.push(Change::Record(Box::new(entry)));
    }

    fn claim(&mut self, worker: &str) -> Token {
        let me = WorkerId::new(worker, Uuid::nil());
        match self.record().claim(&me, Duration::from_mins(1), Duration::from_secs(15)) {
            Claim::Take { token, record } => {
                self.write(record);
                token
            }
            other => panic!("not taken: {other:?}"),
        }
    }

    fn epochs(&mut self, by: &Token, epochs: std::ops::RangeInclusive<u32>) {
        for epoch in epochs {
            let blob = BlobRef { name: format!("c{epoch}"), sha256: String::new(), size: 1 };
            let progress = Progress { epoch, score: Some(f64::from(epoch)), epoch_seconds: Some(1.0) };
            let next = self
                .record()
                .checkpointed(by, Checkpoint { epoch, step: 0, blob, origin: None }, progress)
                .unwrap();
            self.write(next.reported(by.attempt, vec![point(epoch)]));
        }
    }

    fn done(&mut self, by: &Token, epochs: u32) {
        let result = serde_json::json!({
            "v": 3, "job": job(), "trainer": {"kind": "mtl", "revision": 1}, "metrics": {"score": 1.0},
            "history": (1..=epochs).map(point).collect::<Vec<_>>(), "train_seconds": 1.0,
            "device": {"device": "cpu", "model": "m", "cpu_capability": "", "threads": 1, "host": "here"}, "worker": by.owner, "attempt": by.attempt,
        });
        let result = serde_json::from_value(result).unwrap();
        self.changes.push(Change::Result(Box::new(result)));
        self.write(self.record().done(by, None).unwrap());
    }

    /// What a follower is told that sees the changes which `sees` chooses.
    fn told(&self, since: Since, sees: impl Fn(usize) -> bool) -> Vec<EventKind> {
        let mut follower = Follower::of(&plan(), since);
        let changes = self.changes.iter().enumerate().filter(|(index, _)| sees(*index));
        let fed = changes.map(|(index, change)| fed(index as u64 + 1, change.clone()));
        fed.flat_map(|fed| follower.saw(&fed)).map(|event| event.kind).collect()
    }
}

fn fed(revision: u64, change: Change) -> Fed {
    Fed { revision, written_nanos: 1_500_000_000, change }
}

fn point(epoch: u32) -> Point {
    Point { epoch, step: 0, seconds: 1.0, metrics: Metrics::default().with("score", f64::from(epoch)) }
}

/// The events in short.
fn short(kinds: &[EventKind]) -> String {
    let words = kinds.iter().map(|kind| match kind {
        EventKind::Started { worker, epoch, .. } => format!("{} from {epoch}", worker.name()),
        EventKind::TakenOver { worker, from, epoch, .. } => {
            format!("{} after {} from {epoch}", worker.name(), from.name())
        }
        EventKind::Reported { attempt, epoch, .. } => format!("{}:{epoch}", attempt.0),
        EventKind::Logged { line, lines, .. } => format!("lines {line} to {}", line + lines.len() as u64 - 1),
        EventKind::GivenBack { .. } => "back".to_owned(),
        EventKind::Failed { error, .. } => format!("failed {error}"),
        EventKind::GivenUp { .. } => "given up".to_owned(),
        EventKind::Deferred { .. } => "deferred".to_owned(),
        EventKind::Done { worker, .. } => format!("done by {}", worker.name()),
        EventKind::Note { note, .. } => format!("note {note}"),
        EventKind::Suspected { worker, .. } => format!("{worker} suspected"),
        EventKind::Drained { worker, .. } => format!("{worker} drained"),
        EventKind::Trusted { worker } => format!("{worker} trusted"),
        EventKind::Asked { demand, .. } => format!("asked to {demand}"),
        EventKind::Answered { answer, .. } => format!("answered {answer}"),
        EventKind::Planned { generation } => format!("plan {generation}"),
        EventKind::EnsembleReady { ensemble, .. } => format!("{ensemble} ready"),
        EventKind::EnsembleScored { ensemble, state, .. } => match state.score() {
            Some(score) => format!("{ensemble} {score}"),
            None => format!("{ensemble} unscored"),
        },
    });
    words.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_late_follower_hears_of_every_report_that_an_early_one_heard_of() {
    let mut books = Books::default();
    books.write(JobRecord::pending());
    let one = books.claim("one");
    books.epochs(&one, 1..=3);
    let two = books.claim("two");
    books.epochs(&two, 4..=5);
    let early = books.told(Since::Beginning, |_| true);
    assert_eq!(short(&early), "one from 0, 1:1, 1:2, 1:3, two after one from 3, 2:4, 2:5");
    let newest = books.changes.len() - 1;
    let late = books.told(Since::Beginning, |index| index == newest);
    assert_eq!(short(&late), "1:1, 1:2, 1:3, two from 3, 2:4, 2:5");
    assert_eq!(short(&books.told(Since::Now, |index| index == newest)), "two from 5");
    books.done(&two, 6);
    let end = books.told(Since::Beginning, |_| true);
    assert_eq!(
        short(&end[early.len()..]),
        "2:6, done by two, all ready",
        "its last report came with its result"
    );
    let last = books.changes.len() - 2;
    let latest = books.told(Since::Beginning, |index| index >= last);
    assert_eq!(short(&latest), "2:1, 2:2, 2:3, 2:4, 2:5, 2:6, done by two, all ready");
    assert_eq!(short(&books.told(Since::Now, |index| index >= last)), "");
}

#[test]
fn whatever_a_follower_misses_it_hears_of_each_report_and_of_the_end_once() {
    let mut books = Books::default();
    books.write(JobRecord::pending());
    let one = books.claim("one");
    books.epochs(&one, 1..=2);
    books.write(books.record().failed(&one, "no memory", &[], 5).unwrap());
    let two = books.claim("two");
    books.epochs(&two, 3..=4);
    books.write(books.record().deferred(&two, "the disk is full".into()).unwrap());
    let three = books.claim("three");
    books.epochs(&three, 5..=6);
    books.done(&three, 6);
    let all = books.changes.len();
    for mask in 0_u32..1 << (all - 2) {
        let told = books.told(Since::Beginning, |index| index + 2 >= all || mask & (1 << index) != 0);
        let mut places: Vec<u32> = Vec::new();
        let mut ends = 0;
        for kind in &told {
            match kind {
                EventKind::Reported { epoch, .. } => places.push(*epoch),
                EventKind::Done { .. } => ends += 1,
                _ => {}
            }
        }
        assert_eq!((places, ends), ((1..=6).collect(), 1), "{mask:b}: {}", short(&told));
        assert!(short(&told).contains("failed no memory") && short(&told).contains("deferred"), "{mask:b}");
        assert!(!short(&told).contains("after one"), "nobody stopped responding: {}", short(&told));
    }
}

/// A record keeps only the newest reports of a long training.
#[test]
fn reports_that_the_record_no_longer_has_are_told_once() {
    let mut books = Books::default();
    let one = books.claim("one");
    let epochs = shared::books::MOST_REPORTS as u32 + 100;
    books.epochs(&one, 1..=epochs);
    books.done(&one, epochs);
    for seen in [0, 50, books.changes.len() - 3] {
        let mut places = Vec::new();
        for kind in books.told(Since::Beginning, |index| index >= seen) {
            if let EventKind::Reported { epoch, .. } = kind {
                places.push(epoch);
            }
        }
        places.sort_unstable();
        assert_eq!(places, (1..=epochs).collect::<Vec<_>>(), "seen from {seen} on");
    }
}

#[test]
fn a_job_that_is_trained_anew_is_told_anew() {
    let mut books = Books::default();
    let one = books.claim("one");
    books.epochs(&one, 1..=2);
    books.done(&one, 2);
    books.write(books.record().anew(1).unwrap());
    let two = books.claim("two");
    books.epochs(&two, 1..=2);
    books.done(&two, 2);
    let told = short(&books.told(Since::Beginning, |_| true));
    assert!(told.starts_with("one from 0, 1:1, 1:2, done by one, all ready, note trained anew"), "{told}");
    assert!(told.ends_with("two from 0, 2:1, 2:2, done by two, all ready"), "{told}");
}

#[test]
fn a_job_that_failed_for_good_twice_is_given_up_twice() {
    let mut books = Books::default();
    for _ in 0..2 {
        for worker in ["one", "two"] {
            let token = books.claim(worker);
            let revision = books.changes.len() as u64;
            books.write(books.record().failed(&token, "no memory", &[], revision).unwrap());
        }
        assert!(books.record().state.failure().is_some());
        books.write(books.record().reopened());
    }
    books.changes.pop();
    let (first, last) = (3, books.changes.len() - 1);
    let told = short(&books.told(Since::Beginning, |index| index == first || index == last));
    assert_eq!(told, "failed no memory, given up, failed no memory, given up");
}

/// It has reports before its first attempt.
#[test]
fn the_epochs_that_a_continued_job_starts_with_are_told_once() {
    let mut books = Books::default();
    let blob = BlobRef { name: "c2".into(), sha256: String::new(), size: 1 };
    let checkpoint = Checkpoint { epoch: 2, step: 0, blob, origin: None };
    let origin = Origin { job: JobId::new(Uuid::from_u128(2)), epochs: 2 };
    let told = History::of(Attempt(1), vec![point(1), point(2)]);
    books.write(JobRecord::going_on_from(&checkpoint, origin, told));
    let one = books.claim("one");
    books.epochs(&one, 3..=3);
    books.done(&one, 3);
    let told = short(&books.told(Since::Beginning, |_| true));
    assert!(told.ends_with("0:1, 0:2, one from 2, 1:3, done by one, all ready"), "{told}");
}

#[test]
fn notes_and_lines_are_told_once_even_if_a_record_has_lost_the_first() {
    let mut books = Books::default();
    let one = books.claim("one");
    let with_notes = |books: &Books, range: std::ops::Range<u32>| {
        let mut record = books.record();
        record.notes = range.map(|n| n.to_string()).collect();
        record
    };
    books.write(with_notes(&books, 0..20));
    books.write(with_notes(&books, 3..23));
    let told = short(&books.told(Since::Beginning, |index| index > 0));
    let expected: Vec<String> = (0..23).map(|n| format!("note {n}")).collect();
    assert_eq!(told.replace("one from 0, ", ""), expected.join(", "));
    let lines: Vec<String> = (0..LOG_TAIL).map(|n| n.to_string()).collect();
    for before in [0, 5, 60] {
        let tail = LogTail::of(one.attempt, before, &lines);
        books.write(JobRecord { notes: vec![], ..books.record() }.logged(Some(tail)));
    }
    let told = short(&books.told(Since::Beginning, |index| index > 2));
    assert_eq!(told, "one from 0, lines 0 to 19, lines 20 to 24, lines 60 to 79");
}

#[test]
fn workers_requests_and_plans_are_told_when_they_change() {
    let mut follower = Follower::of(&plan(), Since::Now);
    let mut told = |change: Change| {
        let events = follower.saw(&fed(1, change));
        short(&events.into_iter().map(|event| event.kind).collect::<Vec<_>>())
    };
    let standing = |standing| Change::Standing(WorkerRecord::new("cpu0", standing));
    assert_eq!(told(standing(Standing::Trusted)), "");
    assert_eq!(told(standing(Standing::Unfit { reason: "hot".into() })), "cpu0 drained");
    assert_eq!(told(standing(Standing::Unfit { reason: "hot".into() })), "");
    assert_eq!(told(standing(Standing::Trusted)), "cpu0 trusted");
    let request = |n: u128, sweep: &str, answer: Option<Answer>| {
        let demand = Demand::Jobs { jobs: vec![job()], change: JobChange::Pause };
        let request =
            Request { answer, ..Request::new(RequestId::new(Uuid::from_u128(n)), sweep, "ada", demand) };
        Change::Request(RequestEntry { request, revision: 1, written_nanos: 0 })
    };
    let done = || Some(Answer::Done { remarks: vec![] });
    assert_eq!(told(request(1, "s", None)), "asked to pause (1 job)");
    assert_eq!(told(request(1, "s", done())), "answered done");
    assert_eq!(told(request(1, "s", done())), "");
    assert_eq!(told(request(2, "s", done())), "", "it was answered before");
    assert_eq!(told(request(3, "another", None)), "");
    let sweep = |name: &str, generation| {
        let plan = BlobRef { name: "p".into(), sha256: String::new(), size: 1 };
        Change::Sweep(SweepRecord { v: 2, name: name.into(), plan, generation, changed_by: None })
    };
    assert_eq!(told(sweep("s", 3)), "");
    assert_eq!((told(sweep("s", 4)), told(sweep("another", 9))), ("plan 4".to_owned(), String::new()));
}

#[test]
fn ensembles_are_told_when_their_scores_change_and_not_when_a_candidate_is_done() {
    let mut follower = Follower::of(&plan(), Since::Now);
    let ensemble = |name: &str, waiting, state| ScoredEnsemble {
        name: name.to_owned(),
        candidates: 3,
        waiting,
        failed: 0,
        state,
    };
    let mut told = |sweep: &str, ensembles: Vec<ScoredEnsemble>| {
        let change = Change::Scoreboard { sweep: sweep.to_owned(), board: Scoreboard::new(ensembles) };
        let events = follower.saw(&fed(1, change));
        short(&events.into_iter().map(|event| event.kind).collect::<Vec<_>>())
    };
    let waiting = || EnsembleState::Waiting;
    let so_far = |members| EnsembleState::Provisional { members, val_macro_f1: 50.0 };
    let last = || EnsembleState::Final { members: 3, val_macro_f1: 50.0 };
    assert_eq!(told("s", vec![ensemble("a", 3, waiting()), ensemble("b", 3, waiting())]), "");
    assert_eq!(told("s", vec![ensemble("a", 2, so_far(1)), ensemble("b", 2, waiting())]), "a 50");
    assert_eq!(told("s", vec![ensemble("a", 1, so_far(1)), ensemble("b", 2, waiting())]), "");
    assert_eq!(told("another", vec![ensemble("a", 0, last())]), "");
    assert_eq!(told("s", vec![ensemble("a", 0, last()), ensemble("b", 0, last())]), "a 50, b 50");
    assert_eq!(told("s", vec![ensemble("b", 0, last())]), "");
    assert_eq!(told("s", vec![ensemble("a", 0, last())]), "a 50", "it was forgotten in between");
}

#[test]
fn events_are_written_with_version_and_time() {
    let mut books = Books::default();
    let one = books.claim("one");
    books.epochs(&one, 1..=1);
    let mut follower = Follower::of(&plan(), Since::Beginning);
    let events = follower.saw(&fed(2, books.changes[1].clone()));
    let state = EnsembleState::Final { members: 3, val_macro_f1: 50.5 };
    let ensemble = ScoredEnsemble { name: "all".into(), candidates: 3, waiting: 0, failed: 0, state };
    let scored = follower.saw_scoreboard(&Scoreboard::new(vec![ensemble]));
    let lines: Vec<String> = events
        .iter()
        .chain(&scored)
        .map(|event| serde_json::to_string(event).unwrap().replace(&job().to_string(), "JOB"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"v":1,"time":1.5,"event":"started","job":"JOB","worker":"one-00000000","attempt":1,"epoch":0}
    {"v":1,"time":1.5,"event":"epoch","job":"JOB","worker":"one-00000000","attempt":1,"epoch":1,"seconds":1.0,"score":1.0,"metrics":{"score":1.0}}
    {"v":1,"time":1.5,"event":"ensemble_scored","ensemble":"all","candidates":3,"waiting":0,"failed":0,"state":"final","members":3,"val_macro_f1":50.5}
    "#);
}
