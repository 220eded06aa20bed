//! The workers that a server knows, and which of them users have drained.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shared::books::{Standing, WorkerRecord};
use shared::bus::{Bus, BusError};
use shared::ids::JobId;
use shared::protocol::{Drain, Presence, Readiness};

use super::choose::sweeps;
use super::follow::{self, FollowError};
use crate::selection::fits_text;
use crate::view::labels::Labels;

/// One worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerStatus {
    pub name: String,
    /// What the worker itself says; `None` if it is not connected.
    #[serde(flatten)]
    pub present: Option<Present>,
    /// How a user has drained it, if one has.
    pub drained: Option<Drain>,
    /// What the coordinator, or its own check, says of it.
    #[serde(flatten)]
    pub standing: Standing,
}

/// A worker that is connected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Present {
    pub host: String,
    pub device: String,
    /// The kinds of trainers that it has.
    pub trainers: Vec<String>,
    #[serde(flatten)]
    pub does: Does,
}

/// What a worker does now.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Does {
    Starting,
    Idle,
    Training {
        job: JobId,
        /// The job's label and sweep, if a sweep here has it.
        label: Option<String>,
        sweep: Option<String>,
    },
}

/// Why workers cannot be drained, or let work again.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    #[error("no worker here is called `{name}`{}", there_are(.known))]
    Unknown { name: String, known: Vec<String> },
    #[error("`{name}` is not drained{}", these_are(.drained))]
    NotDrained { name: String, drained: Vec<String> },
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

fn there_are(names: &[String]) -> String {
    match names {
        [] => ": none is known. --absent drains one before it comes".to_owned(),
        names => format!(": there are {}. --absent drains one before it comes", names.join(", ")),
    }
}

fn these_are(names: &[String]) -> String {
    match names {
        [] => ", and no other worker is".to_owned(),
        names => format!("; these are: {}", names.join(", ")),
    }
}

/// What let a worker work again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undrained {
    pub name: String,
    /// The coordinator had drained it, too, so its process has ended.
    pub was_out: bool,
}

/// Every worker that is connected, drained, or not trusted, by name.
///
/// # Errors
/// When the server does not answer, or the plan of a sweep cannot be read.
pub async fn workers(bus: &Bus) -> Result<Vec<WorkerStatus>, WorkersError> {
    let (present, drains) = (bus.workers().await?, bus.drains().await?);
    let mut standings: BTreeMap<String, Standing> =
        bus.standings().await?.into_iter().map(|record| (record.name, record.standing)).collect();
    standings.retain(|name, standing| {
        *standing != Standing::Trusted || present.iter().any(|worker| worker.worker.name() == name)
    });
    let names = names(&present, &drains.workers.keys().chain(standings.keys()).cloned().collect::<Vec<_>>());
    let labels = labels(bus, present.iter().filter_map(|worker| worker.job).collect()).await?;
    let status = |name: String| WorkerStatus {
        present: present
            .iter()
            .find(|worker| worker.worker.name() == name)
            .map(|worker| told(worker, &labels)),
        drained: drains.of(&name).cloned(),
        standing: standings.get(&name).cloned().unwrap_or(Standing::Trusted),
        name,
    };
    Ok(names.into_iter().map(status).collect())
}

fn names(present: &[Presence], others: &[String]) -> BTreeSet<String> {
    let present = present.iter().map(|worker| worker.worker.name().to_owned());
    present.chain(others.iter().cloned()).collect()
}

fn told(worker: &Presence, labels: &BTreeMap<JobId, (String, String)>) -> Present {
    let does = match (worker.readiness, worker.job) {
        (Readiness::Starting, _) => Does::Starting,
        (Readiness::Ready, None) => Does::Idle,
        (Readiness::Ready, Some(job)) => {
            let (label, sweep) = labels.get(&job).cloned().unzip();
            Does::Training { job, label, sweep }
        }
    };
    Present {
        host: worker.host.clone(),
        device: worker.device.clone(),
        trainers: worker.trainers.iter().map(|trainer| trainer.kind.to_string()).collect(),
        does,
    }
}

/// Label and sweep of these jobs, as far as a sweep has them.
async fn labels(
    bus: &Bus,
    mut jobs: BTreeSet<JobId>,
) -> Result<BTreeMap<JobId, (String, String)>, WorkersError> {
    let mut found = BTreeMap::new();
    for sweep in sweeps(bus).await? {
        if jobs.is_empty() {
            break;
        }
        let plan = follow::plan(bus, &sweep).await?;
        let labels = Labels::of(&plan);
        for job in plan.jobs.iter().map(|job| job.id).filter(|job| jobs.remove(job)) {
            found.insert(job, (labels.get(job), sweep.clone()));
        }
    }
    Ok(found)
}

/// Lets workers take no more jobs; `now` also lets them hand back what they train. `patterns` are names, in which `*` stands
/// for any part; with `absent`, a name may be that of a worker that is still to come. Returns the names.
///
/// # Errors
/// When a pattern fits no worker, or the server refuses or does not answer. Then nothing has changed.
pub async fn drain(
    bus: &Bus,
    patterns: &[String],
    drain: &Drain,
    absent: bool,
) -> Result<Vec<String>, WorkersError> {
    let known: Vec<String> = workers(bus).await?.into_iter().map(|worker| worker.name).collect();
    let mut names = BTreeSet::new();
    for pattern in patterns {
        let fitting: Vec<String> = known.iter().filter(|name| fits_text(pattern, name)).cloned().collect();
        if !fitting.is_empty() {
            names.extend(fitting);
        } else if absent && shared::ids::is_plain(pattern) {
            names.insert(pattern.clone());
        } else {
            return Err(WorkersError::Unknown { name: pattern.clone(), known });
        }
    }
    let add = |name: &String| (name.clone(), drain.clone());
    bus.change_drains(|drains| drains.workers.extend(names.iter().map(add))).await?;
    Ok(names.into_iter().collect())
}

/// Lets drained workers take jobs again, whoever has drained them.
///
/// # Errors
/// When a pattern fits no drained worker, or the server refuses or does not answer. Then nothing has changed.
pub async fn undrain(bus: &Bus, patterns: &[String], by: &str) -> Result<Vec<Undrained>, WorkersError> {
    let is_out = |worker: &WorkerStatus| matches!(worker.standing, Standing::Drained { .. });
    let mut drained = workers(bus).await?;
    drained.retain(|worker| worker.drained.is_some() || is_out(worker));
    for pattern in patterns {
        if !drained.iter().any(|worker| fits_text(pattern, &worker.name)) {
            let drained = drained.into_iter().map(|worker| worker.name).collect();
            return Err(WorkersError::NotDrained { name: pattern.clone(), drained });
        }
    }
    drained.retain(|worker| patterns.iter().any(|pattern| fits_text(pattern, &worker.name)));
    for worker in drained.iter().filter(|worker| is_out(worker)) {
        let record = WorkerRecord::new(&worker.name, Standing::Trusted);
        bus.write_standing(&WorkerRecord { by: Some(by.to_owned()), ..record }).await?;
    }
    let gone = |name: &String| drained.iter().any(|worker| worker.name == *name);
    bus.change_drains(|drains| drains.workers.retain(|name, _| !gone(name))).await?;
    Ok(drained
        .iter()
        .map(|worker| Undrained { name: worker.name.clone(), was_out: is_out(worker) })
        .collect())
}
