//! A training that keeps every core busy and reports nothing is not taken for dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use memory_server::MemoryServer;
use shared::books::{JobRecord, JobState};
use shared::device::DeviceRecord;
use shared::ids::WorkerId;
use shared::job::{Job, TrainerId};
use shared::protocol::{Timing, subjects};
use tempfile::TempDir;
use tests::in_process;
use tokio::sync::watch;
use uuid::Uuid;
use worker::agent::{self, Assignment, Equipment, Trainer, Training, TrainingError};

const LIMIT: Duration = Duration::from_mins(2);
/// Four leases of them.
const BEATS: u64 = 40;

fn trainer() -> TrainerId {
    in_process::trainer("busy")
}

/// Keeps twice as many threads busy as there are cores, and reports nothing until it is asked to stop.
struct Busy {
    let_go: Arc<AtomicBool>,
}

impl Trainer for Busy {
    fn id(&self) -> TrainerId {
        trainer()
    }

    fn device(&self) -> String {
        "cpu (none)".to_owned()
    }

    fn record(&self, _job: &Job, host: &str) -> DeviceRecord {
        in_process::device(host)
    }

    fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
        let (training, reporter) = Training::of(&assignment);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spinning: Vec<_> = (0..2 * cores)
            .map(|_| {
                let let_go = self.let_go.clone();
                std::thread::spawn(move || {
                    while !let_go.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        std::thread::spawn(move || {
            let _ended: Vec<_> = spinning.into_iter().map(std::thread::JoinHandle::join).collect();
            reporter.ended_blocking(Err(TrainingError::Failed("let go".into())));
        });
        Ok(training)
    }
}

fn worker(
    server: &MemoryServer,
    cache: &TempDir,
    name: &str,
    let_go: &Arc<AtomicBool>,
) -> (Equipment, watch::Sender<bool>) {
    let me = WorkerId::new(name, Uuid::new_v4());
    let bus = server.connect(me.as_str()).0;
    let busy = Box::new(Busy { let_go: let_go.clone() });
    in_process::worker(bus, me, vec![busy], Vec::new(), cache.path())
}

/// The holder, and the number of its heartbeats.
fn pulse(record: &JobRecord) -> (&str, u64) {
    match &record.state {
        JobState::Running { token, beat, .. } => (token.owner.name(), *beat),
        JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
            ("", 0)
        }
    }
}

#[tokio::test]
async fn a_busy_training_does_not_stop_the_pulse() -> anyhow::Result<()> {
    let server = MemoryServer::start(1, None, None);
    let cache = tempfile::tempdir()?;
    let bus = server.connect("test").0;
    let order = in_process::order(in_process::job(&trainer(), &[]));
    let job = order.job;
    let timing = Timing::new(Duration::from_secs(1), Some(Duration::from_millis(100)))?;
    bus.agree_on(&timing).await?;
    bus.admit(&[order]).await?;
    bus.enqueue(job).await?;

    let let_go = Arc::new(AtomicBool::new(false));
    let (busy, stop_busy) = worker(&server, &cache, "busy", &let_go);
    let busy = tokio::spawn(agent::serve(busy));
    let wait = async {
        let mut watch = bus.feed(&[subjects::RECORD_KEYS]);
        while watch.record().await.record.attempts == 0 {}
        // From now on, another worker waits for the job.
        let (idle, stop_idle) = worker(&server, &cache, "idle", &let_go);
        let idle = tokio::spawn(agent::serve(idle));
        let seen = loop {
            let record = watch.record().await.record;
            if record.attempts > 1 || pulse(&record).1 >= BEATS {
                break record;
            }
        };
        stop_idle.send_replace(true);
        idle.await??;
        anyhow::Ok(seen)
    };
    let seen = tokio::time::timeout(LIMIT, wait).await;
    let_go.store(true, Ordering::Relaxed);
    let record = seen.context("the pulse stopped")??;
    assert_eq!(pulse(&record).0, "busy", "{record:?}");
    assert_eq!(record.attempts, 1);
    stop_busy.send_replace(true);
    busy.await??;
    Ok(())
}
