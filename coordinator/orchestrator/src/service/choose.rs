//! The sweep and the jobs that the words of a command line mean, on a server that may know many sweeps.

use std::collections::BTreeMap;

use shared::bus::{Bus, BusError};
use shared::ids::JobId;
use shared::protocol::subjects;

use super::follow::{self, FollowError};
use super::status::{self, SweepStatus};
use crate::selection::{Selection, SelectionError};
use crate::sweep::plan::Plan;

/// A sweep, and some of its jobs.
#[derive(Debug)]
pub struct Chosen {
    pub plan: Plan,
    /// Every job of the sweep.
    pub status: SweepStatus,
    /// The jobs that are meant, in the order of the plan.
    pub jobs: Vec<JobId>,
}

/// Why nothing was chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    #[error("no sweep has run here yet")]
    NoSweep,
    #[error("there are several sweeps: name one of {}", .0.join(", "))]
    SeveralSweeps(Vec<String>),
    #[error("`{first}` and `{second}` are two sweeps: name one")]
    TwoSweeps { first: String, second: String },
    #[error("`{id}` is the beginning of ids in several sweeps: name one of {}", .sweeps.join(", "))]
    InSeveralSweeps { id: String, sweeps: Vec<String> },
    #[error("no job of any sweep has an id that begins with `{0}`; `ferry status --json` lists them")]
    NoSuchJob(String),
    #[error("{error}; the sweeps here are: {}", .sweeps.join(", "))]
    UnknownWord { error: SelectionError, sweeps: Vec<String> },
    #[error(transparent)]
    Selection(#[from] SelectionError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// The names of all sweeps on a server.
///
/// # Errors
/// When the server does not answer.
pub async fn sweeps(bus: &Bus) -> Result<Vec<String>, BusError> {
    let keys = bus.keys(subjects::SWEEP_KEYS).await?;
    let mut sweeps: Vec<String> =
        keys.iter().filter_map(|key| subjects::sweep_of_key(key)).map(str::to_owned).collect();
    sweeps.sort_unstable();
    Ok(sweeps)
}

/// Finds what `words` mean: perhaps the name of a sweep, then conditions and beginnings of ids. The sweep need not be
/// named if there is only one, or only one has a job of the first id.
///
/// # Errors
/// When they mean nothing here, or more than one sweep, or the server does not answer.
pub async fn choose(bus: &Bus, words: &[String]) -> Result<Chosen, ChooseError> {
    let sweeps = sweeps(bus).await?;
    if sweeps.is_empty() {
        return Err(ChooseError::NoSweep);
    }
    let (named, words): (Vec<&String>, Vec<&String>) = words.iter().partition(|word| sweeps.contains(word));
    let selection = Selection::parse(words.into_iter().map(String::as_str));
    let selection = selection.map_err(|error| match error {
        SelectionError::UnknownWord { .. } => ChooseError::UnknownWord { error, sweeps: sweeps.clone() },
        other => other.into(),
    })?;
    let plan = match (named.as_slice(), sweeps.as_slice()) {
        ([name], _) => follow::plan(bus, name).await?,
        ([], [only]) => follow::plan(bus, only).await?,
        ([], _) => match selection.first_id() {
            Some(id) => sweep_of(bus, &sweeps, id).await?,
            None => return Err(ChooseError::SeveralSweeps(sweeps)),
        },
        ([first, second, ..], _) => {
            let (first, second) = ((*first).clone(), (*second).clone());
            return Err(ChooseError::TwoSweeps { first, second });
        }
    };
    let status = status::sweep(bus, &plan).await?;
    let facts = status.jobs.iter().map(|job| (job.id, job.facts())).collect::<BTreeMap<_, _>>();
    let jobs = selection.choose(&plan, &facts)?;
    Ok(Chosen { plan, status, jobs })
}

/// The plan of the only sweep that has a job whose id begins so.
async fn sweep_of(bus: &Bus, sweeps: &[String], id: &str) -> Result<Plan, ChooseError> {
    let mut found = Vec::new();
    for name in sweeps {
        let plan = follow::plan(bus, name).await?;
        if plan.jobs.iter().any(|job| job.id.begins_with(id)) {
            found.push(plan);
        }
    }
    match found.len() {
        0 => Err(ChooseError::NoSuchJob(id.to_owned())),
        1 => Ok(found.remove(0)),
        _ => {
            let sweeps = found.into_iter().map(|plan| plan.name).collect();
            Err(ChooseError::InSeveralSweeps { id: id.to_owned(), sweeps })
        }
    }
}
