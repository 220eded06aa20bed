//! Every message and record, as a broken or hostile peer may have written it.
//!
//! The input is the value of every key, a separator, and the content of every blob. A reader cannot know what it will find
//! under a key, so every reader gets every input.
#![no_main]

use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::Duration;

use orchestrator::cost::{CostModel, Described, Open, Outlook};
use orchestrator::engine::{Engine, Event};
use orchestrator::service::read_status;
use orchestrator::view::ensembles::standing;
use ferry_fuzz::input;
use ferry_fuzz::canned_server::CannedServer;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::blob::BlobRef;
use shared::books::{Checkpoint, Claim, JobRecord, JobState, Progress, Release, Token, WorkerRecord, difference};
use shared::bus::{Bucket, Bus, Change};
use shared::empty::EmptySpec;
use shared::ids::{Attempt, JobId, RequestId, WorkerId};
use shared::mtl::MtlSpec;
use shared::protocol::timing::{MAX_LEASE, MIN_HEARTBEAT};
use shared::protocol::{
    Drains, JobOrder, LiveReport, PackManifest, Presence, Priorities, Request, Scoreboard, Steering, SweepRecord,
    Timing, WeightsManifest, subjects,
};
use shared::result::JobResult;
use shared::kinds;
use shared::settings::Settings;
use shared::trainer::Effort;
use tokio::runtime::{Builder, Runtime};

const LEASE: Duration = Duration::from_secs(15);

/// With a clock, for the bus's timeouts.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime starts"));

fuzz_target!(|data: &[u8]| {
    let [value, blob] = input::parts(data);
    // The largest message that a server sends.
    if value.len() <= 1 << 20 {
        RUNTIME.block_on(read(value, blob));
    }
});

async fn read(value: &[u8], blob: &[u8]) {
    let job = a_job();
    let bus = CannedServer::bus(job, value, blob);
    if let Ok(Some(entry)) = bus.record(job).await {
        again(&entry.record, JobRecord::VERSION).await;
        moves(&entry.record);
        seen(job, &entry.record);
        assert_eq!(bus.feed(&[subjects::RECORD_KEYS]).record().await.record, entry.record);
    }
    if let Ok(order) = bus.order(job).await {
        again(&order, JobOrder::VERSION).await;
        ordered(&order);
    }
    if let Ok(result) = bus.result(job).await {
        again(&result, JobResult::VERSION).await;
        handed_in(&result);
        for blob in result.blobs() {
            fetched(&bus, blob).await;
        }
    }
    if let Ok(timing) = bus.timing().await {
        again(&timing, Timing::VERSION).await;
        assert!(timing.lease() <= MAX_LEASE && (MIN_HEARTBEAT..=timing.lease() / 3).contains(&timing.heartbeat()));
    }
    if let Ok(manifest) = bus.read::<PackManifest>("pack.x", PackManifest::VERSION).await {
        again(&manifest, PackManifest::VERSION).await;
        let _believed = manifest.check(&manifest.digest);
        for part in manifest.files.iter().flat_map(|(_, file)| &file.parts) {
            fetched(&bus, part).await;
        }
    }
    if let Ok(manifest) = bus.read::<WeightsManifest>("weights.x", WeightsManifest::VERSION).await {
        again(&manifest, WeightsManifest::VERSION).await;
        for part in &manifest.file.parts {
            fetched(&bus, part).await;
        }
    }
    if let Ok(record) = bus.read::<SweepRecord>("sweep.x", SweepRecord::VERSION).await {
        again(&record, SweepRecord::VERSION).await;
        let _status = read_status(&bus).await;
    }
    if let Ok(entry) = bus.requested(a_request()).await {
        again(&entry.request, Request::VERSION).await;
    }
    if let Ok(record) = bus.read::<WorkerRecord>("worker.x", WorkerRecord::VERSION).await {
        again(&record, WorkerRecord::VERSION).await;
        judged(job, &bus, &record).await;
    }
    if let Ok((priorities, _)) = bus.priorities().await {
        assert!(priorities.before().count().max(priorities.after().count()) <= Priorities::MOST);
    }
    if let Ok(drains) = bus.drains().await {
        again(&drains, Drains::VERSION).await;
    }
    if let Ok(Some(board)) = bus.scoreboard("x").await {
        again(&board, Scoreboard::VERSION).await;
        shown(&board);
        let change = Change::Scoreboard { sweep: "x".to_owned(), board };
        assert_eq!(bus.feed(&[subjects::SCOREBOARD_KEYS]).next().await.change, change);
    }
    live(&bus).await;
}

fn a_job() -> JobId {
    "00000000-0000-0000-0000-000000000007".parse().expect("a UUID")
}

fn a_request() -> RequestId {
    "00000000-0000-0000-0000-000000000008".parse().expect("a UUID")
}

/// What was read can be written and read again, and is the same.
async fn again<T: Serialize + DeserializeOwned + Debug>(value: &T, known: u32) {
    let written = serde_json::to_vec(value).expect("a message becomes JSON");
    let back: T =
        CannedServer::bus(a_job(), &written, &[]).read("again", known).await.expect("what was written is read");
    // A metric may be NaN, which does not equal itself.
    assert_eq!(format!("{back:?}"), format!("{value:?}"));
}

/// No move of a record panics, whatever the record holds.
fn moves(record: &JobRecord) {
    let me: WorkerId = serde_json::from_str("\"me-00000000\"").expect("a worker's id");
    for age in [Duration::ZERO, LEASE, Duration::MAX] {
        match record.claim(&me, age, LEASE) {
            Claim::Take { token, record: taken } => {
                assert!(taken.beat(&token).is_ok() && token.attempt.0 > 0);
            }
            Claim::GiveUp(given_up) => assert!(given_up.state.is_final()),
            Claim::Wait(time) => assert!(time <= LEASE),
            Claim::Finished => assert!(record.state.is_final()),
        }
    }
    let _reopened = record.reopened();
    for anew_after in [0, 1, u32::MAX] {
        let steering = Steering { anew_after, ..Steering::default() };
        if let Some(next) = record.following(&steering) {
            assert!(next.following(&steering).is_none(), "a record follows once");
        }
        let _taken = record.clone().taken_anew(anew_after);
    }
    let all = record.failed_on().into_iter().map(str::to_owned).collect();
    if let Some(excused) = record.excused(&all) {
        assert!(excused.failures.is_empty() && excused.excused(&all).is_none());
    }
    let nobody = Token { attempt: Attempt(1), owner: me };
    let _late = record.finished_by(&nobody, Some(1));
    assert_eq!(record.contradicted(&nobody, "x").is_some(), matches!(record.state, JobState::Done { .. }));
    if let JobState::Running { token, progress, .. } = &record.state {
        let blob = BlobRef { name: String::new(), sha256: String::new(), size: 0 };
        let checkpoint = Checkpoint { epoch: progress.epoch, step: 1, blob, origin: None };
        let moved = [
            record.beat(token),
            record.checkpointed(token, checkpoint, Progress::default()),
            record.done(token, None),
            record.done(token, Some(progress.epoch)),
            record.dropped(token),
            record.released(token, Release::Stopping),
            record.failed(token, "x", &["line".to_owned()], 1),
            record.deferred(token, String::new()),
            record.noted(token, String::new()),
        ];
        assert!(moved.iter().all(Result::is_ok), "the holder may move the record");
    }
}

/// What the coordinator does with a record.
fn seen(job: JobId, record: &JobRecord) {
    let mut engine = Engine::new([job], &|_| false);
    engine.apply(Event::RecordChanged { job, revision: 1, record: JobRecord::pending() });
    engine.apply(Event::RecordChanged { job, revision: 2, record: record.clone() });
    engine.apply(Event::Reconcile);
    let effort = Effort { epochs: 12, units: 1e9, class: 0 };
    let mut cost = CostModel::new([Described { job, effort, settings: Settings::default() }]);
    cost.saw_record(job, record, 0);
    let mut open = engine.open_jobs();
    open.sort_by_key(|&(job, done)| std::cmp::Reverse(cost.work(job, done)));
    let open: Vec<Open> = open.into_iter().map(|(job, epoch)| Open { job, epoch, held: None }).collect();
    let _outlook: Option<Outlook> = cost.outlook(open, &[]);
}

/// What everyone does with a worker's standing; the name in the watched key is `x`.
async fn judged(job: JobId, bus: &Bus, record: &WorkerRecord) {
    let _words = record.standing.refusal();
    let _turn = record.standing.leaves_to_others(&JobRecord::pending(), &record.name);
    assert_eq!(bus.standing("x").await.is_ok(), record.name == "x");
    if record.name == "x" {
        assert_eq!(bus.feed(&[subjects::STANDING_KEYS]).standing().await, *record);
    }
    let mut engine = Engine::new([job], &|_| false);
    engine.apply(Event::StandingChanged { revision: 1, record: record.clone() });
    engine.apply(Event::Reconcile);
}

/// What everyone does with the scores of ensembles.
fn shown(board: &Scoreboard) {
    for ensemble in &board.ensembles {
        assert!(!standing(ensemble).is_empty());
    }
    assert_eq!(Scoreboard::new(board.ensembles.clone()).left_out == 0, fits(board));
}

/// A scoreboard that was read may be larger than one that is written.
fn fits(board: &Scoreboard) -> bool {
    let names: usize = board.ensembles.iter().map(|ensemble| ensemble.name.len()).sum();
    board.ensembles.len() <= Scoreboard::MOST && names <= Scoreboard::LONGEST_NAMES
}

/// What a worker does with an order, whatever its kind.
fn ordered(order: &JobOrder) {
    let content = &order.content;
    let id = content.id();
    assert!(order.check(id).is_err() || order.job == id);
    let dataset = content.inputs.dataset.as_deref().unwrap_or_default();
    if let Ok(spec) = MtlSpec::of(&content.settings)
        && spec.problems().is_empty()
    {
        let canonical = MtlSpec::of(&spec.canonical()).expect("settings that are in range");
        assert_eq!(canonical.id(dataset), spec.id(dataset));
    }
    let _empty = EmptySpec::of(&content.settings);
}

/// What the coordinator does with a result.
fn handed_in(result: &JobResult) {
    assert!(result.check().is_err() || result.best_epoch.is_none() || result.best().is_some());
    assert_eq!(difference(result, result), None);
    if let Some(kind) = kinds::find(result.trainer.kind.as_str()) {
        let _warnings: Vec<String> =
            kind.warnings(result, kind.defaults()).iter().map(ToString::to_string).collect();
        let _score = kind.ranking().score(&result.metrics);
    }
}

/// Reading a blob is limited by its real length, whatever its pointer says.
async fn fetched(bus: &Bus, blob: &BlobRef) {
    let _bytes = bus.get_blob(Bucket::Results, blob).await;
}

async fn live(bus: &Bus) {
    for presence in bus.workers().await.unwrap_or_default() {
        let written = serde_json::to_vec::<Presence>(&presence).expect("a message becomes JSON");
        assert_eq!(serde_json::from_slice::<Presence>(&written).ok(), Some(presence));
    }
    if let Ok(mut hints) = bus.hints().await
        && let Some(report) = hints.next().await
    {
        let written = serde_json::to_vec::<LiveReport>(&report).expect("a message becomes JSON");
        let _name = report.worker.name();
        assert_eq!(serde_json::from_slice::<LiveReport>(&written).ok(), Some(report));
    }
}
