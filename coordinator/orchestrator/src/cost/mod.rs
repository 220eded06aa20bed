//! How long jobs take, and when a sweep will be done: the trainer's estimate of their work, corrected by measured epochs.
//! Pure. Used for order and for what users are told; no result depends on it.
//!
//! [`learning`] takes in what was measured. [`fit`] tells seconds per unit of work from settings, device and worker,
//! [`overheads`] what a job costs besides, and [`schedule`] when the last worker is free. What they leave open becomes the
//! width of an [`Estimate`].

mod estimate;
mod fit;
pub mod forecast;
mod learning;
mod linear;
mod memory;
mod overheads;
mod profiles;
mod schedule;
mod staff;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trials;

use std::collections::BTreeMap;

use serde::Serialize;
use shared::ids::{Attempt, JobId};
use shared::settings::Settings;
use shared::trainer::Effort;

pub use estimate::{COVERAGE, Estimate, in_words};
use fit::{Cell, Fit};
use memory::Memory;
pub use memory::PeakMemory;
use overheads::Overheads;
use profiles::Profiles;
use schedule::{Held, Schedule, Tasks, Waiting, ordered};
pub use staff::Seat;
use staff::Staff;

/// The class of jobs whose trainer says that they are no work.
const NO_WORK: u32 = u32::MAX;

/// A job whose time is of interest, with all its settings.
#[derive(Debug, Clone)]
pub struct Described {
    pub job: JobId,
    pub effort: Effort,
    pub settings: Settings,
}

/// A job that is left to do.
#[derive(Debug, Clone, Copy)]
pub struct Open {
    pub job: JobId,
    /// Finished epochs.
    pub epoch: u32,
    /// Who has it.
    pub held: Option<Holding>,
}

/// A worker has the job, and has done some part of its next epoch, if that is known.
#[derive(Debug, Clone, Copy)]
pub struct Holding {
    pub seat: Seat,
    pub part: Option<f64>,
}

/// What a sweep's end depends on, as far as it can be foretold.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// Until the last worker is free.
    pub time: Estimate,
    /// All workers' time together.
    pub work: Estimate,
    pub devices: Vec<DeviceOutlook>,
}

/// What the workers with one kind of device do of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceOutlook {
    pub device: String,
    pub workers: usize,
    /// How many of the jobs that are left they are likely to do.
    pub jobs: f64,
    /// For how many seconds each of them is busy, on average.
    pub seconds: f64,
    /// Peak memory of the largest job that is left, if any finished job has told its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<PeakMemory>,
}

/// One job, in as few bytes as possible: a sweep may have many.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Estimated work of one epoch.
    units: f32,
    epochs: u32,
    profile: u32,
    /// The time of all its epochs; negative until it is known.
    trained: f32,
}

/// What was measured of a job that is not done yet, on the worker that has it.
#[derive(Debug, Clone, Copy)]
struct Measured {
    worker: u32,
    attempt: Attempt,
    epochs: u32,
    seconds: f64,
    /// Seconds per epoch, as they were foretold before its first one.
    foretold: Option<f64>,
}

/// What has been learned about this sweep's speed.
#[derive(Debug, Clone, Default)]
pub struct CostModel {
    jobs: BTreeMap<JobId, Known>,
    profiles: Profiles,
    staff: Staff,
    /// What was measured, by profile and worker.
    cells: BTreeMap<(u32, u32), Cell>,
    running: BTreeMap<JobId, Measured>,
    overheads: Overheads,
    memory: Memory,
    /// What was learned when an estimate was last made.
    fit: Option<Fit>,
    /// How far off foretold epochs were, as parts of the measured time, since somebody asked.
    errors: Vec<f64>,
    /// Ends of jobs that came in any order: when, which job, and on which worker.
    ends: Vec<(i128, JobId, u32)>,
}

impl CostModel {
    pub fn new(jobs: impl IntoIterator<Item = Described>) -> Self {
        let mut model = Self::default();
        model.add(jobs);
        model
    }

    /// Takes jobs that were added to the sweep.
    pub fn add(&mut self, jobs: impl IntoIterator<Item = Described>) {
        for Described { job, effort, settings } in jobs {
            let (units, profile) = self.described(effort, &settings);
            let known = Known { units: units as f32, epochs: effort.epochs, profile, trained: -1.0 };
            self.jobs.entry(job).or_insert(known);
        }
    }

    /// Work of one epoch, and the profile.
    fn described(&mut self, effort: Effort, settings: &Settings) -> (f64, u32) {
        let is_work = effort.units > 0.0 && effort.units.is_finite();
        let (units, class) = if is_work { (effort.units, effort.class) } else { (1.0, NO_WORK) };
        (units, self.profiles.number(class, settings))
    }

    /// How many epochs the job has; 0 if the model does not know it.
    pub fn epochs(&self, job: JobId) -> u32 {
        self.jobs.get(&job).map_or(0, |known| known.epochs)
    }

    /// A job's remaining work, for comparison with others. The most comes first, so that the sweep ends with short jobs,
    /// which fill the workers evenly (LPT, Graham 1969).
    pub fn work(&self, job: JobId, finished_epochs: u32) -> u64 {
        ordered(self.jobs.get(&job).map_or(0.0, |known| known.left(finished_epochs)))
    }

    /// The remaining work of these jobs together. Only ratios are meaningful.
    pub fn all_work(&self, open: impl IntoIterator<Item = Open>) -> f64 {
        let left = |open: Open| self.jobs.get(&open.job).map_or(0.0, |known| known.left(open.epoch));
        open.into_iter().map(left).sum()
    }

    /// The worker with this name, and its device if that was heard of.
    pub fn seat(&mut self, name: &str) -> Seat {
        let worker = self.staff.worker(name);
        self.staff.seat(worker)
    }

    /// The worker with this name has a device of this model.
    pub fn equip(&mut self, name: &str, model: &str) -> Seat {
        let worker = self.staff.equip(name, model);
        self.staff.seat(worker)
    }

    /// A worker that has yet to come, like the one with this name or with this device; `None` if neither is known.
    pub fn another(&self, like: &str) -> Option<Seat> {
        if let Some(seat) = self.staff.find(like) {
            return Some(Seat { worker: None, ..seat });
        }
        let like = like.to_lowercase();
        let exact = self.staff.devices().find(|(_, device)| device.to_lowercase() == like);
        let device = exact.or_else(|| {
            let mut having = self.staff.devices().filter(|(_, device)| device.to_lowercase().contains(&like));
            having.next().filter(|_| having.next().is_none())
        });
        device.map(|(device, _)| Seat { worker: None, device: Some(device) })
    }

    /// A worker with the device that did the most jobs so far.
    pub fn typical(&self) -> Seat {
        let mut jobs: BTreeMap<Option<u32>, f64> = BTreeMap::new();
        for (&(_, worker), cell) in &self.cells {
            *jobs.entry(self.staff.seat(worker).device).or_default() += cell.jobs();
        }
        let most = jobs.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
        Seat { worker: None, device: most.and_then(|(device, _)| device) }
    }

    /// The devices that were heard of.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.staff.devices().map(|(_, device)| device)
    }

    /// True once any epoch was measured.
    pub fn knows_anything(&self) -> bool {
        !self.cells.is_empty() || self.running.values().any(|measured| measured.epochs > 0)
    }

    /// How far off foretold epochs of jobs that have ended were since the last call, as parts of the measured time.
    pub fn take_errors(&mut self) -> Vec<f64> {
        std::mem::take(&mut self.errors)
    }

    /// When these jobs are done, if this crew works on them and nobody else. `None` before any epoch was measured. Workers
    /// that hold a job belong to the crew.
    pub fn outlook(&mut self, open: impl IntoIterator<Item = Open>, crew: &[Seat]) -> Option<Outlook> {
        self.learn();
        let mut crew = crew.to_vec();
        let tasks = self.tasks(open, &mut crew);
        let fit = self.fit.as_ref();
        let known = fit.is_some() || (tasks.are_without_epochs() && self.overheads.are_known());
        let nothing = tasks.waiting.is_empty() && tasks.held.is_empty();
        if !known && !nothing {
            return None;
        }
        if crew.is_empty() {
            crew.push(self.typical());
        }
        let overheads = self.overheads.measured();
        let Schedule { time, work, shares } =
            schedule::schedule(&tasks, &crew, (&self.profiles, fit), &overheads)?;
        let left = tasks.profiles();
        let mut devices: BTreeMap<&str, DeviceOutlook> = BTreeMap::new();
        for (&seat, share) in crew.iter().zip(&shares) {
            let name = self.staff.device_name(seat);
            let device = devices.entry(name).or_insert_with(|| DeviceOutlook {
                device: name.to_owned(),
                workers: 0,
                jobs: 0.0,
                seconds: 0.0,
                memory: self.memory.largest(&self.profiles, &left, Seat { worker: None, ..seat }),
            });
            device.workers += 1;
            device.jobs += share.jobs;
            device.seconds += share.seconds;
        }
        let mut devices: Vec<DeviceOutlook> = devices.into_values().collect();
        for device in &mut devices {
            device.seconds /= device.workers as f64;
        }
        Some(Outlook { time, work, devices })
    }

    /// Takes in what was measured since the last estimate.
    fn learn(&mut self) {
        let mut cells = self.cells.clone();
        for (job, measured) in &self.running {
            let Some(known) = self.jobs.get(job) else { continue };
            let y = logarithm(measured.seconds, f64::from(measured.epochs), f64::from(known.units));
            if let Some(y) = y {
                cells.entry((known.profile, measured.worker)).or_default().add(y);
            }
        }
        let seated =
            cells.into_iter().map(|((profile, worker), cell)| ((profile, self.staff.seat(worker)), cell));
        self.fit = Fit::of(&self.profiles, &self.staff, seated);
        self.memory.learn(&self.profiles, &self.staff);
    }

    /// Likely seconds per epoch of a job on this worker.
    fn foretold(&self, known: Known, worker: u32) -> Option<f64> {
        let profile = self.profiles.get(known.profile);
        let y = self.fit.as_ref()?.likely(profile, self.staff.seat(worker));
        Some(f64::from(known.units) * y.exp())
    }

    /// What is left to do, the most work first.
    fn tasks(&self, open: impl IntoIterator<Item = Open>, crew: &mut Vec<Seat>) -> Tasks {
        let mut tasks = Tasks::default();
        for Open { job, epoch, held } in open {
            let Some(&known) = self.jobs.get(&job) else { continue };
            let Some(Holding { seat, part }) = held else {
                let work = known.left(epoch) as f32;
                tasks.waiting.push(Waiting { work, profile: known.profile });
                continue;
            };
            let place = crew.iter().position(|one| one.worker == seat.worker).unwrap_or_else(|| {
                crew.push(seat);
                crew.len() - 1
            });
            let own = self.running.get(&job).and_then(|measured| {
                let (epochs, units) = (f64::from(measured.epochs), f64::from(known.units));
                let y = logarithm(measured.seconds, epochs, units)?;
                let likely = self
                    .fit
                    .as_ref()?
                    .likely(self.profiles.get(known.profile), self.staff.seat(measured.worker));
                Some((y - likely, epochs))
            });
            tasks.held.push(Held {
                place,
                units: f64::from(known.units),
                epochs: known.epochs.saturating_sub(epoch),
                part,
                profile: known.profile,
                own,
            });
        }
        tasks.waiting.sort_unstable_by(|a, b| b.work.total_cmp(&a.work));
        tasks
    }
}

impl Known {
    /// Estimated work of the remaining epochs.
    fn left(self, finished_epochs: u32) -> f64 {
        f64::from(self.epochs.saturating_sub(finished_epochs)) * f64::from(self.units)
    }
}

/// ln(seconds per epoch / work of an epoch), if that can be true.
fn logarithm(seconds: f64, epochs: f64, units: f64) -> Option<f64> {
    let possible = epochs > 0.0 && (1e-9..1e12).contains(&seconds);
    Some((seconds / epochs / units).ln()).filter(|y| possible && y.is_finite())
}
