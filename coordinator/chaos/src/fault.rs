//! Faults as plain data.

use std::time::Duration;

use serde::Serialize;

/// One fault. Workers are numbered from 0; if a worker is already under a fault, the next one is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL; started again after `away`.
    KillWorker { worker: usize, away: Duration },
    /// SIGTERM; started again after `away`.
    StopWorker { worker: usize, away: Duration },
    /// SIGSTOP for longer than a lease, then SIGCONT: when it continues, another worker may hold its job.
    FreezeWorker { worker: usize, time: Duration },
    /// Nothing passes between a worker and the server in either direction; then everything arrives late.
    SilenceLink { worker: usize, time: Duration },
    /// A worker's connections are reset.
    ResetLink { worker: usize },
    /// Everything between a worker and the server is delayed by `by`.
    SlowLink { worker: usize, by: Duration, time: Duration },
    /// SIGKILL of nats-server; started again after `away`.
    KillServer { away: Duration },
    /// SIGKILL of `ferry run`; started again after `away`.
    KillCoordinator { away: Duration },
    /// The newest checkpoint of a worker's job is damaged and the worker killed, so that another attempt has to read it.
    DamageCheckpoint { worker: usize, damage: Damage, away: Duration },
    /// The disk of the server's store is full. Later it has room again, and the server is restarted.
    FillDisk { time: Duration },
    /// The queue is emptied and every job is queued again, so that running and finished jobs are delivered twice.
    Duplicate,
}

/// What happens to a checkpoint's bytes in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// One bit is flipped.
    Flip,
    /// The second half is cut off.
    Truncate,
    /// It is deleted.
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

    /// The kind in words.
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

    /// True if the worker that it hits does no more work afterwards.
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
