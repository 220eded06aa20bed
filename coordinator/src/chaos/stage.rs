//! Server, coordinator, workers and what lies between them: performs faults and takes their effects away again.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use shared::books::{Checkpoint, JobState, Token};
use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;

use super::actor::Actor;
use super::audit::Damaged;
use super::disk::Disk;
use super::fault::{Damage, Fault};
use super::ledger::Victim;
use super::observer::Observer;
use super::proxy::{Passage, Proxy};
use crate::broker::Broker;

/// One worker and the way from it to the server.
#[derive(Debug)]
pub(super) struct Seat {
    pub name: String,
    pub worker: Actor,
    pub link: Proxy,
    /// A fault is at work here; another one waits for it or takes the next seat.
    pub busy: bool,
}

#[derive(Debug)]
pub(super) struct Stage {
    pub broker: Broker,
    pub coordinator: Actor,
    pub seats: Vec<Seat>,
    pub disk: Option<Disk>,
    /// Around the proxies.
    pub bus: Bus,
    pub observer: Observer,
    /// The server is away or its disk is full.
    pub server_busy: bool,
    pub coordinator_busy: bool,
    pub damaged: Vec<Damaged>,
}

/// What takes the effect of a fault away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    StartWorker(usize),
    Thaw(usize),
    OpenLink(usize),
    StartServer,
    StartCoordinator,
    FreeDisk,
}

/// What became of a fault.
#[derive(Debug)]
pub(super) enum Performed {
    Done {
        victim: Victim,
        cure: Option<(Duration, Cure)>,
    },
    /// Whom it is meant for suffers from another one.
    NotNow,
    /// There is nothing that it could hit, such as a checkpoint before there is one.
    Pointless,
}

/// A frozen worker's last words may still be on their way to the server.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// For requests of our own that a server under faults may not answer.
const REQUEST: Duration = Duration::from_secs(10);

impl Stage {
    /// Performs a fault.
    pub(super) async fn perform(&mut self, fault: Fault) -> anyhow::Result<Performed> {
        match fault {
            Fault::KillWorker { worker, away } => self.on_worker(worker, Blow::Kill, away).await,
            Fault::StopWorker { worker, away } => self.on_worker(worker, Blow::Stop, away).await,
            Fault::FreezeWorker { worker, time } => self.on_worker(worker, Blow::Freeze, time).await,
            Fault::DamageCheckpoint { worker, damage, away } => self.damage(worker, damage, away).await,
            Fault::SilenceLink { worker, time } => Ok(self.on_link(worker, Passage::Silent, time)),
            Fault::SlowLink { worker, by, time } => Ok(self.on_link(worker, Passage::Slow(by), time)),
            Fault::ResetLink { worker } => Ok(self.reset(worker)),
            Fault::KillServer { .. } | Fault::FillDisk { .. } | Fault::Duplicate if self.server_busy => {
                Ok(Performed::NotNow)
            }
            Fault::KillServer { away } => {
                self.broker.kill().await?;
                self.server_busy = true;
                Ok(everyone(Some((away, Cure::StartServer))))
            }
            Fault::FillDisk { time } => {
                let Some(disk) = &self.disk else { return Ok(Performed::Pointless) };
                disk.fill().context("the disk cannot be filled")?;
                self.server_busy = true;
                Ok(everyone(Some((time, Cure::FreeDisk))))
            }
            Fault::Duplicate => self.duplicate().await,
            Fault::KillCoordinator { .. } if self.coordinator_busy => Ok(Performed::NotNow),
            Fault::KillCoordinator { away } => {
                self.coordinator.kill().await?;
                self.coordinator_busy = true;
                Ok(everyone(Some((away, Cure::StartCoordinator))))
            }
        }
    }

    /// Takes the effect of a fault away; false when it is too early for that.
    pub(super) async fn cure(&mut self, cure: Cure) -> anyhow::Result<bool> {
        match cure {
            Cure::StartWorker(index) => {
                if !self.seats[index].worker.start().await? {
                    return Ok(false);
                }
                self.seats[index].busy = false;
            }
            Cure::Thaw(index) => {
                self.seats[index].worker.thaw()?;
                self.seats[index].busy = false;
            }
            Cure::OpenLink(index) => {
                self.seats[index].link.set(Passage::Open);
                self.seats[index].busy = false;
            }
            Cure::StartServer => {
                self.broker.restart().await?;
                self.server_busy = false;
            }
            // A server that could not write refuses to until it is started anew.
            Cure::FreeDisk => {
                if let Some(disk) = &self.disk {
                    disk.free()?;
                }
                self.broker.kill().await?;
                self.broker.restart().await?;
                self.server_busy = false;
            }
            Cure::StartCoordinator => {
                self.coordinator.start().await?;
                self.coordinator_busy = false;
            }
        }
        Ok(true)
    }

    /// The first worker from `wanted` on that runs undisturbed.
    fn seat(&self, wanted: usize) -> Option<usize> {
        let count = self.seats.len();
        let mut order = (0..count).map(|step| (wanted + step) % count);
        order.find(|&index| !self.seats[index].busy && self.seats[index].worker.is_up())
    }

    fn victim(&self, index: usize) -> Victim {
        match self.observer.held_by(&self.seats[index].name) {
            Some((job, token)) => Victim::Holder { job, token },
            None => Victim::Idle,
        }
    }

    async fn on_worker(&mut self, wanted: usize, blow: Blow, time: Duration) -> anyhow::Result<Performed> {
        let Some(index) = self.seat(wanted) else { return Ok(Performed::NotNow) };
        let victim = self.victim(index);
        let seat = &mut self.seats[index];
        seat.busy = true;
        let cure = match blow {
            Blow::Kill => {
                seat.worker.kill().await?;
                Cure::StartWorker(index)
            }
            Blow::Stop => {
                seat.worker.ask_to_end();
                Cure::StartWorker(index)
            }
            Blow::Freeze => {
                seat.worker.freeze()?;
                Cure::Thaw(index)
            }
        };
        Ok(Performed::Done { victim, cure: Some((time, cure)) })
    }

    fn on_link(&mut self, wanted: usize, passage: Passage, time: Duration) -> Performed {
        let Some(index) = self.seat(wanted) else { return Performed::NotNow };
        let victim = self.victim(index);
        self.seats[index].link.set(passage);
        self.seats[index].busy = true;
        Performed::Done { victim, cure: Some((time, Cure::OpenLink(index))) }
    }

    fn reset(&mut self, wanted: usize) -> Performed {
        let Some(index) = self.seat(wanted) else { return Performed::NotNow };
        self.seats[index].link.reset();
        Performed::Done { victim: self.victim(index), cure: None }
    }

    /// The worker stands still while its checkpoint is damaged, so that no newer one comes in between, and is killed
    /// then, so that another attempt has to read it.
    async fn damage(&mut self, wanted: usize, damage: Damage, away: Duration) -> anyhow::Result<Performed> {
        if self.server_busy {
            return Ok(Performed::NotNow);
        }
        let Some(index) = self.seat(wanted) else { return Ok(Performed::NotNow) };
        let Some((job, _)) = self.observer.held_by(&self.seats[index].name) else {
            return Ok(Performed::Pointless);
        };
        self.seats[index].worker.freeze()?;
        tokio::time::sleep(LAST_WORDS).await;
        let done = tokio::time::timeout(REQUEST, damage_newest(&self.bus, job, damage)).await;
        let done = done.map_err(anyhow::Error::from).and_then(|done| Ok(done?));
        match done {
            Ok(Some((token, checkpoint))) if token.owner.name() == self.seats[index].name => {
                self.damaged.push(Damaged { job, token: token.clone(), checkpoint });
                self.seats[index].worker.kill().await?;
                self.seats[index].busy = true;
                let victim = Victim::Holder { job, token };
                Ok(Performed::Done { victim, cure: Some((away, Cure::StartWorker(index))) })
            }
            Ok(_) => {
                self.seats[index].worker.thaw()?;
                Ok(Performed::Pointless)
            }
            Err(error) => {
                tracing::debug!(%error, "no checkpoint was damaged");
                self.seats[index].worker.thaw()?;
                Ok(Performed::NotNow)
            }
        }
    }

    async fn duplicate(&mut self) -> anyhow::Result<Performed> {
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
            Ok(Err(_)) | Err(_) => Ok(Performed::NotNow),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Blow {
    Kill,
    Stop,
    Freeze,
}

fn everyone(cure: Option<(Duration, Cure)>) -> Performed {
    Performed::Done { victim: Victim::Everyone, cure }
}

/// Damages the newest checkpoint of a running job; says who holds the job and which one it was. `None` when there is none.
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
