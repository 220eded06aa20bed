//! Local workers: one process per device, restarted when one dies, ended together with `ferry`.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use shared::bus::Endpoint;
use shared::ids::{JobId, WorkerId};
use shared::protocol::Presence;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::broker::tail;
use crate::devices::ChosenGpu;
use crate::engine::crash::{self, Crash};
use crate::guard;

/// Why local workers cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error(
        "there is no ferry-worker in {} or on the PATH: build it with `make build`, or set FERRY_WORKER",
        beside.display()
    )]
    NoProgram { beside: PathBuf },
    #[error("worker {name} cannot be started: {source}")]
    Spawn { name: String, source: std::io::Error },
}

/// What one local worker is pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    Cpu { index: usize },
    Gpu(ChosenGpu),
}

impl Slot {
    /// The worker's name.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu { index } => format!("cpu{index}"),
            Self::Gpu(gpu) => gpu.name.clone(),
        }
    }

    /// Each GPU worker sees exactly one GPU, by its UUID, as device 0.
    fn pin(&self, command: &mut Command) {
        match self {
            Self::Cpu { .. } => command.args(["--device", "cpu"]).env("CUDA_VISIBLE_DEVICES", ""),
            Self::Gpu(gpu) => command.args(["--device", "cuda:0"]).env("CUDA_VISIBLE_DEVICES", &gpu.uuid),
        };
    }
}

/// The devices to use: `gpus`, else CPU slots of `threads` cores each. `workers` overrides their number.
pub fn slots(gpus: &[ChosenGpu], cores: usize, threads: usize, workers: Option<usize>) -> Vec<Slot> {
    if gpus.is_empty() {
        let count = workers.unwrap_or((cores / threads.max(1)).max(1));
        return (0..count).map(|index| Slot::Cpu { index }).collect();
    }
    gpus.iter().cloned().map(Slot::Gpu).take(workers.unwrap_or(usize::MAX)).collect()
}

/// How many workers a machine with this many cores can take, with room for experiments. Beyond it, they only take
/// each other's cores and memory, and a slip such as `--workers 1000` would bring the machine to a halt.
pub fn most_cpu_workers(cores: usize) -> usize {
    4 * cores.max(4)
}

/// What every local worker is told.
#[derive(Debug, Clone)]
pub struct WorkerSetup {
    pub program: PathBuf,
    pub endpoint: Endpoint,
    /// A pack, or a folder of packs, on this machine, if the jobs read one.
    pub data: Option<PathBuf>,
    pub logs: PathBuf,
    /// Put before each worker's name where workers of several machines share a server: a worker is judged by its name.
    pub name_prefix: String,
}

impl WorkerSetup {
    /// The name of a slot's worker, as the server knows it.
    pub fn worker_name(&self, slot: &Slot) -> String {
        let name = format!("{}{}", self.name_prefix, slot.name());
        WorkerId::new(&name, uuid::Uuid::nil()).name().to_owned()
    }
}

/// The worker program: `FERRY_WORKER`, else beside this program, else on the PATH.
pub fn worker_program() -> Result<PathBuf, FleetError> {
    if let Some(named) = std::env::var_os("FERRY_WORKER").filter(|value| !value.is_empty()) {
        return Ok(named.into());
    }
    let beside =
        std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside.clone())
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("ferry-worker"))
        .find(|candidate| candidate.is_file())
        .ok_or(FleetError::NoProgram { beside })
}

/// A worker that ended by itself.
#[derive(Debug)]
pub struct Exit {
    pub worker: WorkerId,
    pub status: ExitStatus,
    /// What killed it, where that was what it did itself.
    pub crash: Option<Crash>,
    /// The jobs that it held.
    pub held: Vec<JobId>,
    /// The time until it is restarted; `None` when it is given up.
    pub restart_in: Option<Duration>,
    pub log: PathBuf,
    pub tail: String,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "worker {} ended ({}) and ", self.worker.name(), self.status)?;
        match self.restart_in {
            Some(Duration::ZERO) => f.write_str("is being restarted"),
            Some(rest) => write!(f, "will be restarted in {} s", rest.as_secs()),
            None => write!(f, "is given up; the end of {}:\n{}", self.log.display(), self.tail),
        }
    }
}

/// A worker that dies this often without living for a minute in between is given up.
const MAX_FAST_EXITS: u32 = 6;
const HEALTHY: Duration = Duration::from_mins(1);

/// Lines of a worker's log that are shown or kept when it has ended.
const LOG_TAIL: usize = 5;

/// A worker's exit code that says that a restart cannot help (see its `--help`).
const UNUSABLE: i32 = 2;

#[derive(Debug)]
struct Member {
    slot: Slot,
    state: MemberState,
    fast_exits: u32,
    /// It was drained because of failures: it is not restarted once it has ended.
    drained: bool,
}

#[derive(Debug)]
enum MemberState {
    Alive { child: Child, worker: WorkerId, since: Instant },
    Resting { until: Instant },
    GivenUp,
}

/// The local workers.
#[derive(Debug)]
pub struct Fleet {
    setup: WorkerSetup,
    members: Vec<Member>,
    /// Processes that the kernel had killed for lack of memory, when it was last asked.
    oom_kills: Option<u64>,
}

impl Fleet {
    /// Starts a worker in each slot.
    pub fn start(setup: WorkerSetup, slots: Vec<Slot>) -> Result<Self, FleetError> {
        let mut members = Vec::new();
        for slot in slots {
            let state = spawn(&setup, &slot)?;
            members.push(Member { slot, state, fast_exits: 0, drained: false });
        }
        Ok(Self { setup, members, oom_kills: oom_kills() })
    }

    /// Slots that are not given up.
    pub fn usable(&self) -> usize {
        self.members.iter().filter(|member| !matches!(member.state, MemberState::GivenUp)).count()
    }

    /// True for the presence of a local worker, which outlives the worker by a while.
    pub fn had(&self, worker: &Presence) -> bool {
        let name = worker.worker.name();
        self.members.iter().any(|member| self.setup.worker_name(&member.slot) == name)
    }

    /// True when there were local workers and all are given up.
    pub fn is_lost(&self) -> bool {
        !self.members.is_empty() && self.usable() == 0
    }

    /// Worker `name` takes no more jobs, so it is not restarted. If it is running, it ends by itself.
    pub fn drain(&mut self, name: &str) {
        let Self { setup, members, .. } = self;
        for member in members {
            if setup.worker_name(&member.slot) == name {
                member.drained = true;
                if matches!(member.state, MemberState::Resting { .. }) {
                    member.state = MemberState::GivenUp;
                }
            }
        }
    }

    /// Restarts workers whose time has come and reports those that have ended. Call it every second or so. `held_by`
    /// tells which jobs a worker held.
    ///
    /// # Errors
    /// A worker cannot be started.
    pub fn tend(
        &mut self,
        now: Instant,
        held_by: impl Fn(&WorkerId) -> Vec<JobId>,
    ) -> Result<Vec<Exit>, FleetError> {
        let mut exits = Vec::new();
        let killed_before = std::mem::replace(&mut self.oom_kills, oom_kills());
        let out_of_memory = self.oom_kills > killed_before;
        for member in &mut self.members {
            match &mut member.state {
                MemberState::Alive { child, worker, since } => {
                    let lived = now.saturating_duration_since(*since);
                    if let Ok(Some(status)) = child.try_wait() {
                        let crash = Crash::of(status.signal(), out_of_memory);
                        let (worker, held) = (worker.clone(), held_by(worker));
                        let restart_in =
                            member.ended(status, lived, now, crash.is_some() && !held.is_empty());
                        let log = log_path(&self.setup, &member.slot);
                        let tail = tail(&log, LOG_TAIL);
                        exits.push(Exit { worker, status, crash, held, restart_in, log, tail });
                    }
                }
                MemberState::Resting { until } if *until <= now => {
                    member.state = spawn(&self.setup, &member.slot)?;
                }
                MemberState::Resting { .. } | MemberState::GivenUp => {}
            }
        }
        Ok(exits)
    }

    /// Ends all workers gracefully: each hands its job back.
    pub async fn stop(mut self) {
        for member in &self.members {
            if let MemberState::Alive { child, .. } = &member.state {
                guard::ask_to_end(child);
            }
        }
        for member in &mut self.members {
            if let MemberState::Alive { child, .. } = &mut member.state {
                guard::terminate(child, Duration::from_secs(15)).await;
            }
        }
    }
}

impl Member {
    /// The time until it is restarted. A job that killed it counts against the job, not against the slot.
    fn ended(
        &mut self,
        status: ExitStatus,
        lived: Duration,
        now: Instant,
        by_its_job: bool,
    ) -> Option<Duration> {
        if by_its_job || lived >= HEALTHY {
            self.fast_exits = 0;
        }
        self.fast_exits += 1;
        let restart_in = restart_after(status.code(), self.fast_exits).filter(|_| !self.drained);
        self.state =
            restart_in.map_or(MemberState::GivenUp, |rest| MemberState::Resting { until: now + rest });
        restart_in
    }
}

/// Immediately after the first death, then after a pause that doubles; `None` when the worker is given up.
fn restart_after(code: Option<i32>, fast_exits: u32) -> Option<Duration> {
    if code == Some(UNUSABLE) || fast_exits >= MAX_FAST_EXITS {
        return None;
    }
    match fast_exits {
        0 | 1 => Some(Duration::ZERO),
        more => Some(Duration::from_secs(1 << (more - 2))),
    }
}

fn oom_kills() -> Option<u64> {
    crash::oom_kills(&std::fs::read_to_string("/proc/vmstat").ok()?)
}

fn log_path(setup: &WorkerSetup, slot: &Slot) -> PathBuf {
    setup.logs.join(format!("{}.log", slot.name()))
}

fn spawn(setup: &WorkerSetup, slot: &Slot) -> Result<MemberState, FleetError> {
    let fail = |source| FleetError::Spawn { name: slot.name(), source };
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(log_path(setup, slot)).map_err(fail)?;
    let mut command = guard::command(&setup.program, guard::OnParentDeath::Kill).map_err(fail)?;
    slot.pin(&mut command);
    // Chosen here, so that it is known which jobs a worker held that has died.
    let (name, life) = (setup.worker_name(slot), uuid::Uuid::new_v4());
    let worker = WorkerId::new(&name, life);
    command
        .args(["--name", &name, "--life", &life.to_string(), "--nats", setup.endpoint.url()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(fail)?)
        .stderr(log)
        .kill_on_drop(true);
    if let Some(data) = &setup.data {
        command.arg("--data").arg(data);
    }
    command.env_remove("FERRY_CREDS").env_remove("FERRY_TOKEN");
    if let Some(token) = setup.endpoint.token() {
        command.env("FERRY_TOKEN", token); // Not an argument: those are visible to every user of the machine.
    }
    if let Some(credential) = setup.endpoint.credential() {
        command.env("FERRY_CREDS", credential.path());
    }
    Ok(MemberState::Alive { child: command.spawn().map_err(fail)?, worker, since: Instant::now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str, uuid: &str) -> ChosenGpu {
        ChosenGpu { name: name.to_owned(), uuid: uuid.to_owned() }
    }

    #[test]
    fn a_worker_sees_its_device_alone_before_it_starts() {
        let pinned = |slot: &Slot| {
            let mut command = Command::new("ferry-worker");
            slot.pin(&mut command);
            let command = command.as_std();
            let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
            let (_, visible) = command.get_envs().find(|(name, _)| *name == "CUDA_VISIBLE_DEVICES").unwrap();
            (args, visible.map(|value| value.to_string_lossy().into_owned()))
        };
        let slots = slots(&[gpu("gpu2", "GPU-a"), gpu("gpu5-0", "MIG-b")], 64, 1, None);
        for (slot, uuid) in slots.iter().zip(["GPU-a", "MIG-b"]) {
            assert_eq!(pinned(slot), (vec!["--device".into(), "cuda:0".into()], Some(uuid.into())));
        }
        assert_eq!(slots.iter().map(Slot::name).collect::<Vec<_>>(), ["gpu2", "gpu5-0"]);
        let cpu = pinned(&Slot::Cpu { index: 0 });
        assert_eq!(cpu, (vec!["--device".into(), "cpu".into()], Some(String::new())));
    }

    #[test]
    fn every_gpu_gets_a_worker_else_the_cores_are_shared() {
        let gpus = [gpu("gpu2", "GPU-a"), gpu("gpu5-0", "MIG-b")];
        assert_eq!(slots(&gpus, 64, 1, None).len(), 2);
        assert_eq!(slots(&gpus, 64, 1, Some(1)), [Slot::Gpu(gpu("gpu2", "GPU-a"))]);
        assert_eq!(slots(&[], 8, 2, None).len(), 4);
        assert_eq!(slots(&[], 1, 4, None).len(), 1);
        assert!(slots(&[], 8, 2, Some(0)).is_empty());
    }

    #[test]
    fn an_exit_reads_well() {
        let exit = |restart_in| Exit {
            worker: WorkerId::new("cpu0", uuid::Uuid::nil()),
            status: ExitStatus::from_raw(9),
            crash: None,
            held: Vec::new(),
            restart_in,
            log: "logs/cpu0.log".into(),
            tail: "no memory".into(),
        };
        let told =
            [Some(Duration::ZERO), Some(Duration::from_secs(4)), None].map(|rest| exit(rest).to_string());
        insta::assert_snapshot!(told.join("\n"), @r"
        worker cpu0 ended (signal: 9 (SIGKILL)) and is being restarted
        worker cpu0 ended (signal: 9 (SIGKILL)) and will be restarted in 4 s
        worker cpu0 ended (signal: 9 (SIGKILL)) and is given up; the end of logs/cpu0.log:
        no memory
        ");
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(restart_after(None, 1), Some(Duration::ZERO));
        assert_eq!(restart_after(Some(1), 4), Some(Duration::from_secs(4)));
        assert_eq!(restart_after(Some(1), MAX_FAST_EXITS), None);
        assert_eq!(restart_after(Some(UNUSABLE), 1), None);
    }
}
