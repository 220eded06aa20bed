//! Spooled work is found complete, only by a later worker process, and is readable only by its owner.

use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use shared::books::Token;
use shared::device::DeviceRecord;
use shared::ids::Attempt;
use shared::job::{Inputs, Job};
use shared::log::JobLog;
use shared::metrics::{Metrics, Point};
use shared::protocol::{CheckpointEvery, Execution, JobOrder};
use shared::settings::Settings;
use shared::trainer::TrainerKind;
use uuid::Uuid;

use super::super::training::Keeper;
use super::super::work::{Finished, FinishedWork, Saved};
use super::*;

mod earlier;

fn worker(nonce: u128) -> WorkerId {
    WorkerId::new("w", Uuid::from_u128(nonce << 96))
}

fn claim(owner: WorkerId) -> WorkClaim {
    let kind = shared::empty::Empty;
    let content = Job { trainer: kind.id(), settings: Settings::new(), inputs: Inputs::default() };
    let execution = Execution::new(CheckpointEvery::Epoch, kind.ranking());
    let order = JobOrder::new(content, execution);
    let device = DeviceRecord {
        device: "cpu".to_owned(),
        model: "m".to_owned(),
        memory: None,
        uuid: None,
        cpu_capability: "none".to_owned(),
        threads: 1,
        host: "h".to_owned(),
    };
    WorkClaim {
        v: WorkClaim::VERSION,
        order,
        admitted_nanos: 1_700_000_000_000_000_001,
        token: Token { attempt: Attempt(3), owner },
        device,
    }
}

fn saved(epoch: u32, step: u32) -> Saved {
    Saved { epoch, step, report: None, checkpoint: Bytes::from(format!("after {epoch} {step}")) }
}

#[test]
fn a_worker_finds_the_work_of_dead_workers_and_not_of_living_ones() {
    let cache = tempfile::tempdir().unwrap();
    let first = Spool::open(cache.path(), &worker(1));
    let job = first.job(claim(worker(1)));
    for (epoch, step) in [(1, 0), (1, 5), (2, 0)] {
        job.keep(&saved(epoch, step));
    }
    let second = Spool::open(cache.path(), &worker(2));
    assert!(second.leftovers().is_empty(), "its owner is alive");
    drop((first, job));
    let leftovers = second.leftovers();
    let [orphan] = &leftovers[..] else { panic!("{leftovers:?}") };
    let third = Spool::open(cache.path(), &worker(3));
    assert!(third.leftovers().is_empty(), "only one worker takes it");
    let jobs = orphan.jobs();
    let content = Content::read(&jobs[0]).unwrap();
    assert_eq!(content.claim, claim(worker(1)));
    assert_eq!(content.saved, [saved(1, 5), saved(2, 0)], "the newest two");
    assert!(content.finished_work.is_none());
    std::fs::remove_dir_all(&jobs[0]).unwrap();
    drop(leftovers);
    assert!(!cache.path().join("spool").join(worker(1).as_str()).exists(), "nothing is left");
}

#[test]
fn delivered_work_is_removed_and_a_normal_end_leaves_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let spool = Spool::open(cache.path(), &worker(1));
    let job = spool.job(claim(worker(1)));
    job.keep(&saved(1, 0));
    job.keep(&saved(2, 0));
    job.delivered(&saved(1, 0));
    let folder =
        cache.path().join("spool").join(worker(1).as_str()).join(claim(worker(1)).order.job.to_string());
    assert_eq!(Content::read(&folder).unwrap().saved, [saved(2, 0)]);
    job.clear();
    drop((spool, job));
    assert_eq!(std::fs::read_dir(cache.path().join("spool")).unwrap().count(), 0);
}

#[test]
fn damage_is_noticed_and_newer_versions_are_left_alone() {
    let cache = tempfile::tempdir().unwrap();
    let spool = Spool::open(cache.path(), &worker(1));
    let job = spool.job(claim(worker(1)));
    job.keep(&saved(1, 0));
    job.keep(&saved(1, 4));
    let folder =
        cache.path().join("spool").join(worker(1).as_str()).join(claim(worker(1)).order.job.to_string());
    let bytes = folder.join("checkpoint-0000000001-0000000004.bin");
    std::fs::write(bytes, b"torn").unwrap();
    assert_eq!(Content::read(&folder).unwrap().saved, [saved(1, 0)]);
    let newer = WorkClaim { v: WorkClaim::VERSION + 1, ..claim(worker(1)) };
    std::fs::write(folder.join("claim.json"), serde_json::to_vec(&newer).unwrap()).unwrap();
    assert!(matches!(Content::read(&folder), Err(SpoolError::Version { .. })));
}

#[test]
fn reports_and_results_are_read_as_they_were_written() {
    let cache = tempfile::tempdir().unwrap();
    let spool = Spool::open(cache.path(), &worker(1));
    let job = spool.job(claim(worker(1)));
    let metrics = Metrics::default().with("score", 0.1 + 0.2).with("loss", 3.0);
    let report = Point { epoch: 1, step: 0, seconds: 1.5, metrics: metrics.clone() };
    let reported = Saved { report: Some(report.clone()), ..saved(1, 0) };
    job.keep(&reported);
    let artifacts = [("model".to_owned(), b"weights".to_vec())].into();
    let finished = Finished { metrics, history: vec![report], artifacts, ..Finished::default() };
    let mut log = JobLog::default();
    log.add("epoch 1: loss 0.5");
    let finished_work = job.keep_result(finished, log.clone()).unwrap();
    assert_eq!(finished_work.result.log, log);
    let folder =
        cache.path().join("spool").join(worker(1).as_str()).join(claim(worker(1)).order.job.to_string());
    let content = Content::read(&folder).unwrap();
    assert_eq!((content.saved, content.finished_work), (vec![reported], Some(finished_work.clone())));
    let FinishedWork { mut result, .. } = finished_work;
    result.best_epoch = Some(7);
    std::fs::write(folder.join("result.json"), serde_json::to_vec(&result).unwrap()).unwrap();
    assert_eq!(Content::read(&folder).unwrap().finished_work, None, "it has no epoch 7");
}

#[test]
fn only_the_owner_can_read_files_and_folders() {
    let cache = tempfile::tempdir().unwrap();
    let spool = Spool::open(cache.path(), &worker(1));
    let job = spool.job(claim(worker(1)));
    job.keep(&saved(1, 0));
    let mut open = vec![cache.path().join("spool")];
    while let Some(path) = open.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        if metadata.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}
