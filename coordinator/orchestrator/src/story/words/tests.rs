//! Stories of jobs that change hands, of jobs that only a run folder knows, and what a name means.

use std::collections::BTreeMap;

use shared::blob::BlobRef;
use shared::books::{
    Checkpoint, Claim, Incident, JobRecord, Late, Progress, Release, Standing, Token, WorkerRecord,
};
use shared::device::DeviceRecord;
use shared::ids::{JobId, RequestId, WorkerId};
use shared::job::{Inputs, Kind, TrainerId};
use shared::log::JobLog;
use shared::metrics::{Goal, Metrics, Point, Ranking};
use shared::protocol::{
    Answer, CheckpointEvery, Demand, JobChange, Presence, Priority, Readiness, Request, Wish,
};
use shared::result::JobResult;
use uuid::Uuid;

use super::super::{InBooks, Named, NoName, named};
use super::*;
use crate::run_dir::{JobFailure, JobFiles};
use crate::sweep::plan::{EnsembleRule, Plan, PlannedJob, Requested};

/// 2024-12-01 13:20:00 UTC.
const START: u64 = 1_733_059_200;

fn id(n: u128) -> JobId {
    JobId::new(Uuid::from_u128(n << 96))
}

/// Of a trainer that this program does not know.
fn trainer() -> TrainerId {
    TrainerId { kind: Kind::new("unknown").unwrap(), revision: 1 }
}

fn job(n: u128, group: &str) -> PlannedJob {
    let settings = serde_json::Map::new();
    PlannedJob {
        id: id(n),
        group: group.into(),
        also_in: vec![],
        params: settings.clone().into(),
        settings: settings.into(),
    }
}

fn plan(jobs: Vec<PlannedJob>, ensembles: &[&str]) -> Plan {
    let rule = |name: &&str| EnsembleRule { name: (*name).into(), members: vec![], size: 0, paper: None };
    Plan {
        name: "demo".into(),
        trainer: trainer(),
        ranking: Ranking { metric: "score".into(), goal: Goal::Max },
        dataset: None,
        dataset_digest: None,
        checkpoint_every: CheckpointEvery::default(),
        keep_checkpoints: true,
        priority: Priority::NORMAL,
        jobs,
        ensembles: ensembles.iter().map(rule).collect(),
        tables: vec![],
        weights: vec![],
        requested: Requested::default(),
        notes: vec![],
    }
}

fn claimed(record: &JobRecord, name: &str, silent: u64, after: u64) -> (Token, JobRecord) {
    let (me, age) = (WorkerId::new(name, Uuid::nil()), Duration::from_secs(silent));
    match record.claim(&me, age, Duration::from_secs(15)) {
        Claim::Take { token, record } => (token, record.dated(Some(START + after))),
        other => panic!("not taken: {other:?}"),
    }
}

fn saved(record: &JobRecord, by: &Token, epoch: u32) -> JobRecord {
    let blob = BlobRef { name: "c".into(), sha256: String::new(), size: 2_500_000 };
    let checkpoint = Checkpoint { epoch, step: 0, blob, origin: None };
    record.checkpointed(by, checkpoint, Progress { epoch, ..Progress::default() }).unwrap()
}

fn result(by: &Token, epochs: u32) -> JobResult {
    let point = |epoch| Point { epoch, step: 0, seconds: 1.0, metrics: Metrics::default() };
    JobResult {
        v: JobResult::VERSION,
        job: id(7),
        trainer: trainer(),
        inputs: Inputs::default(),
        metrics: Metrics::default().with("score", 61.5),
        history: (1..=epochs).map(point).collect(),
        best_epoch: Some(5),
        stopped_after: Some(epochs),
        predictions: BTreeMap::default(),
        artifacts: BTreeMap::default(),
        train_seconds: 400.0,
        device: DeviceRecord {
            device: "cuda:0".into(),
            model: "NVIDIA H200".into(),
            memory: None,
            uuid: None,
            cpu_capability: String::new(),
            threads: 1,
            host: "node7".into(),
        },
        software: None,
        worker: by.owner.clone(),
        attempt: by.attempt,
        times: None,
        log: JobLog::default(),
        peak_memory: None,
    }
}

/// What the books say of a job and of nothing else.
fn alone(record: &JobRecord) -> InBooks<'_> {
    InBooks {
        record,
        written: Some(START + 900),
        ordered: Some(START),
        wish: Wish::Train,
        result: None,
        requests: &[],
        standings: &[],
        present: &[],
    }
}

fn told(known: &InBooks<'_>) -> String {
    let plan = plan(vec![job(7, "weak")], &[]);
    in_words(&Story { epochs: 12, ..Story::of_books(&plan, &plan.jobs[0], known) })
}

/// Lost by one worker, failed on a second, done early by a third.
fn eventful() -> (JobRecord, Token) {
    let (one, record) = claimed(&JobRecord::pending(), "gpu0", 0, 5);
    let (two, record) = claimed(&saved(&record, &one, 3), "gpu1", 20, 300);
    let record = record.failed(&two, "the loss is\nnot finite", &[], 1).unwrap().dated(Some(START + 360));
    let (three, record) = claimed(&record, "node7", 0, 365);
    let record = record.noted(&three, "epoch 4 was slow".into()).unwrap();
    (record.done(&three, Some(6)).unwrap().dated(Some(START + 700)), three)
}

#[test]
fn the_story_of_an_eventful_job() {
    let (record, three) = eventful();
    let change = JobChange::Limit { epochs: Some(6) };
    let request = |jobs| Request {
        answer: Some(Answer::Done { remarks: Vec::new() }),
        ..Request::new(RequestId::new(Uuid::nil()), "demo", "ada@head", Demand::Jobs { jobs, change })
    };
    let requests = [(Some(START + 370), request(vec![id(7)])), (Some(START + 371), request(vec![id(8)]))];
    let failed = |job| Incident { job, kind: IncidentKind::Failed { error: "not finite".into() } };
    let incidents = vec![failed(id(7)), failed(id(7)), failed(id(8))];
    let standings = [WorkerRecord::new("gpu1", Standing::Probation { incidents })];
    let present = [Presence {
        worker: WorkerId::new("gpu1", Uuid::nil()),
        host: "node7".into(),
        device: "cuda:1 (NVIDIA H200)".into(),
        job: None,
        trainers: vec![],
        readiness: Readiness::Ready,
    }];
    let known = InBooks {
        result: Some(&result(&three, 6)),
        requests: &requests,
        standings: &standings,
        present: &present,
        ..alone(&record)
    };
    insta::assert_snapshot!(told(&known), @r"
    00000007  weak  of demo
    It is done early, on request: score 61.50 after 6 of 12 epochs, the best was 5; trained for 6 min 40 s on cuda:0 (NVIDIA H200) on node7, by attempt 3 on node7.

    2024-12-01 13:20:00  ordered
    2024-12-01 13:20:05  attempt 1 on gpu0, from the start
    2024-12-01 13:25:00  attempt 1 was lost: gpu0 had been silent for 20 s
    2024-12-01 13:25:00  attempt 2 on gpu1, from epoch 3
    2024-12-01 13:26:00  attempt 2 failed: the loss is not finite
    2024-12-01 13:26:05  attempt 3 on node7, cuda:0 (NVIDIA H200) on node7, from epoch 3
    2024-12-01 13:26:10  ada@head asked: stop after epoch 6 (1 job); done
    2024-12-01 13:31:40  attempt 3 is done early, after epoch 6

    Checkpoints
      epoch 3, 2.5 MB

    What counts against workers because of it
      gpu1 is on probation: it failed there: not finite

    Notes
      epoch 4 was slow

    Times are the server's, in UTC.
    ");
    // The device of the worker that holds the job is known, and of no other one with its name.
    let (_, held) = claimed(&JobRecord::pending(), "gpu1", 0, 5);
    let text = told(&InBooks { present: &present, ..alone(&held) });
    assert!(text.contains("attempt 1 on gpu1, cuda:1 (NVIDIA H200) on node7, from the start"), "{text}");
    let other = [Presence { worker: WorkerId::new("gpu1", Uuid::max()), ..present[0].clone() }];
    let text = told(&InBooks { present: &other, ..alone(&held) });
    assert!(text.contains("attempt 1 on gpu1, from the start"), "{text}");
}

#[test]
fn the_same_story_as_data() {
    let (record, three) = eventful();
    let plan = plan(vec![job(7, "weak")], &[]);
    let known = InBooks { result: Some(&result(&three, 6)), ..alone(&record) };
    let told = serde_json::to_value(Story::of_books(&plan, &plan.jobs[0], &known)).unwrap();
    assert_eq!((&told["state"], &told["source"]), (&"done".into(), &"server".into()), "{told:#}");
    let event = |n: usize| told["events"][n].clone();
    assert_eq!(event(0), serde_json::json!({"time": START, "event": "ordered"}));
    assert_eq!(
        event(3),
        serde_json::json!({
            "time": START + 300, "event": "moved", "attempt": 2, "move": "claimed", "worker": "gpu1",
            "from": {"epoch": 3},
        })
    );
    assert_eq!(
        event(2),
        serde_json::json!({
            "time": START + 300, "event": "moved", "attempt": 1, "worker": "gpu0", "move": "lost", "silent": 20,
        })
    );
}

#[test]
fn a_late_result_and_what_is_not_known_are_told() {
    let (one, record) = claimed(&JobRecord::pending(), "gpu0", 0, 5);
    let (_, record) = claimed(&record, "gpu1", 20, 300);
    let Late::Accept(record) = record.finished_by(&one, None) else { panic!("not accepted") };
    let text = told(&alone(&record.dated(None)));
    assert!(
        text.contains("\nat an unknown time   the result of attempt 1 came late and was accepted\n"),
        "{text}"
    );
    assert!(text.contains("by attempt 1 on gpu0; its result is no longer on the server."), "{text}");
    let before = JobRecord { attempts: 2, ..JobRecord::pending() };
    let text = told(&alone(&before));
    assert!(text.contains("\n2 attempts are not recorded: a record keeps its last moves only"), "{text}");
    assert!(text.contains("It waits for a worker; nothing of it is saved yet."), "{text}");
}

#[test]
fn jobs_that_are_not_done_tell_how_they_stand() {
    let (me, held) = claimed(&JobRecord::pending(), "gpu0", 0, 5);
    let held = saved(&held, &me, 3);
    let text = told(&alone(&held));
    let running =
        "It is being trained by gpu0, attempt 1: 3 of 12 epochs, last heard of at 2024-12-01 13:35:00.";
    assert!(text.contains(running), "{text}");
    let paused = held.released(&me, Release::Paused).unwrap().dated(Some(START + 9));
    let text = told(&InBooks { wish: Wish::Pause, ..alone(&paused) });
    assert!(text.contains("It is paused on request; 3 of 12 epochs are saved."), "{text}");
    assert!(text.contains("13:20:09  attempt 1 was handed back: the job was paused"), "{text}");
    let (again, twice) = claimed(&held.failed(&me, "e", &[], 1).unwrap(), "gpu1", 0, 6);
    let text = told(&alone(&twice.failed(&again, "e", &["last line".into()], 2).unwrap()));
    assert!(text.contains("It failed for good: 2 tries failed, on gpu0 and gpu1: e."), "{text}");
    assert!(text.contains("The end of the last log\n  last line\n"), "{text}");
}

#[test]
fn a_run_folder_tells_results_and_failures() {
    let plan = plan(vec![job(7, "weak")], &[]);
    let by = |attempt| Token { attempt: Attempt(attempt), owner: WorkerId::new("gpu0", Uuid::nil()) };
    let told = |files: &JobFiles| in_words(&Story::of_folder(&plan, &plan.jobs[0], files));
    let done = JobFiles { result: Some(result(&by(3), 6)), failure: None, earlier: vec![result(&by(1), 6)] };
    let text = told(&done);
    assert!(
        text.contains("\nan earlier result was replaced: score 61.50, 6 epochs, by attempt 1 on gpu0\n"),
        "{text}"
    );
    assert!(text.contains("1 attempt is not recorded: a run folder keeps results only."), "{text}");
    assert!(text.contains("name it with --home or --nats"), "{text}");
    let failure = JobFailure { error: "no memory".into(), log: vec!["x".into()] };
    let text = told(&JobFiles { failure: Some(failure), ..JobFiles::default() });
    assert!(text.contains("It failed for good: no memory."), "{text}");
    assert!(told(&JobFiles::default()).contains("neither a result nor a final failure"));
}

#[test]
fn a_name_means_an_ensemble_or_one_job() {
    let twins = vec![job(0x0a1, "weak"), job(0x0a2, "weak"), job(0x0b1, "strong"), job(0xdad, "other")];
    let plan = plan(twins, &["All 38", "000000b1"]);
    assert_eq!(named(&plan, "All 38"), Ok(Named::Ensemble { also: vec![] }));
    assert_eq!(named(&plan, "000000b1"), Ok(Named::Ensemble { also: vec![id(0x0b1)] }), "it could be both");
    assert_eq!(named(&plan, "000000B1-0"), Ok(Named::Job(id(0x0b1))));
    assert_eq!(named(&plan, "strong"), Ok(Named::Job(id(0x0b1))));
    let refused = |name: &str| named(&plan, name).unwrap_err().to_string();
    assert_eq!(
        refused("000000a"),
        "`000000a` is the beginning of the ids of 2 jobs: give more of it (000000a1, 000000a2)"
    );
    assert_eq!(refused("weak"), "2 jobs are called `weak`: give the beginning of an id (000000a1, 000000a2)");
    assert!(refused("All 39").contains("its ensembles are `All 38`, `000000b1`"));
    for nothing in ["", "-"] {
        assert!(matches!(named(&plan, nothing), Err(NoName::Unknown { .. })), "{nothing:?}");
    }
}
