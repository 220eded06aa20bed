//! Runs the processes of a history, injects its faults, and waits for the end.

mod following;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use memory_server::{Event, MemoryServer, NetworkFaults};
use orchestrator::engine::Engine;
use orchestrator::service::{Holder, SessionEnd};
use shared::books::{JobState, MAX_FAILURES};
use shared::bus::{Bucket, Bus};
use shared::ids::{JobId, RequestId, WorkerId};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;
use worker::agent::{self, AgentError, Trainer};

use super::checker::Checker;
use super::coordinator::{self, CoordinatorError, RunFolder};
use super::drains;
use super::expected::Expected;
use super::history::{Fault, History, Kind};
use super::process::Process;
use super::sweep::{Sweep, trainer};
use super::trace::Trace;
use super::trainer::{Simulated, TrainingLog};
use super::user::{self, Place};
use super::witness::Heard;
use super::{HistoryResult, Options};
use crate::in_process;
use following::RunWitness;

/// Time until a process that ended on its own is restarted.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// Time for late writes of resumed workers after the last fault.
const SETTLE_TIME: Duration = Duration::from_secs(20);
/// Longest time from the last fault to the end of the sweep, in addition to training: leases expire (15 s), lost queue
/// messages are replaced (30 s), watches notice a crash (9 s), and each may happen twice.
const END_LIMIT: Duration = Duration::from_mins(2);

/// More time if a worker is bad: jobs wait for another worker, and one that died still counts as present for 45 s.
const SECOND_TRIES: Duration = Duration::from_mins(4);

struct World {
    history: History,
    sweep: Sweep,
    training_log: Arc<TrainingLog>,
    run_folder: RunFolder,
    server: MemoryServer,
    record: Arc<Mutex<Record>>,
    workers: Vec<Mutex<Option<RunningProcess>>>,
    /// One folder for each worker, which survives its processes.
    caches: Vec<TempDir>,
    coordinator: Mutex<Option<RunningProcess>>,
    /// True once the sweep is finished or a promise broken.
    over: watch::Sender<bool>,
}

/// A running process, as the faults see it.
struct RunningProcess {
    process: Process,
    stop: watch::Sender<bool>,
    rest: Duration,
}

/// What was recorded so far.
struct Record {
    trace: Trace,
    checker: Checker,
    /// What another process was told, and the newest revision of the books that it has seen.
    heard: Heard,
    followed: u64,
}

pub(super) async fn run(history: History, options: Options) -> HistoryResult {
    let world = Arc::new(World::new(history, options));
    world.note(&format!("{:?}", world.history));
    for index in 0..world.history.workers {
        tokio::spawn(world.clone().keep_worker(index));
    }
    tokio::task::spawn_local(world.clone().keep_coordinator());
    tokio::spawn(world.clone().keep_follower());
    let asking = tokio::spawn(user::ask(world.clone()));
    let draining = tokio::spawn(drains::drain(world.clone()));
    for (at, fault) in world.history.faults.clone() {
        world.until(at).await;
        world.clone().inject(fault);
    }
    world.until(world.history.faults_end).await;
    // The patience begins when nothing is paused any more.
    let settled = asking.await.is_ok() && draining.await.is_ok();
    assert!(settled, "the user's task panicked");
    let second_tries = if world.history.bad.is_some() { SECOND_TRIES } else { Duration::ZERO };
    let patience = END_LIMIT + second_tries + 2 * world.history.work();
    let mut over = world.over.subscribe();
    let in_time = tokio::time::timeout(patience, over.wait_for(|over| *over)).await.is_ok();
    let now = world.server.now();
    if in_time {
        world.until(world.history.faults_end + SETTLE_TIME).await;
        if let Err(broken) = world.check_follower().await {
            world.violate(&broken);
        }
        world.record().checker.end(now, &world.run_folder.results());
    } else {
        world
            .record()
            .checker
            .violate(now, &format!("the sweep did not end within {patience:?} of faults_end"));
    }
    let record = world.record();
    HistoryResult {
        digest: record.trace.digest(),
        counts: record.checker.counts,
        violation: record.checker.violation.clone(),
    }
}

impl World {
    fn new(history: History, options: Options) -> Self {
        let sweep = Sweep::of(&history);
        let training_log = Arc::new(TrainingLog::default());
        let expected =
            sweep.jobs.iter().map(|(&job, (spec, script))| (job, Expected::new(*spec, *script))).collect();
        let planned = sweep.plan.jobs.iter().map(|job| job.id);
        let checker = Checker::new(&history, planned, expected, training_log.clone());
        let record = Arc::new(Mutex::new(Record {
            trace: Trace::new(options.trace),
            checker,
            heard: Heard::default(),
            followed: 0,
        }));
        let recorded = record.clone();
        let observer = move |now: Duration, by: &str, event: &Event<'_>| {
            let mut record = locked(&recorded);
            record.trace.event(now, by, event);
            record.checker.event(now, by, event);
        };
        Self {
            server: MemoryServer::start(history.seed, Some(Box::new(observer)), options.bug),
            workers: (0..history.workers).map(|_| Mutex::new(None)).collect(),
            caches: (0..history.workers).map(|_| cache()).collect(),
            coordinator: Mutex::new(None),
            over: watch::Sender::new(false),
            run_folder: RunFolder::default(),
            history,
            sweep,
            training_log,
            record,
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        locked(&self.record)
    }

    fn note(&self, note: &str) {
        let now = self.server.now();
        self.record().trace.note(now, note);
    }

    fn violate(&self, what: &str) {
        let now = self.server.now();
        self.record().checker.violate(now, what);
        self.over.send_replace(true);
    }

    async fn until(&self, at: Duration) {
        tokio::time::sleep(at.saturating_sub(self.server.now())).await;
    }

    /// Restarts it whenever it ends.
    async fn keep_worker(self: Arc<Self>, index: usize) {
        for life in 0_u128.. {
            // The first 32 bits tell lives apart.
            let nonce = Uuid::from_u128(((index as u128) << 16 | life) << 96);
            let me = WorkerId::new(&format!("w{index}"), nonce);
            let (bus, link) = self.server.connect(me.as_str());
            let process = Process::new(link);
            // Of two trainers, each job must reach the right one.
            let trainers = [in_process::trainer("other"), trainer()].map(|trainer| {
                Box::new(Simulated {
                    trainer,
                    process: process.clone(),
                    scripts: Arc::new(self.sweep.scripts()),
                    training_log: self.training_log.clone(),
                    bad: self.history.bad.filter(|(worker, _)| *worker == index).map(|(_, how)| how),
                }) as Box<dyn Trainer>
            });
            let cache = self.caches[index].path();
            let (equipment, stop) = in_process::worker(bus, me.clone(), trainers.into(), Vec::new(), cache);
            *locked(&self.workers[index]) =
                Some(RunningProcess { process: process.clone(), stop, rest: RESTART_DELAY });
            match process.run(agent::serve(equipment)).await {
                None => {}
                Some(Ok(())) => self.note(&format!("{me} ended in good order")),
                Some(Err(AgentError::Out { reason })) => self.note(&format!("{me} is out: {reason}")),
                Some(Err(error)) => self.violate(&format!("{me} ended: {error}")),
            }
            process.kill();
            let rest = locked(&self.workers[index]).take().map_or(RESTART_DELAY, |running| running.rest);
            tokio::time::sleep(rest).await;
        }
    }

    /// Restarts it until the sweep is finished; jobs that lost too many workers are queued again.
    async fn keep_coordinator(self: Arc<Self>) {
        for life in 0_u128.. {
            let (bus, link) = self.server.connect(&format!("ferry-{life}"));
            let process = Process::new(link);
            let (stop, _) = watch::channel(false);
            *locked(&self.coordinator) =
                Some(RunningProcess { process: process.clone(), stop, rest: RESTART_DELAY });
            let witness = RunWitness::of(self.clone());
            let holder = Holder::elsewhere(Uuid::from_u128(life));
            let running =
                coordinator::run(bus, holder, &self.sweep, &self.history, &self.run_folder, witness);
            match Box::pin(process.run(running)).await {
                None => {}
                Some(Ok((SessionEnd::Finished, engine))) if self.is_finished(&engine) => {
                    self.note("the sweep is finished");
                    self.over.send_replace(true);
                    return;
                }
                Some(Ok(_)) => {
                    self.note(
                        "workers died too often, or all are excluded; the user runs it again after the last fault",
                    );
                    self.until(self.history.faults_end).await;
                }
                Some(Err(CoordinatorError::BeforeSweep(error))) => {
                    self.note(&format!("ferry ended: {error:#}"));
                }
                Some(Err(CoordinatorError::DuringSweep(error))) => {
                    self.violate(&format!("ferry ended: {error:#}"));
                }
            }
            process.kill();
            let rest = locked(&self.coordinator).take().map_or(RESTART_DELAY, |running| running.rest);
            tokio::time::sleep(rest).await;
        }
    }

    /// Only jobs whose trainings fail by themselves may be given up or parked.
    fn is_finished(&self, engine: &Engine) -> bool {
        engine.is_finished()
            && engine.failures().all(|(job, record, _)| {
                let failures = self.sweep.jobs[&job].1.failures as usize;
                let parked = matches!(record.state, JobState::Parked { .. });
                failures >= MAX_FAILURES || (parked && failures > 0)
            })
    }

    fn inject(self: Arc<Self>, fault: Fault) {
        self.note(&format!("{fault:?}"));
        match fault {
            Fault::KillWorker { worker, rest } => {
                let worker =
                    if self.history.kind == Kind::OneKill { self.some_holder() } else { Some(worker) };
                if let Some(worker) = worker {
                    self.workers[worker].kill(rest);
                }
            }
            Fault::EndWorker { worker, rest } => {
                if let Some(running) = locked(&self.workers[worker]).as_mut() {
                    running.rest = rest;
                    running.stop.send_replace(true);
                }
            }
            Fault::Freeze { worker, time } => {
                if let Some(process) = self.workers[worker].process() {
                    process.suspend();
                    after(time, move || process.resume());
                }
            }
            Fault::Cut { worker, time } => cut(self.workers[worker].process(), time),
            Fault::CutCoordinator { time } => cut(self.coordinator.process(), time),
            Fault::KillCoordinator { rest } => self.coordinator.kill(rest),
            Fault::CrashServer { away } => {
                if self.server.crash() {
                    after(away, move || self.server.restart());
                }
            }
            Fault::LossyNetwork { network, time } => {
                self.server.set_network_faults(network);
                after(time, move || self.server.set_network_faults(NetworkFaults::default()));
            }
            Fault::ClockSetBack { by } => self.server.set_clock_back(by),
            Fault::Damage(damage) => {
                let name = self.record().checker.newest_checkpoint();
                if let Some(name) = name {
                    self.server.damage(Bucket::Checkpoints.name(), &name, damage);
                }
            }
        }
    }

    /// Index of a worker that holds a job.
    fn some_holder(&self) -> Option<usize> {
        let record = self.record();
        record.checker.some_holder()?.name().strip_prefix('w')?.parse().ok()
    }
}

impl Place for World {
    fn history(&self) -> &History {
        &self.history
    }

    fn sweep(&self) -> &Sweep {
        &self.sweep
    }

    fn connect(&self) -> Bus {
        self.server.connect("user").0
    }

    fn now(&self) -> Duration {
        self.server.now()
    }

    fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    fn note(&self, note: &str) {
        World::note(self, note);
    }

    fn asks_for(&self, request: RequestId, jobs: Vec<JobId>) {
        self.record().checker.asks_for(request, jobs);
    }

    fn waits(&self) -> bool {
        self.record().checker.requested.are_open()
    }

    fn paused(&self) -> Vec<JobId> {
        self.record().checker.requested.paused()
    }
}

/// A slot for a process, empty while it is down.
trait Slot {
    fn process(&self) -> Option<Process>;
    fn kill(&self, rest: Duration);
}

impl Slot for Mutex<Option<RunningProcess>> {
    fn process(&self) -> Option<Process> {
        locked(self).as_ref().map(|running| running.process.clone())
    }

    fn kill(&self, rest: Duration) {
        if let Some(running) = locked(self).as_mut() {
            running.rest = rest;
            running.process.kill();
        }
    }
}

/// In memory if possible, so that thousands of histories do not wait for a disk.
fn cache() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    match made {
        Ok(folder) => folder,
        Err(error) => panic!("a worker's cache cannot be made: {error}"),
    }
}

fn cut(process: Option<Process>, time: Duration) {
    if let Some(process) = process {
        process.link.cut();
        after(time, move || process.link.heal());
    }
}

fn after(time: Duration, act: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        act();
    });
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
