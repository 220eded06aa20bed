//! When the last worker is free: what is left is given out, the most work first, to whichever worker is free first, many
//! times over with times as they may be. This is what the queue does, too (LPT, Graham 1969, with workers of different
//! speed).

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use shared::rng::{Purpose, Stream};

use super::estimate::Estimate;
use super::fit::{Drawn, Fit};
use super::overheads;
use super::profiles::Profiles;
use super::staff::Seat;

/// How often the schedule is drawn; less often if there are many jobs, because their chances average out.
const DRAWS: usize = 200;
const FEWEST_DRAWS: usize = 24;
const MOST_STEPS: usize = 400_000;

/// A worker's measured epochs count as so many more for the same job than the model does.
const MODEL_WEIGHT: f64 = 0.5;

/// A job that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// Estimated work of its remaining epochs.
    pub(super) work: f32,
    pub(super) profile: u32,
}

/// A job that a worker has.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// The worker's place in the crew.
    pub(super) place: usize,
    /// Estimated work of one epoch, and how many are left.
    pub(super) units: f64,
    pub(super) epochs: u32,
    /// How much of the next of them is done; `None` if that is not known.
    pub(super) part: Option<f64>,
    pub(super) profile: u32,
    /// How the job's own epochs differed from the model, as a logarithm, and how many they were.
    pub(super) own: Option<(f64, f64)>,
}

/// What is left to do.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// The most work first.
    pub(super) waiting: Vec<Waiting>,
    pub(super) held: Vec<Held>,
}

impl Tasks {
    /// True if no epoch is left, so that nothing need be known of their times.
    pub(super) fn are_without_epochs(&self) -> bool {
        self.waiting.iter().all(|job| job.work <= 0.0) && self.held.iter().all(|job| job.epochs == 0)
    }

    /// The profiles of all of them.
    pub(super) fn profiles(&self) -> BTreeSet<u32> {
        self.waiting.iter().map(|job| job.profile).chain(self.held.iter().map(|job| job.profile)).collect()
    }
}

/// What a worker of the crew will have done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Share {
    pub(super) jobs: f64,
    pub(super) seconds: f64,
}

/// When all is done, and what each worker does for it.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) time: Estimate,
    /// All workers' time together.
    pub(super) work: Estimate,
    /// By the worker's place in the crew.
    pub(super) shares: Vec<Share>,
}

/// Draws schedules. `None` if a time is more than a clock can show.
pub(super) fn schedule(
    tasks: &Tasks,
    crew: &[Seat],
    (profiles, fit): (&Profiles, Option<&Fit>),
    overheads: &[f64],
) -> Option<Schedule> {
    let jobs = tasks.waiting.len() + tasks.held.len();
    let draws = (MOST_STEPS / jobs.max(1)).clamp(FEWEST_DRAWS, DRAWS);
    let mut shares = vec![Share::default(); crew.len()];
    let (mut times, mut works) = (Vec::with_capacity(draws), Vec::with_capacity(draws));
    let rows = Rows::of(tasks, crew, (profiles, fit));
    for draw in 0..draws {
        let mut stream = Stream::new(0, Purpose::Bootstrap, &[draw as u64]);
        let rates = rows.draw(fit, &mut stream);
        let overheads = overheads::Drawn::of(overheads, &mut stream);
        let (time, work) = once(tasks, &rates, &overheads, &mut stream, &mut shares);
        times.push(time);
        works.push(work);
    }
    for share in &mut shares {
        (share.jobs, share.seconds) = (share.jobs / draws as f64, share.seconds / draws as f64);
    }
    Some(Schedule { time: Estimate::of(&times)?, work: Estimate::of(&works)?, shares })
}

/// The columns of each profile that is left, and of each worker.
struct Rows {
    /// By the number of the profile; empty where no such job is left.
    profiles: Vec<Vec<usize>>,
    crew: Vec<Vec<usize>>,
}

/// Times as they may be: seconds per unit of work are the product of both.
struct Rates {
    profiles: Vec<f64>,
    crew: Vec<f64>,
    /// σ of single jobs.
    noise: f64,
}

impl Rows {
    fn of(tasks: &Tasks, crew: &[Seat], (profiles, fit): (&Profiles, Option<&Fit>)) -> Self {
        let Some(fit) = fit else { return Self { profiles: Vec::new(), crew: vec![Vec::new(); crew.len()] } };
        let left =
            tasks.waiting.iter().map(|job| job.profile).chain(tasks.held.iter().map(|job| job.profile));
        let mut rows = Vec::new();
        for number in left.map(|profile| profile as usize) {
            if rows.len() <= number {
                rows.resize(number + 1, Vec::new());
            }
            if rows[number].is_empty() {
                rows[number] = fit.profile_row(profiles.get(number as u32));
            }
        }
        Self { profiles: rows, crew: crew.iter().map(|&seat| fit.seat_row(seat)).collect() }
    }

    fn draw(&self, fit: Option<&Fit>, stream: &mut Stream) -> Rates {
        let Some(fit) = fit else {
            return Rates { profiles: Vec::new(), crew: vec![0.0; self.crew.len()], noise: 0.0 };
        };
        let drawn: Drawn = fit.draw(stream);
        let rate = |row: &Vec<usize>| drawn.sum(row).exp();
        Rates {
            profiles: self.profiles.iter().map(|row| drawn.mean.exp() * rate(row)).collect(),
            crew: self.crew.iter().map(rate).collect(),
            noise: drawn.noise,
        }
    }
}

impl Rates {
    /// Seconds per unit of work, without the job's own difference.
    fn of(&self, profile: u32, place: usize) -> f64 {
        self.profiles.get(profile as usize).map_or(0.0, |rate| rate * self.crew[place])
    }
}

/// One possibility: when the last worker is free, and how long all of them have worked.
fn once(
    tasks: &Tasks,
    rates: &Rates,
    overheads: &overheads::Drawn<'_>,
    stream: &mut Stream,
    shares: &mut [Share],
) -> (f64, f64) {
    let mut free = vec![0.0; rates.crew.len()];
    let mut work = 0.0;
    let mut give = |place: usize, seconds: f64, free: &mut f64| {
        *free += seconds;
        work += seconds;
        shares[place].jobs += 1.0;
        shares[place].seconds += seconds;
    };
    for job in &tasks.held {
        let part = job.part.unwrap_or_else(|| stream.uniform());
        let epochs = (f64::from(job.epochs) - part).max(0.0);
        // What the job's own epochs say, and what they leave open.
        let (own, share) =
            job.own.map_or((0.0, 0.0), |(own, epochs)| (own, epochs / (epochs + MODEL_WEIGHT)));
        let difference = share * own + rates.noise * (1.0 - share).sqrt() * stream.normal();
        let training = epochs * job.units * rates.of(job.profile, job.place) * difference.exp();
        // Of what comes besides, the start lies behind it.
        give(job.place, training + 0.5 * overheads.seconds(stream), &mut free[job.place]);
    }
    // By their bits: see `ordered`.
    let mut first: BinaryHeap<Reverse<(u64, usize)>> =
        free.iter().enumerate().map(|(place, &time)| Reverse((ordered(time), place))).collect();
    for job in &tasks.waiting {
        let Some(mut least) = first.peek_mut() else { break };
        let Reverse((time, place)) = *least;
        let rate = rates.of(job.profile, place) * (rates.noise * stream.normal()).exp();
        let mut time = f64::from_bits(time);
        give(place, f64::from(job.work) * rate + overheads.seconds(stream), &mut time);
        *least = Reverse((ordered(time), place));
    }
    let longest = first.into_iter().map(|Reverse((time, _))| f64::from_bits(time)).fold(0.0, f64::max);
    (longest, work)
}

/// Non-negative floats order like their bits.
pub(super) fn ordered(value: f64) -> u64 {
    value.max(0.0).to_bits()
}
