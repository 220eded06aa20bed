//! What a run shows: lines that fit the terminal, and the words for each event.

use std::time::Duration;

use shared::books::{Incident, IncidentKind};
use shared::ids::{Attempt, JobId, RequestId, WorkerId};
use shared::metrics::Metrics;
use shared::protocol::{EnsembleState, LiveReport};
use uuid::Uuid;

use super::labels::Labels;
use super::layout::{fit, lines};
use super::lines::words;
use super::model::{LiveJob, Snapshot, clock, headline};
use super::screen::Size;
use crate::cost::Estimate;
use crate::engine::Tally;
use crate::events::EventKind;

fn job(n: u128) -> JobId {
    JobId::new(Uuid::from_u128(n << 96))
}

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name, Uuid::nil())
}

fn live(name: &str, label: &str, epoch: u32, score: Option<f64>) -> LiveJob {
    let report = LiveReport { worker: worker(name), job: job(1), epoch, epochs: 40, step: 5, steps: 10 };
    LiveJob { report, label: label.to_owned(), own: !label.contains(": "), score }
}

/// A snapshot with everything that a headline can show.
fn troubled() -> Snapshot {
    let tally = Tally {
        pending: 12,
        running: 2,
        done: 10,
        failed: 2,
        failures: 4,
        losses: 1,
        deferrals: 3,
        ..Tally::default()
    };
    let score_name = "F1".to_owned();
    let mut snapshot =
        Snapshot { tally, elapsed: Duration::from_secs(3723), score_name, ..Snapshot::default() };
    snapshot.saw(job(1), 61.52);
    snapshot.live = vec![
        live("gpu-host-7-gpu0", "strong augmentation=mixaug subset_seed=2 lr=0.001 epochs=40", 3, Some(58.0)),
        live("cpu1", "old-sweep: weak subset_seed=11", 12, None),
    ];
    snapshot
}

fn shown(snapshot: &Snapshot, columns: usize, rows: usize) -> String {
    let lines = lines(snapshot, Size { columns, rows }, false);
    for line in &lines {
        assert!(console::measure_text_width(line) < columns, "{line}");
    }
    lines.join("\n")
}

/// Case 26: at 100 columns every line fits, even while the ETA is unknown.
#[test]
fn bars_fit_100_columns() {
    insta::assert_snapshot!(shown(&troubled(), 100, 30), @"
    gpu-host-7-gpu0 ━─────────────────── strong augmentation=mixaug subset_seed=2…  epoch 3/40  F1 58.0
    cpu1            ━━━━━─────────────── old-sweep: weak subset_seed=11             epoch 12/40  F1 -
    ━━━━━━━━━──────────── 10/26 jobs done · 2 failed · 2 running · best F1 61.5 · 1:02:03 · ETA unknown
    ");
}

/// Case 26: the same at 80.
#[test]
fn bars_fit_80_columns() {
    insta::assert_snapshot!(shown(&troubled(), 80, 24), @"
    gpu-host-7-gpu0 ━──────────────── strong augmentation=mix…  epoch 3/40  F1 58.0
    cpu1            ━━━━───────────── old-sweep: weak subset_…  epoch 12/40  F1 -
    10/26 jobs done · 2 failed · 2 running · best F1 61.5 · 1:02:03 · ETA unknown
    ");
}

/// Case 26: whatever the width and the height, no line wraps and no line is pushed off the screen.
#[test]
fn bars_fit_any_terminal() {
    let mut snapshot = troubled();
    snapshot
        .live
        .extend((2..70).map(|n| live(&format!("cpu{n}"), "weak 表情 subset_seed=1", 40, Some(100.0))));
    for columns in [2, 10, 20, 40, 63, 80, 100, 250] {
        for rows in [1, 5, 24, 60, 200] {
            let lines = shown(&snapshot, columns, rows).lines().count();
            assert!(lines < rows.max(4), "{lines} lines where there are {rows} rows");
        }
    }
    insta::assert_snapshot!(shown(&snapshot, 80, 8), @"
    gpu-host-7-gpu0 ─────────────── strong augmentation=mix…  epoch 3/40  F1 58.0
    cpu1            ━━━━─────────── old-sweep: weak subset_…  epoch 12/40  F1 -
    cpu2            ━━━━━━━━━━━━━━─ weak 表情 subset_seed=1   epoch 40/40  F1 100.0
    cpu3            ━━━━━━━━━━━━━━─ weak 表情 subset_seed=1   epoch 40/40  F1 100.0
    … and 66 more workers
    10/26 jobs done · 2 failed · 2 running · best F1 61.5 · 1:02:03 · ETA unknown
    ");
}

#[test]
fn a_wide_terminal_shows_everything() {
    insta::assert_snapshot!(shown(&troubled(), 200, 50), @"
    gpu-host-7-gpu0 ━─────────────────── strong augmentation=mixaug subset_seed=2 lr=0.001 epochs=40  epoch 3/40  F1 58.0
    cpu1            ━━━━━─────────────── old-sweep: weak subset_seed=11                               epoch 12/40  F1 -
    ━━━━━━━━━━━━━━━━━━────────────────────── 10/26 jobs done · 2 failed · 2 running · 1 worker on other sweeps · 4 errors · 1 worker lost · 3 returned · best F1 61.5 · 1:02:03 · ETA unknown
    ");
}

/// Case 25: the headline shows that the server does not answer.
#[test]
fn the_headline_says_that_the_server_is_away() {
    let snapshot = Snapshot { server_away: Some(Duration::from_secs(12)), ..troubled() };
    insta::assert_snapshot!(fit(headline(&snapshot), 80), @"10/26 jobs done · 2 failed · 2 running · no answer from the server for 0:12");
}

#[test]
fn the_headline_says_what_is_known() {
    let tally = Tally { pending: 1, running: 2, done: 3, failed: 1, ..Tally::default() };
    let mut snapshot = Snapshot { tally, ..Snapshot::default() };
    let told = |snapshot: &Snapshot| fit(headline(snapshot), usize::MAX);
    insta::assert_snapshot!(told(&snapshot), @"3/7 jobs done · 1 failed · 2 running · 0:00 · ETA unknown");
    snapshot.tally = Tally { failed: 2, failures: 1, losses: 3, deferrals: 4, ..tally };
    snapshot.left = Some(Estimate { likely: 61.0, low: 50.0, high: 75.0 });
    insta::assert_snapshot!(told(&snapshot), @"3/8 jobs done · 2 failed · 2 running · 1 error · 3 workers lost · 4 returned · 0:00 · ETA 1:01 · 0:50 to 1:15");
}

#[test]
fn the_best_score_stays_whatever_comes_later() {
    let mut snapshot = Snapshot::default();
    for (id, f1, best) in [(1, 40.0, (1, 40.0)), (2, 50.0, (2, 50.0)), (1, 45.0, (2, 50.0))] {
        snapshot.saw(job(id), f1);
        assert_eq!(snapshot.best, Some((job(best.0), best.1)));
    }
    let mut lowest = Snapshot { goal: shared::metrics::Goal::Min, ..Snapshot::default() };
    for loss in [0.5, 0.25, 0.75] {
        lowest.saw(job(1), loss);
    }
    assert_eq!(lowest.best, Some((job(1), 0.25)));
}

#[test]
fn the_headline_has_the_best_ensemble_while_the_plan_has_it() {
    let mut snapshot = Snapshot::default();
    let scored = |ensemble: &str, state| EventKind::EnsembleScored {
        ensemble: ensemble.to_owned(),
        candidates: 3,
        waiting: 1,
        failed: 0,
        state,
    };
    let provisional = |val_macro_f1| EnsembleState::Provisional { members: 2, val_macro_f1 };
    let told = |snapshot: &Snapshot| fit(headline(snapshot), usize::MAX);
    for (ensemble, f1) in [("a", 60.0), ("b", 70.0), ("b", 50.04)] {
        snapshot.heard(&scored(ensemble, provisional(f1)));
    }
    insta::assert_snapshot!(told(&snapshot), @"0/0 jobs done · 0 running · best ensemble F1 60.0 · 0:00 · ETA unknown");
    let here = std::path::Path::new("");
    let text = "name: s\ndataset: {synthetic: {}}\ngroups: {g: {matrix: {subset_seed: [0]}}}\n\
                ensembles: {b: {members: [{where: {group: g}}]}}\n";
    snapshot.follow(&crate::sweep::plan(text, here, here).unwrap());
    insta::assert_snapshot!(told(&snapshot), @"0/0 jobs done · 0 running · best ensemble F1 50.0 · 0:00 · ETA unknown");
    snapshot.heard(&scored("b", EnsembleState::Unscored { why: "no labels".into() }));
    insta::assert_snapshot!(told(&snapshot), @"0/0 jobs done · 0 running · 0:00 · ETA unknown");
}

#[test]
fn times_are_written_as_clocks() {
    assert_eq!(clock(Duration::from_secs(59)), "0:59");
    assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
}

#[test]
fn a_report_with_absurd_numbers_is_drawn() {
    let report = format!(
        r#"{{"worker":"w-1","job":"{}","epoch":{m},"epochs":{m},"step":{m},"steps":{m}}}"#,
        Uuid::nil(),
        m = u32::MAX
    );
    let report: LiveReport = serde_json::from_str(&report).unwrap();
    let live = vec![LiveJob { report, label: "x".into(), own: true, score: None }];
    insta::assert_snapshot!(shown(&Snapshot { live, score_name: "F1".into(), ..Snapshot::default() }, 60, 24), @r"
    w ━─────────────────── x  epoch 4294967295/4294967295  F1 -
    ──────────── 0/0 jobs done · 0 running · 0:00 · ETA unknown
    ");
}

#[test]
fn every_event_reads_well() {
    let (one, two) = (worker("cpu0"), worker("cpu1"));
    let id = job(1);
    let incident = Incident { job: id, kind: IncidentKind::Failed { error: "no memory".into() } };
    let attempt = Attempt(1);
    let request = RequestId::new(Uuid::nil());
    let kinds = [
        EventKind::Started { job: id, worker: one.clone(), attempt, epoch: 0 },
        EventKind::Started { job: id, worker: one.clone(), attempt, epoch: 6 },
        EventKind::TakenOver { job: id, worker: two, from: one.clone(), attempt, epoch: 6 },
        EventKind::Reported {
            job: id,
            worker: Some(one.clone()),
            attempt,
            epoch: 7,
            step: 0,
            seconds: 2.0,
            score: Some(61.52),
            metrics: Metrics::default(),
        },
        EventKind::GivenBack { job: id },
        EventKind::Failed { job: id, error: "no memory".into() },
        EventKind::GivenUp {
            job: id,
            reason: "3 tries failed, on cpu0: no memory".into(),
            log: vec!["loss: nan".into()],
        },
        EventKind::Deferred { job: id },
        EventKind::Suspected { worker: "cpu0".into(), incidents: vec![incident] },
        EventKind::Drained { worker: "cpu0".into(), reason: "2 jobs failed on it".into() },
        EventKind::Done { job: id, worker: one.clone(), stopped_after: None },
        EventKind::Done { job: id, worker: one, stopped_after: Some(4) },
        EventKind::Trusted { worker: "cpu0".into() },
        EventKind::EnsembleReady { ensemble: "mixup".into(), jobs: 8 },
        EventKind::EnsembleScored {
            ensemble: "mixup".into(),
            candidates: 8,
            waiting: 5,
            failed: 0,
            state: EnsembleState::Provisional { members: 3, val_macro_f1: 61.25 },
        },
        EventKind::Answered {
            request,
            by: "ada on head".into(),
            demand: "pause (2 jobs)".into(),
            answer: "done; not for job 00000001: it is done".into(),
        },
        EventKind::Note { job: id, note: "a damaged checkpoint was skipped".into() },
    ];
    let here = std::path::Path::new("");
    let text = "name: s\ndataset: {synthetic: {}}\ngroups: {g: {matrix: {subset_seed: [0]}}}\n";
    let plan = crate::sweep::plan(text, here, here).unwrap();
    let labels = Labels::of(&plan).from_file(std::path::Path::new("my sweeps/it's.yaml"));
    let told: Vec<String> = kinds.iter().filter_map(|kind| words(kind, &labels)).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    00000001: started on cpu0
    00000001: continues on cpu0 after epoch 6
    00000001: cpu1 took over from cpu0, which stopped responding; continues after epoch 6
    00000001: epoch 7, F1 61.5
    00000001: handed back by its worker
    00000001: failed, will be retried: no memory
    00000001: FAILED: 3 tries failed, on cpu0: no memory
          loss: nan
          to see the error here: ferry-worker reproduce "my sweeps/it's.yaml" --job 00000001
    00000001: returned to the queue because of the server, the network or a disk; this does not count against the job
    worker cpu0 is suspected, because different jobs failed on it (job 00000001: no memory): other workers retry these jobs first
    worker cpu0 is DRAINED and takes no more jobs: 2 jobs failed on it
    00000001: done on cpu0
    00000001: ended early on cpu0, after epoch 4
    worker cpu0 takes jobs again
    ensemble `mixup`: all 8 jobs that it chooses from are done
    ensemble `mixup`: F1 61.25 so far, with 3 members; waits for 5 of 8 candidates
    ada on head asked to pause (2 jobs): done; not for job 00000001: it is done
    00000001: a damaged checkpoint was skipped
    "#);
}
