//! How much memory a job takes at its peak, learned from finished jobs like their time: by settings, device and worker.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fit::{Cell, Fit};
use super::profiles::Profiles;
use super::staff::{Seat, Staff};

/// Of how many kinds of jobs, those that are likely to take the most, the interval is computed.
const LOOKED_AT: usize = 16;

/// Peak memory of one job, and the interval in which the truth lies nine times in ten.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PeakMemory {
    /// In bytes. The truth is as often below as above it.
    #[serde(rename = "bytes")]
    pub likely: f64,
    #[serde(rename = "low_bytes")]
    pub low: f64,
    #[serde(rename = "high_bytes")]
    pub high: f64,
}

/// What was measured, and what was learned from it when an estimate was last made.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// By profile and worker.
    cells: BTreeMap<(u32, u32), Cell>,
    fit: Option<Fit>,
}

impl Memory {
    /// A job with this profile took so much on this worker.
    pub(super) fn measured(&mut self, profile: u32, worker: u32, bytes: u64) {
        if bytes > 0 {
            self.cells.entry((profile, worker)).or_default().add((bytes as f64).ln());
        }
    }

    pub(super) fn learn(&mut self, profiles: &Profiles, staff: &Staff) {
        let cells =
            self.cells.iter().map(|(&(profile, worker), &cell)| ((profile, staff.seat(worker)), cell));
        self.fit = Fit::of(profiles, staff, cells);
    }

    /// That of the largest job among these profiles on this worker. `None` before any job has told.
    pub(super) fn largest(
        &self,
        profiles: &Profiles,
        jobs: &BTreeSet<u32>,
        seat: Seat,
    ) -> Option<PeakMemory> {
        let fit = self.fit.as_ref()?;
        let mut likely: Vec<(f64, u32)> =
            jobs.iter().map(|&job| (fit.likely(profiles.get(job), seat), job)).collect();
        likely.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
        let of = |&(y, job): &(f64, u32)| {
            let spread = fit.interval(profiles.get(job), seat);
            let [likely, low, high] = [y, y - spread, y + spread].map(f64::exp);
            PeakMemory { likely, low, high }
        };
        let largest = likely.iter().take(LOOKED_AT).map(of).max_by(|a, b| a.high.total_cmp(&b.high));
        largest.filter(|memory| memory.high.is_finite())
    }
}
