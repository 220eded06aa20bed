//! What is done to a sweep: one fault each, as plain data.

use std::time::Duration;

use serde::Serialize;

/// One fault. Workers are numbered from 0; one that lies down already passes it on to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL; started again after `away`.
    KillWorker { worker: usize, away: Duration },
    /// SIGTERM; started again after `away`.
    StopWorker { worker: usize, away: Duration },
    /// SIGSTOP for longer than a lease, then SIGCONT: it comes back as a zombie.
    FreezeWorker { worker: usize, time: Duration },
    /// Nothing comes through between a worker and the server, in either direction; then all of it, late.
    SilenceLink { worker: usize, time: Duration },
    /// A worker's connections are reset.
    ResetLink { worker: usize },
    /// Every piece between a worker and the server takes `by` longer.
    SlowLink { worker: usize, by: Duration, time: Duration },
    /// SIGKILL of nats-server; started again after `away`.
    KillServer { away: Duration },
    /// SIGKILL of `ferry run`; started again after `away`.
    KillCoordinator { away: Duration },
    /// The newest checkpoint of the job at work is damaged and its worker killed, so that somebody has to read it.
    DamageCheckpoint { worker: usize, damage: Damage, away: Duration },
    /// The disk of the server's store is full, then has room again and the server is started anew.
    FillDisk { time: Duration },
    /// The queue is emptied and every job is queued anew: those at work and those that are done are handed out twice.
    Duplicate,
}

/// What happens to a checkpoint's bytes in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// One bit is another one.
    Flip,
    /// The second half is gone.
    Truncate,
    /// All of it is gone.
    Delete,
}

/// Kinds of faults, as the table lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    KillWorker,
    StopWorker,
    FreezeWorker,
    SilenceLink,
    ResetLink,
    SlowLink,
    KillServer,
    KillCoordinator,
    DamageCheckpoint,
    FillDisk,
    Duplicate,
}

impl Fault {
    /// Its kind.
    pub fn kind(self) -> Kind {
        match self {
            Self::KillWorker { .. } => Kind::KillWorker,
            Self::StopWorker { .. } => Kind::StopWorker,
            Self::FreezeWorker { .. } => Kind::FreezeWorker,
            Self::SilenceLink { .. } => Kind::SilenceLink,
            Self::ResetLink { .. } => Kind::ResetLink,
            Self::SlowLink { .. } => Kind::SlowLink,
            Self::KillServer { .. } => Kind::KillServer,
            Self::KillCoordinator { .. } => Kind::KillCoordinator,
            Self::DamageCheckpoint { .. } => Kind::DamageCheckpoint,
            Self::FillDisk { .. } => Kind::FillDisk,
            Self::Duplicate => Kind::Duplicate,
        }
    }
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::KillWorker,
        Self::StopWorker,
        Self::FreezeWorker,
        Self::SilenceLink,
        Self::ResetLink,
        Self::SlowLink,
        Self::KillServer,
        Self::KillCoordinator,
        Self::DamageCheckpoint,
        Self::FillDisk,
        Self::Duplicate,
    ];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::KillWorker => "kill -9 of a worker",
            Self::StopWorker => "SIGTERM of a worker",
            Self::FreezeWorker => "SIGSTOP past the lease, SIGCONT",
            Self::SilenceLink => "connection black-holed",
            Self::ResetLink => "connection reset",
            Self::SlowLink => "connection delayed",
            Self::KillServer => "kill -9 of nats-server",
            Self::KillCoordinator => "kill -9 of the coordinator",
            Self::DamageCheckpoint => "newest checkpoint damaged, worker killed",
            Self::FillDisk => "server's disk full",
            Self::Duplicate => "queue emptied, every job queued again",
        }
    }

    /// True when the worker it hits does no more work from that moment on.
    pub(super) fn is_lethal(self) -> bool {
        match self {
            Self::KillWorker | Self::StopWorker | Self::FreezeWorker | Self::DamageCheckpoint => true,
            Self::SilenceLink
            | Self::ResetLink
            | Self::SlowLink
            | Self::KillServer
            | Self::KillCoordinator
            | Self::FillDisk
            | Self::Duplicate => false,
        }
    }
}
