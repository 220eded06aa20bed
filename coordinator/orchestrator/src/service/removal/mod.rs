//! What each sweep holds on a server, and the removal of one: its entries in the books and every blob that belongs only
//! to it.

mod holdings;
mod survey;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use shared::bus::{Bus, BusError};
use shared::protocol::subjects;
use shared::retry::{Backoff, Retry};

use super::{garbage, lease};
pub use holdings::{Amount, Holdings, Target};
use survey::survey;

/// Retries, in case the server is away for a moment.
const RETRY: Retry = Backoff::every(Duration::from_secs(1)).tries(10);

/// What one sweep holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SweepHoldings {
    pub sweep: String,
    /// What would be removed with it: everything except what it shares with other sweeps.
    #[serde(flatten)]
    pub own: Holdings,
}

/// Why something cannot be removed. Nothing has been removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    #[error("there is no sweep `{name}` here; {}", known(.sweeps))]
    Unknown { name: String, sweeps: Vec<String> },
    #[error("`ferry run` is running the sweep `{0}`: stop it first, or wait until it ends")]
    Running(String),
    #[error(
        "{workers} still trains its jobs: stop the worker, or wait until it is done; if it is already gone, wait {lease:?} \
         and try again"
    )]
    Held { workers: String, lease: Duration },
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("the plan of the sweep `{sweep}` cannot be read: {source}")]
    Plan { sweep: String, source: serde_json::Error },
}

fn known(sweeps: &[String]) -> String {
    if sweeps.is_empty() {
        "no sweep has run here".to_owned()
    } else {
        format!("there are: {}", sweeps.join(", "))
    }
}

/// Something that may be removed, and what would be removed with it.
#[derive(Debug)]
pub struct Removal {
    belongings: holdings::Belongings,
}

/// What every sweep holds, by name, and what no sweep lists any more. Changes nothing.
///
/// # Errors
/// When the server does not answer, or something in the books cannot be read.
pub async fn sweep_holdings(bus: &Bus) -> Result<(Vec<SweepHoldings>, Holdings), RemovalError> {
    let survey = survey(bus, None).await?;
    let sweep = |name: &String| SweepHoldings {
        sweep: name.clone(),
        own: survey.belongings(&Target::Sweep(name.clone())).holdings,
    };
    Ok((survey.sweeps.keys().map(sweep).collect(), survey.belongings(&Target::Unlisted).holdings))
}

impl Removal {
    /// Finds what would be removed. `alone` says that no coordinator can be running on this server.
    ///
    /// # Errors
    /// When there is no such sweep, it is running, workers train its jobs, or the server does not answer.
    pub async fn of(bus: &Bus, target: &Target, alone: bool) -> Result<Self, RemovalError> {
        let now = garbage::server_time(bus).await?;
        let timing = bus.timing().await?;
        let survey = survey(bus, Some((now, timing.lease()))).await?;
        let running = if alone { BTreeSet::new() } else { lease::conducted(bus, now).await? };
        match target {
            Target::Sweep(name) if !survey.sweeps.contains_key(name) => {
                let sweeps = survey.sweeps.keys().cloned().collect();
                return Err(RemovalError::Unknown { name: name.clone(), sweeps });
            }
            Target::Sweep(name) if running.contains(name) => return Err(RemovalError::Running(name.clone())),
            Target::Sweep(_) => {}
            // While a sweep is being prepared, its jobs are in the books before the sweep itself is listed.
            Target::Unlisted => {
                if let Some(name) = running.first() {
                    return Err(RemovalError::Running(name.clone()));
                }
            }
        }
        let belongings = survey.belongings(target);
        if !belongings.held_by.is_empty() {
            let workers: Vec<String> = belongings.held_by.iter().cloned().collect();
            return Err(RemovalError::Held { workers: workers.join(", "), lease: timing.lease() });
        }
        Ok(Self { belongings })
    }

    pub fn holdings(&self) -> &Holdings {
        &self.belongings.holdings
    }

    /// True if there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.belongings.keys.is_empty() && self.belongings.blobs.is_empty()
    }

    /// Carries the removal out. The books come first, because nothing in them may point to a missing blob. What an
    /// interrupted removal leaves behind is found as unlisted, or collected as garbage.
    ///
    /// # Errors
    /// When the server does not answer for some time.
    pub async fn carry_out(&self, bus: &Bus, done: &mut dyn FnMut(u64, u64)) -> Result<(), BusError> {
        let total = (self.belongings.keys.len() + self.belongings.blobs.len()) as u64;
        let mut count = 0;
        let tell = |error: &BusError| tracing::warn!("{error}; trying again");
        let jobs = self.belongings.keys.iter().filter_map(|key| subjects::job_of_record_key(key)).collect();
        RETRY.run(|| bus.prioritise(&jobs, &[]), BusError::is_transient, tell).await?;
        for key in &self.belongings.keys {
            RETRY.run(|| bus.delete(key), BusError::is_transient, tell).await?;
            count += 1;
            done(count, total);
        }
        for (bucket, blob) in &self.belongings.blobs {
            RETRY.run(|| bus.delete_blob(*bucket, blob), BusError::is_transient, tell).await?;
            count += 1;
            done(count, total);
        }
        Ok(())
    }
}
