//! What the model tells before and after something was measured.

use serde_json::json;
use shared::books::{History, JobRecord, JobState, Progress, Reported, Token};
use shared::device::DeviceRecord;
use shared::ids::{Attempt, WorkerId};
use shared::log::JobLog;
use shared::metrics::{Metrics, Point};
use shared::result::JobResult;
use uuid::Uuid;

use super::*;

pub(super) const SECOND: i128 = 1_000_000_000;

pub(super) fn id(n: u128) -> JobId {
    JobId::new(Uuid::from_u128(n))
}

pub(super) fn described(n: u128, units: f64, settings: serde_json::Value) -> Described {
    let serde_json::Value::Object(settings) = settings else { panic!("settings are an object") };
    Described { job: id(n), effort: Effort { epochs: 12, units, class: 1 }, settings }
}

pub(super) fn token(worker: &str) -> Token {
    Token { attempt: Attempt(1), owner: WorkerId::new(worker, Uuid::nil()) }
}

fn point(epoch: u32, seconds: f64) -> Point {
    Point { epoch, step: 0, seconds, metrics: Metrics::default() }
}

/// The record of a job whose epochs took so long.
pub(super) fn running(worker: &str, epochs: &[f64]) -> JobRecord {
    let points = (1..).zip(epochs).map(|(epoch, &seconds)| point(epoch, seconds));
    let reports = points.map(|point| Reported { attempt: Attempt(1), point }).collect();
    let progress = Progress { epoch: epochs.len() as u32, ..Progress::default() };
    JobRecord {
        state: JobState::Running { token: token(worker), beat: epochs.len() as u64, progress },
        attempts: 1,
        history: History { reports, ..History::default() },
        ..JobRecord::pending()
    }
}

pub(super) fn done(worker: &str) -> JobRecord {
    JobRecord { state: JobState::Done { token: token(worker), stopped_after: None }, ..JobRecord::pending() }
}

pub(super) fn result(job: JobId, worker: &str, device: &str, epochs: &[f64]) -> JobResult {
    JobResult {
        v: JobResult::VERSION,
        job,
        trainer: shared::empty::trainer(),
        inputs: shared::job::Inputs::default(),
        metrics: Metrics::default(),
        history: (1..).zip(epochs).map(|(epoch, &seconds)| point(epoch, seconds)).collect(),
        best_epoch: None,
        stopped_after: None,
        predictions: BTreeMap::new(),
        artifacts: BTreeMap::new(),
        train_seconds: epochs.iter().sum(),
        device: DeviceRecord {
            device: "cuda:0".into(),
            model: device.into(),
            memory: None,
            uuid: None,
            cpu_capability: String::new(),
            threads: 1,
            host: "h".into(),
        },
        software: None,
        worker: token(worker).owner,
        attempt: Attempt(1),
        times: None,
        log: JobLog::default(),
        peak_memory: None,
    }
}

fn open(n: u128) -> Open {
    Open { job: id(n), epoch: 0, held: None }
}

fn likely(model: &mut CostModel, jobs: &[u128], crew: &[Seat]) -> f64 {
    model.outlook(jobs.iter().copied().map(open), crew).unwrap().time.likely
}

/// Takes off what jobs are believed to cost besides their epochs.
fn without_overheads(model: &mut CostModel) {
    for job in (900..910).map(id) {
        model.overheads.claimed(job, 0);
        model.overheads.finished(job, 99, SECOND, Some(1.0));
    }
}

#[track_caller]
fn is_about(value: f64, wanted: f64) {
    assert!((value / wanted - 1.0).abs() < 0.05, "{value}, not about {wanted}");
}

#[test]
fn more_work_comes_first() {
    let model = CostModel::new([0.2, 0.9, 1.0].into_iter().zip(1..).map(|(u, n)| described(n, u, json!({}))));
    let mut jobs = [(id(1), 0), (id(2), 0), (id(3), 0)];
    let longest_first =
        |jobs: &mut [(JobId, u32)]| jobs.sort_by_key(|&(job, done)| std::cmp::Reverse(model.work(job, done)));
    longest_first(&mut jobs);
    assert_eq!(jobs.map(|(job, _)| job), [id(3), id(2), id(1)]);
    let mut partly = [(id(1), 0), (id(3), 12)];
    longest_first(&mut partly);
    assert_eq!(partly[0].0, id(1), "a job with no epoch left has no work left");
}

#[test]
fn nothing_is_told_before_an_epoch_was_measured() {
    let mut model = CostModel::new([described(1, 0.2, json!({}))]);
    assert_eq!(model.outlook([open(1)], &[]), None);
    let nothing = model.outlook([], &[]).unwrap();
    assert_eq!(nothing.time, Estimate::NOTHING);
    for seconds in [-1.0, 1e300, f64::NAN, f64::INFINITY] {
        model.saw_record(id(1), &running("a", &[seconds]), 0);
        assert_eq!(model.outlook([open(1)], &[]), None, "{seconds}");
    }
}

#[test]
fn one_measured_rate_tells_of_all_jobs() {
    let mut model = CostModel::new([described(1, 0.2, json!({})), described(2, 0.4, json!({}))]);
    without_overheads(&mut model);
    model.saw_record(id(1), &running("a", &[3.0, 3.0]), 0);
    let seat = model.seat("a");
    is_about(likely(&mut model, &[2], &[seat]), 12.0 * 6.0);
    // Three jobs on two workers: one of them has two.
    model.add([described(3, 0.2, json!({})), described(4, 0.2, json!({}))]);
    let other = model.seat("b");
    let both = likely(&mut model, &[1, 3, 4], &[seat, other]);
    assert!((60.0..80.0).contains(&both), "{both}");
}

/// A record keeps its newest reports only. They are not the time of all epochs up to the last.
#[test]
fn reports_that_were_dropped_make_no_job_faster() {
    let mut model = CostModel::new([described(1, 0.2, json!({})), described(2, 0.4, json!({}))]);
    without_overheads(&mut model);
    let mut record = running("a", &[3.0; 12]);
    record.history.reports.drain(..8);
    record.history.dropped = 8;
    model.saw_record(id(1), &record, 0);
    let seat = model.seat("a");
    is_about(likely(&mut model, &[2], &[seat]), 12.0 * 6.0);
}

#[test]
fn settings_and_devices_that_matter_are_found() {
    let colour = |n: u128| if n.is_multiple_of(2) { "red" } else { "blue" };
    let jobs = (0..40).map(|n| described(n, 1.0, json!({ "colour": colour(n), "seed": n % 5 })));
    let mut model = CostModel::new(jobs);
    without_overheads(&mut model);
    for n in 0..24 {
        let slow = if n % 3 == 0 { ("old", "Tesla", 4.0) } else { ("new", "Hopper", 1.0) };
        let seconds = slow.2 * if n % 2 == 0 { 3.0 } else { 2.0 } * (1.0 + 0.01 * (n % 7) as f64);
        model.saw_result(&result(id(n), slow.0, slow.1, &[seconds; 12]));
    }
    let [old, new] = ["old", "new"].map(|name| model.seat(name));
    is_about(likely(&mut model, &[30], &[new]), 12.0 * 3.09);
    is_about(likely(&mut model, &[31], &[new]), 12.0 * 2.06);
    is_about(likely(&mut model, &[31], &[old]), 48.0 * 2.06);
    // Another one is told by the name of a worker, or by its device.
    let another = ["old", "tesla", "TESL"].map(|like| model.another(like));
    assert!(
        another.iter().all(|seat| *seat == Some(Seat { worker: None, device: old.device })),
        "{another:?}"
    );
    assert_eq!(model.another("Volta"), None);
    let outlook = model.outlook((30..38).map(open), &[old, new]).unwrap();
    let jobs: Vec<_> = outlook.devices.iter().map(|one| (one.device.as_str(), one.jobs.round())).collect();
    assert_eq!(jobs, [("Hopper", 6.0), ("Tesla", 2.0)]);
}

#[test]
fn a_job_that_is_running_is_as_long_as_its_own_epochs_say() {
    let mut model = CostModel::new((0..30).map(|n| described(n, 1.0, json!({}))));
    without_overheads(&mut model);
    for n in 0..20 {
        model.saw_result(&result(id(n), "a", "Hopper", &[1.0; 12]));
    }
    model.saw_record(id(20), &running("a", &[2.0; 8]), 0);
    let seat = model.seat("a");
    let held = Open { epoch: 8, held: Some(Holding { seat, part: Some(0.0) }), ..open(20) };
    let left = model.outlook([held], &[seat]).unwrap().time;
    assert!((7.0..8.5).contains(&left.likely), "{left:?}");
}

#[test]
fn an_interval_shrinks_with_what_is_known() {
    let width = |jobs: u128| {
        let mut model = CostModel::new((0..60).map(|n| described(n, 1.0, json!({ "a": n % 2, "b": n % 3 }))));
        for n in 0..jobs {
            model.saw_result(&result(id(n), "a", "Hopper", &[1.0 + 0.05 * (n % 3) as f64; 12]));
        }
        let seat = model.seat("a");
        let time = model.outlook((50..60).map(open), &[seat]).unwrap().time;
        time.high / time.low
    };
    assert!(width(1) > width(6) && width(6) > width(40), "{} {} {}", width(1), width(6), width(40));
}

#[test]
fn the_memory_of_the_largest_job_that_is_left_is_told() {
    let mut model =
        CostModel::new((0..40).map(|n| described(n, 1.0, json!({ "width": n % 2, "seed": n % 5 }))));
    let memory = |model: &mut CostModel, jobs: std::ops::Range<u128>| {
        let seat = model.seat("a");
        model.outlook(jobs.map(open), &[seat]).unwrap().devices[0].memory
    };
    model.saw_result(&result(id(0), "a", "Hopper", &[1.0; 12]));
    assert_eq!(memory(&mut model, 30..34), None, "no job has told its own");
    for n in 1..20 {
        let bytes = (1 + n % 2) * 1_000_000_000 + n * 1_000_000;
        model.saw_result(&JobResult {
            peak_memory: u64::try_from(bytes).ok(),
            ..result(id(n), "a", "Hopper", &[1.0; 12])
        });
    }
    let largest = memory(&mut model, 30..34).unwrap();
    is_about(largest.likely, 2.01e9);
    assert!(largest.low < 2.0e9 && largest.high > 2.02e9 && largest.high < 2.3e9, "{largest:?}");
    is_about(memory(&mut model, 30..31).unwrap().likely, 1.01e9);
}

#[test]
fn foretold_epochs_are_compared_with_what_came() {
    let mut model = CostModel::new((0..3).map(|n| described(n, 1.0, json!({}))));
    model.saw_result(&result(id(0), "a", "Hopper", &[2.0; 12]));
    model.saw_record(id(1), &running("a", &[]), 0);
    let _first = model.outlook([open(2)], &[]);
    model.saw_record(id(2), &running("a", &[]), 0);
    for n in 1..3 {
        model.saw_result(&result(id(n), "a", "Hopper", &[4.0; 12]));
    }
    let errors = model.take_errors();
    assert_eq!(errors.len(), 1, "nothing was known when job 1 began");
    is_about(errors[0], 0.5);
    assert!(model.take_errors().is_empty());
}
