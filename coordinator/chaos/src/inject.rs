//! Injects faults into a deployment and repairs them.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use shared::books::{Checkpoint, JobState, Token};
use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;

use super::audit::Damaged;
use super::cost::Target;
use super::deployment::Deployment;
use super::fault::{Damage, Fault};
use super::proxy::Mode;

/// What ends the effect of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    StartWorker(usize),
    ResumeWorker(usize),
    OpenLink(usize),
    StartServer,
    StartCoordinator,
    FreeDisk,
}

/// The outcome of an injection.
#[derive(Debug)]
pub(super) enum Injected {
    Done {
        target: Target,
        repair: Option<(Duration, Repair)>,
    },
    /// Every possible target is under another fault.
    Busy,
    /// There is no target yet, such as a checkpoint.
    NoTarget,
}

/// What is done to a worker's process.
#[derive(Debug, Clone, Copy)]
enum Action {
    Kill,
    Stop,
    Suspend,
}

/// Time for requests of a suspended worker to reach the server.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// Time limit of our own requests, because a server under faults may not answer.
const REQUEST: Duration = Duration::from_secs(10);

impl Deployment {
    /// Injects a fault.
    pub(super) async fn inject(&mut self, fault: Fault) -> anyhow::Result<Injected> {
        match fault {
            Fault::KillWorker { worker, away } => self.hit_worker(worker, Action::Kill, away).await,
            Fault::StopWorker { worker, away } => self.hit_worker(worker, Action::Stop, away).await,
            Fault::FreezeWorker { worker, time } => self.hit_worker(worker, Action::Suspend, time).await,
            Fault::DamageCheckpoint { worker, damage, away } => self.damage(worker, damage, away).await,
            Fault::SilenceLink { worker, time } => Ok(self.hit_link(worker, Mode::Blocked, time)),
            Fault::SlowLink { worker, by, time } => Ok(self.hit_link(worker, Mode::Delayed(by), time)),
            Fault::ResetLink { worker } => Ok(self.reset_link(worker)),
            Fault::KillServer { .. } | Fault::FillDisk { .. } | Fault::Duplicate if self.server_busy => {
                Ok(Injected::Busy)
            }
            Fault::KillServer { away } => {
                self.broker.kill().await?;
                self.server_busy = true;
                Ok(everyone(Some((away, Repair::StartServer))))
            }
            Fault::FillDisk { time } => {
                let Some(disk) = &self.disk else { return Ok(Injected::NoTarget) };
                disk.fill().context("the disk cannot be filled")?;
                self.server_busy = true;
                Ok(everyone(Some((time, Repair::FreeDisk))))
            }
            Fault::Duplicate => self.duplicate().await,
            Fault::KillCoordinator { .. } if self.coordinator_busy => Ok(Injected::Busy),
            Fault::KillCoordinator { away } => {
                self.coordinator.kill().await?;
                self.coordinator_busy = true;
                Ok(everyone(Some((away, Repair::StartCoordinator))))
            }
        }
    }

    /// Ends the effect of a fault; false when it is too early for that.
    pub(super) async fn repair(&mut self, repair: Repair) -> anyhow::Result<bool> {
        match repair {
            Repair::StartWorker(index) => {
                if !self.workers[index].process.start().await? {
                    return Ok(false);
                }
                self.workers[index].busy = false;
            }
            Repair::ResumeWorker(index) => {
                self.workers[index].process.resume()?;
                self.workers[index].busy = false;
            }
            Repair::OpenLink(index) => {
                self.workers[index].link.set(Mode::Open);
                self.workers[index].busy = false;
            }
            Repair::StartServer => {
                self.broker.restart().await?;
                self.server_busy = false;
            }
            // A server that could not write refuses to write until it is restarted.
            Repair::FreeDisk => {
                if let Some(disk) = &self.disk {
                    disk.free()?;
                }
                self.broker.kill().await?;
                self.broker.restart().await?;
                self.server_busy = false;
            }
            Repair::StartCoordinator => {
                self.coordinator.start().await?;
                self.coordinator_busy = false;
            }
        }
        Ok(true)
    }

    /// The first worker, from `wanted` on, that runs and is under no fault.
    fn free_worker(&self, wanted: usize) -> Option<usize> {
        let count = self.workers.len();
        let mut order = (0..count).map(|step| (wanted + step) % count);
        order.find(|&index| !self.workers[index].busy && self.workers[index].process.is_running())
    }

    fn target(&self, index: usize) -> Target {
        match self.observer.held_by(&self.workers[index].name) {
            Some((job, token)) => Target::Holder { job, token },
            None => Target::Idle,
        }
    }

    async fn hit_worker(
        &mut self,
        wanted: usize,
        action: Action,
        time: Duration,
    ) -> anyhow::Result<Injected> {
        let Some(index) = self.free_worker(wanted) else { return Ok(Injected::Busy) };
        let target = self.target(index);
        let worker = &mut self.workers[index];
        worker.busy = true;
        let repair = match action {
            Action::Kill => {
                worker.process.kill().await?;
                Repair::StartWorker(index)
            }
            Action::Stop => {
                worker.process.ask_to_end();
                Repair::StartWorker(index)
            }
            Action::Suspend => {
                worker.process.suspend()?;
                Repair::ResumeWorker(index)
            }
        };
        Ok(Injected::Done { target, repair: Some((time, repair)) })
    }

    fn hit_link(&mut self, wanted: usize, mode: Mode, time: Duration) -> Injected {
        let Some(index) = self.free_worker(wanted) else { return Injected::Busy };
        let target = self.target(index);
        self.workers[index].link.set(mode);
        self.workers[index].busy = true;
        Injected::Done { target, repair: Some((time, Repair::OpenLink(index))) }
    }

    fn reset_link(&mut self, wanted: usize) -> Injected {
        let Some(index) = self.free_worker(wanted) else { return Injected::Busy };
        self.workers[index].link.reset();
        Injected::Done { target: self.target(index), repair: None }
    }

    /// Suspends a worker while its checkpoint is damaged, so that it cannot store a newer one, and then kills it, so
    /// that the next attempt has to read the damaged one.
    async fn damage(&mut self, wanted: usize, damage: Damage, away: Duration) -> anyhow::Result<Injected> {
        if self.server_busy {
            return Ok(Injected::Busy);
        }
        let Some(index) = self.free_worker(wanted) else { return Ok(Injected::Busy) };
        let Some((job, _)) = self.observer.held_by(&self.workers[index].name) else {
            return Ok(Injected::NoTarget);
        };
        self.workers[index].process.suspend()?;
        tokio::time::sleep(IN_FLIGHT).await;
        let done = tokio::time::timeout(REQUEST, damage_newest(&self.bus, job, damage)).await;
        let done = done.map_err(anyhow::Error::from).and_then(|done| Ok(done?));
        match done {
            Ok(Some((token, checkpoint))) if token.owner.name() == self.workers[index].name => {
                self.damaged.push(Damaged { job, token: token.clone(), checkpoint });
                self.workers[index].process.kill().await?;
                self.workers[index].busy = true;
                let target = Target::Holder { job, token };
                Ok(Injected::Done { target, repair: Some((away, Repair::StartWorker(index))) })
            }
            Ok(_) => {
                self.workers[index].process.resume()?;
                Ok(Injected::NoTarget)
            }
            Err(error) => {
                tracing::debug!(%error, "no checkpoint was damaged");
                self.workers[index].process.resume()?;
                Ok(Injected::Busy)
            }
        }
    }

    async fn duplicate(&mut self) -> anyhow::Result<Injected> {
        let again = async {
            self.bus.clear_queue().await?;
            for job in self.observer.jobs() {
                self.bus.enqueue(job).await?;
            }
            Ok::<_, BusError>(())
        };
        match tokio::time::timeout(REQUEST, again).await {
            Ok(Ok(())) => Ok(everyone(None)),
            Ok(Err(error)) if !error.is_transient() => Err(error.into()),
            Ok(Err(_)) | Err(_) => Ok(Injected::Busy),
        }
    }
}

fn everyone(repair: Option<(Duration, Repair)>) -> Injected {
    Injected::Done { target: Target::Everyone, repair }
}

/// Damages the newest checkpoint of a running job; returns the job's holder and that checkpoint, or `None` if there is
/// no checkpoint.
async fn damage_newest(
    bus: &Bus,
    job: JobId,
    damage: Damage,
) -> Result<Option<(Token, Checkpoint)>, BusError> {
    let Some(entry) = bus.record(job).await? else { return Ok(None) };
    let JobState::Running { token, .. } = entry.record.state else { return Ok(None) };
    let Some(newest) = entry.record.checkpoints.last().cloned() else { return Ok(None) };
    let name = &newest.blob.name;
    match damage {
        Damage::Delete => bus.delete_blob(Bucket::Checkpoints, name).await?,
        Damage::Flip | Damage::Truncate => {
            let mut bytes = bus.get_blob(Bucket::Checkpoints, &newest.blob).await?.to_vec();
            let middle = bytes.len() / 2;
            if damage == Damage::Truncate {
                bytes.truncate(middle);
            } else if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            bus.damage_blob(Bucket::Checkpoints, name, Bytes::from(bytes)).await?;
        }
    }
    Ok(Some((token, newest)))
}
