//! Other sweeps on the same server: what their jobs are called, and how many are still open.
//!
//! The queue of a server is shared: first come, first served. A local worker may train a job of another sweep, and this
//! sweep's jobs may wait behind it, so the user is shown which sweep that is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::bus::{BookEntry, Bucket, Bus};
use shared::causes::in_words;
use shared::ids::JobId;
use shared::plural::count;
use shared::protocol::{SweepRecord, subjects};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::sweep::plan::Plan;
use crate::view::labels::Labels;

/// Time after which a job that is still unknown is looked up again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// A sweep on the server that is not the one that runs here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OtherSweep {
    name: String,
    labels: Labels,
    /// Jobs that have not ended.
    open: usize,
}

/// The other sweeps, as far as they have been looked up.
#[derive(Debug)]
pub(super) struct OtherSweeps {
    bus: Bus,
    /// The sweep that runs here.
    own: String,
    known: Vec<OtherSweep>,
    /// The sweeps that the user has been told about.
    told: BTreeMap<String, usize>,
    lookup: Option<JoinHandle<anyhow::Result<Vec<OtherSweep>>>>,
    asked: Instant,
}

impl OtherSweeps {
    /// Starts to look up the other sweeps.
    pub(super) fn begin(bus: Bus, own: &str) -> Self {
        let mut sweeps = Self {
            bus,
            own: own.to_owned(),
            known: Vec::new(),
            told: BTreeMap::new(),
            lookup: None,
            asked: Instant::now(),
        };
        sweeps.look_up();
        sweeps
    }

    /// `SWEEP: LABEL` of another sweep's job. An unknown job is looked up in the background; until then its id is
    /// shown.
    pub(super) fn label(&mut self, job: JobId) -> String {
        let found = self.known.iter().find_map(|sweep| Some((&sweep.name, sweep.labels.find(job)?)));
        if let Some((name, label)) = found {
            return format!("{name}: {label}");
        }
        if self.lookup.is_none() && self.asked.elapsed() >= ASK_AGAIN {
            self.look_up();
        }
        format!("another sweep's job {}", job.short())
    }

    /// Messages about sweeps that the user does not know about yet.
    pub(super) async fn news(&mut self) -> Vec<String> {
        let Some(lookup) = self.lookup.take_if(|lookup| lookup.is_finished()) else { return Vec::new() };
        match lookup.await {
            Ok(Ok(known)) => self.known = known,
            Ok(Err(error)) => {
                tracing::debug!("other sweeps cannot be looked up: {}", in_words(error.as_ref()));
            }
            Err(error) => tracing::debug!(%error, "other sweeps were not looked up"),
        }
        let open = self.known.iter().filter(|sweep| sweep.open > 0);
        let news: Vec<&OtherSweep> = open.filter(|sweep| !self.told.contains_key(&sweep.name)).collect();
        let told = news.iter().map(|sweep| (sweep.name.clone(), sweep.open)).collect::<Vec<_>>();
        let words = news.into_iter().map(|sweep| waiting(&sweep.name, sweep.open, &self.own)).collect();
        self.told.extend(told);
        words
    }

    fn look_up(&mut self) {
        self.asked = Instant::now();
        self.lookup = Some(tokio::spawn(find(self.bus.clone(), self.own.clone())));
    }
}

impl Drop for OtherSweeps {
    fn drop(&mut self) {
        if let Some(lookup) = &self.lookup {
            lookup.abort();
        }
    }
}

fn waiting(other: &str, open: usize, own: &str) -> String {
    format!(
        "this server also has {} of the sweep `{other}` to train; workers take jobs in the order in which they were \
         queued, so those of `{own}` may have to wait; `ferry remove {other}` takes a sweep that is no longer wanted off \
         the server",
        count(open, "job")
    )
}

async fn find(bus: Bus, own: String) -> anyhow::Result<Vec<OtherSweep>> {
    let mut found = Vec::new();
    let mut jobs = BTreeSet::new();
    for key in bus.keys(subjects::SWEEP_KEYS).await? {
        let record: SweepRecord = bus.read(&key, SweepRecord::VERSION).await?;
        if record.name == own {
            continue;
        }
        let plan: Plan = serde_json::from_slice(&bus.get_blob(Bucket::Results, &record.plan).await?)?;
        jobs.extend(plan.jobs.iter().map(|job| job.id));
        found.push(OtherSweep { labels: Labels::of(&plan), name: plan.name, open: 0 });
    }
    let mut open = BTreeSet::new();
    let look = |entry: BookEntry| {
        if entry.record.state.is_final() {
            open.remove(&entry.job);
        } else {
            open.insert(entry.job);
        }
    };
    bus.each_record(&jobs, look).await?;
    for sweep in &mut found {
        sweep.open = open.iter().filter(|job| sweep.labels.find(**job).is_some()).count();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 27: the user is told when a sweep waits behind another one.
    #[test]
    fn the_user_is_told_what_else_is_queued() {
        insta::assert_snapshot!(waiting("old", 1, "new"), @"this server also has 1 job of the sweep `old` to train; workers take jobs in the order in which they were queued, so those of `new` may have to wait; `ferry remove old` takes a sweep that is no longer wanted off the server");
    }
}
