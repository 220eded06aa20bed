//! One history: jobs, workers and faults, all drawn from the seed before it starts.

use std::num::NonZeroU32;
use std::time::Duration;

use super::drained::{self, Drained};
use memory_server::{Damage, NetworkFaults};
use shared::protocol::{CheckpointEvery, JobChange, Priority, Timing};
use shared::rng::{Purpose, Stream};

/// One history. `Debug` is its description.
#[derive(Debug, Clone)]
pub struct History {
    pub seed: u64,
    pub kind: Kind,
    pub jobs: Vec<Script>,
    pub workers: usize,
    /// A worker that stays bad however often it is restarted.
    pub bad: Option<(usize, Bad)>,
    /// No other coordinator uses the server, so the queue is cleared at each start.
    pub ours_alone: bool,
    pub checkpoint_every: CheckpointEvery,
    pub timing: Timing,
    /// How many jobs that wait for a worker may be in the queue at a time.
    pub most_queued: usize,
    /// Jobs that the sweep does not have at first.
    pub more_jobs: Vec<Script>,
    /// The requests to change the sweep, sorted by time.
    pub asks: Vec<(Duration, Ask)>,
    /// The workers that a user drains for a while.
    pub drains: Vec<Drained>,
    /// The faults, sorted by time.
    pub faults: Vec<(Duration, Fault)>,
    /// When the last fault is over.
    pub faults_end: Duration,
}

/// Which faults a history has, and therefore what can be promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One worker with a job is killed while another idles: the job must move on within the lease.
    OneKill,
    /// Processes are killed; server and network are up: a kill costs at most the current epoch.
    Kills,
    /// Only bad jobs and a bad worker: they must be told apart, and good jobs must not suffer.
    BadWorker,
    /// All kinds of faults.
    Everything,
}

/// How a bad worker is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// Its self-test fails.
    SelfTest,
    /// Its self-test passes, but every training on it fails.
    Trainings,
}

/// How the trainings of one job behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    pub epochs: u32,
    pub epoch: Duration,
    /// Number of trainings that fail, in their second epoch if there is one.
    pub failures: u32,
    /// The first checkpoint after this many epochs has the right digest, but the training refuses it.
    pub torn: Option<u32>,
    /// Every training except the first ends with other weights, as on another kind of device.
    pub nondeterministic: bool,
}

/// A request to change the sweep, or an edit of its file. Jobs are numbered: first those it has, then those it may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Jobs { jobs: Vec<usize>, change: JobChange },
    Add { jobs: Vec<usize> },
    Withdraw { jobs: Vec<usize> },
    Edit { jobs: Vec<usize> },
}

/// One fault, and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// `kill -9`; it is restarted after `rest`.
    KillWorker {
        worker: usize,
        rest: Duration,
    },
    /// `SIGTERM`: it may hand its job back first.
    EndWorker {
        worker: usize,
        rest: Duration,
    },
    /// `SIGSTOP`, then `SIGCONT`.
    Freeze {
        worker: usize,
        time: Duration,
    },
    /// The worker is disconnected from the server. What it sends arrives later.
    Cut {
        worker: usize,
        time: Duration,
    },
    CrashServer {
        away: Duration,
    },
    KillCoordinator {
        rest: Duration,
    },
    CutCoordinator {
        time: Duration,
    },
    /// Some requests and replies are lost.
    LossyNetwork {
        network: NetworkFaults,
        time: Duration,
    },
    /// The server's clock is set back.
    ClockSetBack {
        by: Duration,
    },
    /// The newest checkpoint of a job is damaged.
    Damage(Damage),
}

/// A job whose every training fails.
const ALWAYS: u32 = u32::MAX;

impl History {
    /// The history of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw(Stream::new(seed, Purpose::Simulation, &[0]));
        let kind = match draw.0.below(8) {
            0 => Kind::OneKill,
            1 | 2 => Kind::Kills,
            3 => Kind::BadWorker,
            _ => Kind::Everything,
        };
        let jobs: Vec<Script> = (0..draw.between(1, 5)).map(|_| draw.script(kind)).collect();
        let workers = match kind {
            Kind::OneKill => jobs.len() + 1,
            Kind::BadWorker => draw.between(2, 5) as usize,
            Kind::Kills | Kind::Everything => draw.between(1, 5) as usize,
        };
        let bad = draw.bad(kind, workers);
        let ours_alone = draw.0.chance(0.5);
        let checkpoint_every = draw.checkpoint_every();
        let timing = draw.timing();
        let (faults, faults_end) = draw.faults(kind, workers);
        let most_drains = if bad.is_none() && matches!(kind, Kind::Kills | Kind::Everything) { 3 } else { 0 };
        // From a stream of their own, so that they do not change the rest of the history.
        let mut draw = Draw(Stream::new(seed, Purpose::Simulation, &[2]));
        let more_jobs = draw.more_jobs(kind);
        let asks = draw.asks(kind, jobs.len() + more_jobs.len());
        let mut draw = Draw(Stream::new(seed, Purpose::Simulation, &[3]));
        let most_queued = if draw.0.chance(0.5) { draw.between(1, 3) as usize } else { 4096 };
        let mut history = Self {
            seed,
            kind,
            jobs,
            workers,
            bad,
            ours_alone,
            checkpoint_every,
            timing,
            most_queued,
            more_jobs,
            asks,
            drains: drained::draw(seed, most_drains, workers, faults_end),
            faults,
            faults_end,
        };
        Draw(Stream::new(seed, Purpose::Simulation, &[4])).hurry(&mut history);
        history
    }

    /// The scripts of all jobs that the sweep ever has.
    pub fn scripts(&self) -> impl Iterator<Item = &Script> {
        self.jobs.iter().chain(&self.more_jobs)
    }

    /// The training time of all jobs, if nothing is repeated except after scripted failures and on request.
    pub fn work(&self) -> Duration {
        let anew = |(_, ask): &&(Duration, Ask)| match ask {
            Ask::Jobs { change, .. } => *change == JobChange::TrainAnew,
            Ask::Add { .. } | Ask::Withdraw { .. } | Ask::Edit { .. } => false,
        };
        let times = 1 + self.asks.iter().filter(anew).count() as u32;
        let once: Duration =
            self.scripts().map(|job| job.epoch * job.epochs * (1 + job.failures.min(3))).sum();
        once * times
    }
}

struct Draw(Stream);

impl Draw {
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    fn seconds(&mut self, low: f64, high: f64) -> Duration {
        Duration::from_millis((self.0.between(low, high) * 1000.0) as u64)
    }

    fn script(&mut self, kind: Kind) -> Script {
        let slow = self.0.chance(0.15);
        let epoch = if slow { self.seconds(16.0, 45.0) } else { self.seconds(0.5, 9.0) };
        let failures = match (kind, self.0.below(12)) {
            (Kind::BadWorker, 0..=3) | (Kind::Kills | Kind::Everything, 0) => ALWAYS,
            (Kind::BadWorker, 4) => 1,
            (Kind::OneKill, _) | (_, 2..) => 0,
            (Kind::Kills | Kind::Everything, _) => self.between(1, 2) as u32,
        };
        let epochs = self.between(1, 5) as u32;
        let strange = kind == Kind::Everything;
        let torn = self.0.chance(0.2).then(|| self.between(0, epochs.into()) as u32).filter(|_| strange);
        let nondeterministic = self.0.chance(0.15) && strange;
        Script { epochs, epoch, failures, torn, nondeterministic }
    }

    /// Makes some histories quick: many jobs that take milliseconds, of which a worker has several at a time, and what
    /// happens to them in a few seconds.
    fn hurry(&mut self, history: &mut History) {
        let quick = match history.kind {
            Kind::OneKill => 0.0,
            Kind::Kills | Kind::BadWorker | Kind::Everything => 0.2,
        };
        if !self.0.chance(quick) {
            return;
        }
        let more = self.between(5, 40);
        let more: Vec<Script> = (0..more).map(|_| self.script(history.kind)).collect();
        history.jobs.extend(more);
        for job in history.jobs.iter_mut().chain(&mut history.more_jobs) {
            // One in twenty stays as long as it was.
            if self.0.chance(0.95) {
                job.epoch = Duration::from_millis(self.between(4, 60));
                job.epochs = job.epochs.min(2);
                job.torn = job.torn.filter(|epochs| *epochs <= job.epochs);
            }
        }
        history.faults.iter_mut().for_each(|(at, _)| *at /= 12);
        history.asks.iter_mut().for_each(|(at, _)| *at /= 12);
        history.faults_end = faults_end(&history.faults);
    }

    fn more_jobs(&mut self, kind: Kind) -> Vec<Script> {
        match kind {
            Kind::OneKill | Kind::BadWorker => Vec::new(),
            Kind::Kills | Kind::Everything => (0..self.0.below(3)).map(|_| self.script(kind)).collect(),
        }
    }

    fn asks(&mut self, kind: Kind, jobs: usize) -> Vec<(Duration, Ask)> {
        let count = match kind {
            Kind::OneKill | Kind::BadWorker => 0,
            Kind::Kills | Kind::Everything => self.0.below(9),
        };
        let mut asks: Vec<_> = (0..count).map(|_| (self.seconds(0.0, 75.0), self.ask(jobs))).collect();
        asks.sort_by_key(|(at, _)| *at);
        asks
    }

    fn ask(&mut self, all: usize) -> Ask {
        let some = self.0.between(0.1, 0.7);
        let mut jobs: Vec<usize> = (0..all).filter(|_| self.0.chance(some)).collect();
        if jobs.is_empty() {
            jobs.push(self.0.below(all as u64) as usize);
        }
        let change = match self.0.below(18) {
            0 | 1 => JobChange::Pause,
            2 | 3 => JobChange::Resume,
            4 => JobChange::Cancel,
            5 => JobChange::StopEarly,
            6 => JobChange::Limit { epochs: Some(self.between(1, 4) as u32) },
            7 => JobChange::Limit { epochs: None },
            8 => JobChange::CheckpointEvery { every: Some(self.checkpoint_every()) },
            9..12 => {
                let priority = [-100, -1, 0, 1, 2, 100][self.0.below(6) as usize];
                JobChange::Priority { priority: Priority::new(priority).ok() }
            }
            12 => JobChange::TrainAnew,
            13 => return Ask::Withdraw { jobs },
            14 | 15 => return Ask::Add { jobs },
            _ => return Ask::Edit { jobs },
        };
        Ask::Jobs { jobs, change }
    }

    fn checkpoint_every(&mut self) -> CheckpointEvery {
        match self.0.below(4) {
            0 => CheckpointEvery::Steps(NonZeroU32::MIN),
            1 => CheckpointEvery::Steps(NonZeroU32::MIN.saturating_add(1)),
            2 => CheckpointEvery::Minutes(NonZeroU32::MIN),
            _ => CheckpointEvery::Epoch,
        }
    }

    fn timing(&mut self) -> Timing {
        let short = Timing::new(Duration::from_secs(9), Some(Duration::from_secs(2))).unwrap_or_default();
        if self.0.chance(0.25) { short } else { Timing::default() }
    }

    /// A bad worker, but only if there is another worker, because one worker alone cannot be told from bad jobs.
    fn bad(&mut self, kind: Kind, workers: usize) -> Option<(usize, Bad)> {
        let often = match kind {
            Kind::OneKill => 0.0,
            Kind::Kills | Kind::Everything => 0.25,
            Kind::BadWorker => 0.8,
        };
        let (drawn, worker) = (self.0.chance(often), self.0.below(workers as u64) as usize);
        let how = if self.0.chance(0.25) { Bad::SelfTest } else { Bad::Trainings };
        (drawn && workers > 1).then_some((worker, how))
    }

    fn faults(&mut self, kind: Kind, workers: usize) -> (Vec<(Duration, Fault)>, Duration) {
        let count = match kind {
            Kind::OneKill => 1,
            Kind::BadWorker => 0,
            Kind::Kills => self.between(1, 8),
            Kind::Everything => self.between(1, 14),
        };
        let mut faults: Vec<(Duration, Fault)> = (0..count)
            .map(|_| {
                let at = self.seconds(0.0, 75.0);
                let fault = match kind {
                    Kind::OneKill => Fault::KillWorker { worker: 0, rest: Duration::from_mins(1) },
                    Kind::Kills => self.kill(workers),
                    Kind::BadWorker | Kind::Everything => self.anything(workers),
                };
                (at, fault)
            })
            .collect();
        faults.sort_by_key(|(at, _)| *at);
        let end = faults_end(&faults);
        (faults, end)
    }

    fn kill(&mut self, workers: usize) -> Fault {
        let worker = self.0.below(workers as u64) as usize;
        let rest = self.seconds(0.0, 40.0);
        match self.0.below(6) {
            // Sometimes away for most of the history.
            0 => Fault::KillCoordinator { rest: self.seconds(0.0, 90.0) },
            1 => Fault::EndWorker { worker, rest },
            _ => Fault::KillWorker { worker, rest },
        }
    }

    fn anything(&mut self, workers: usize) -> Fault {
        let worker = self.0.below(workers as u64) as usize;
        match self.0.below(17) {
            16 => Fault::ClockSetBack { by: self.seconds(1.0, 7200.0) },
            0..4 => self.kill(workers),
            4..7 => Fault::Freeze { worker, time: self.seconds(0.5, 45.0) },
            7..10 => Fault::Cut { worker, time: self.seconds(0.5, 45.0) },
            10 | 11 => Fault::CrashServer { away: self.seconds(0.0, 25.0) },
            12 => Fault::CutCoordinator { time: self.seconds(0.5, 60.0) },
            13 | 14 => self.lossy_network(),
            _ => Fault::Damage(match self.0.below(3) {
                0 => Damage::NoDescription,
                1 => Damage::NoChunks,
                _ => Damage::OtherBytes,
            }),
        }
    }

    fn lossy_network(&mut self) -> Fault {
        let network = NetworkFaults {
            latency_ms: self.between(1, 400),
            lost_requests: self.0.between(0.0, 0.15),
            lost_replies: self.0.between(0.0, 0.3),
        };
        Fault::LossyNetwork { network, time: self.seconds(1.0, 40.0) }
    }
}

fn faults_end(faults: &[(Duration, Fault)]) -> Duration {
    let end = faults.iter().map(|(at, fault)| *at + fault.time()).max().unwrap_or_default();
    end + Duration::from_secs(1)
}

impl Fault {
    /// How long it lasts.
    pub fn time(&self) -> Duration {
        match *self {
            Self::KillWorker { rest, .. } | Self::EndWorker { rest, .. } | Self::KillCoordinator { rest } => {
                rest
            }
            Self::Freeze { time, .. }
            | Self::Cut { time, .. }
            | Self::CutCoordinator { time }
            | Self::LossyNetwork { time, .. } => time,
            Self::CrashServer { away } => away,
            Self::Damage(_) | Self::ClockSetBack { .. } => Duration::ZERO,
        }
    }
}
