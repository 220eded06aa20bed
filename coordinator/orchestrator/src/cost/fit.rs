//! Seconds per unit of work, learned from measured jobs: a sum, on a logarithmic scale, of effects of the trainer's class,
//! of each setting, of the device and of the worker.
//!
//! With y = ln(seconds per epoch / estimated work of an epoch): y = X·β + ε, ε ~ N(0, σ²), and β ~ N(0, τ²) with one τ for
//! each group of effects (a setting, the devices, …). σ and the τ are found by expectation-maximisation (Tipping 2001,
//! "Sparse Bayesian Learning", with a τ for each group instead of each weight), which turns effects off that the data do
//! not show. All have weak priors, so before anything is measured of a setting it counts as a small unknown effect, and
//! what is known of the job is the trainer's estimate times one measured rate.

use std::collections::BTreeMap;
use std::ops::Range;

use shared::rng::Stream;

use super::estimate::WIDTH;
use super::linear::Cholesky;
use super::profiles::{Profile, Profiles};
use super::staff::{Seat, Staff};

/// Columns of the regression: its time grows with their cube.
const MOST_COLUMNS: usize = 128;
/// With more workers than this, only their devices are told apart.
const MOST_WORKERS: usize = 32;
const ROUNDS: usize = 12;
/// As how many observations a prior of a variance counts.
const PRIOR_WEIGHT: f64 = 2.0;
/// Standard deviation of single jobs around the sum of effects, before any are measured.
const NOISE: f64 = 0.05;
/// Standard deviations of effects before any are measured. A class may be off by half, because classes are what the
/// trainer's estimate does not relate to each other.
const CLASS: f64 = 0.5;
const SETTING: f64 = 0.15;
const DEVICE: f64 = 0.7;
const WORKER: f64 = 0.1;
/// Of the mean: practically unknown.
const MEAN: f64 = 30.0;
/// No clock is better than this.
const LEAST_NOISE: f64 = 0.003;

/// What was measured of jobs with one profile on one worker: their number, and the sums of y and y².
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    jobs: f64,
    sum: f64,
    squares: f64,
}

impl Cell {
    pub(super) fn add(&mut self, y: f64) {
        (self.jobs, self.sum, self.squares) = (self.jobs + 1.0, self.sum + y, self.squares + y * y);
    }

    pub(super) fn jobs(&self) -> f64 {
        self.jobs
    }
}

/// Effects that have one τ.
#[derive(Debug, Clone)]
struct Group {
    columns: Range<usize>,
    prior: f64,
}

/// Which effect has which column. Column 0 is the mean.
#[derive(Debug, Clone, Default)]
struct Columns {
    classes: BTreeMap<u32, usize>,
    levels: BTreeMap<(usize, u8), usize>,
    devices: BTreeMap<u32, usize>,
    workers: BTreeMap<u32, usize>,
    groups: Vec<Group>,
    count: usize,
}

impl Columns {
    fn of(profiles: &Profiles, staff: &Staff) -> Self {
        let mut columns =
            Self { groups: vec![Group { columns: 0..1, prior: MEAN }], count: 1, ..Self::default() };
        let (workers, devices) = staff.counts();
        let (workers, devices) = (0..workers as u32, 0..devices as u32);
        if devices.len() > 1 {
            columns.devices = columns.group(DEVICE, devices);
        }
        if (2..=MOST_WORKERS).contains(&workers.len()) {
            columns.workers = columns.group(WORKER, workers);
        }
        let classes = profiles.classes();
        if classes.len() > 1 {
            columns.classes = columns.group(CLASS, classes.into_iter());
        }
        for (place, levels) in profiles.differing() {
            let levels = columns.group(SETTING, levels.into_iter().map(|level| (place, level)));
            columns.levels.extend(levels);
        }
        columns
    }

    /// New columns for these effects, if there is room for them.
    fn group<K: Ord>(&mut self, prior: f64, effects: impl ExactSizeIterator<Item = K>) -> BTreeMap<K, usize> {
        let first = self.count;
        if first + effects.len() > MOST_COLUMNS {
            return BTreeMap::new();
        }
        self.count += effects.len();
        self.groups.push(Group { columns: first..self.count, prior });
        effects.zip(first..).collect()
    }

    /// The columns in which the row of a job has a one because of its settings. All others are zero.
    fn profile_row(&self, profile: &Profile) -> Vec<usize> {
        let mut row = vec![0];
        row.extend(self.classes.get(&profile.class));
        row.extend(profile.levels().filter_map(|level| self.levels.get(&level)));
        row
    }

    /// Those because of its worker.
    fn seat_row(&self, seat: Seat) -> Vec<usize> {
        let device = seat.device.and_then(|device| self.devices.get(&device));
        let worker = seat.worker.and_then(|worker| self.workers.get(&worker));
        device.into_iter().chain(worker).copied().collect()
    }
}

/// Sums over all measured jobs.
struct Sums {
    jobs: f64,
    /// Mean of y, which is taken off.
    mean: f64,
    /// Xᵀ·X, row by row; Xᵀ·y; yᵀ·y.
    xx: Vec<f64>,
    xy: Vec<f64>,
    yy: f64,
}

impl Sums {
    fn of(size: usize, cells: &[(Vec<usize>, Cell)]) -> Self {
        let jobs: f64 = cells.iter().map(|(_, cell)| cell.jobs).sum();
        let mean = cells.iter().map(|(_, cell)| cell.sum).sum::<f64>() / jobs;
        let (mut xx, mut xy, mut yy) = (vec![0.0; size * size], vec![0.0; size], 0.0);
        for (row, cell) in cells {
            let sum = cell.sum - cell.jobs * mean;
            yy += cell.squares - mean * (2.0 * cell.sum - cell.jobs * mean);
            for &i in row {
                xy[i] += sum;
                for &j in row {
                    xx[i * size + j] += cell.jobs;
                }
            }
        }
        Self { jobs, mean, xx, xy, yy: yy.max(0.0) }
    }
}

/// What was learned.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    columns: Columns,
    /// The mean of y, and of the effects around it.
    mean: f64,
    effects: Vec<f64>,
    /// Of the inverse of the effects' covariance.
    precision: Cholesky,
    /// σ², and as how many observations it is known.
    noise: f64,
    freedom: f64,
}

impl Fit {
    /// Learns from measured jobs. `None` if there are none.
    pub(super) fn of(
        profiles: &Profiles,
        staff: &Staff,
        cells: impl Iterator<Item = ((u32, Seat), Cell)>,
    ) -> Option<Self> {
        let columns = Columns::of(profiles, staff);
        let row = |((profile, seat), cell)| {
            ([columns.profile_row(profiles.get(profile)), columns.seat_row(seat)].concat(), cell)
        };
        let cells: Vec<(Vec<usize>, Cell)> = cells.map(row).collect();
        if cells.is_empty() {
            return None;
        }
        let size = columns.count;
        let sums = Sums::of(size, &cells);
        let mut noise = NOISE * NOISE;
        let mut spreads: Vec<f64> = columns.groups.iter().map(|group| group.prior * group.prior).collect();
        let solve = |noise: f64, spreads: &[f64]| {
            let mut matrix: Vec<f64> = sums.xx.iter().map(|value| value / noise).collect();
            for (group, spread) in columns.groups.iter().zip(spreads) {
                for column in group.columns.clone() {
                    matrix[column * size + column] += 1.0 / spread;
                }
            }
            let precision = Cholesky::of(&matrix, size);
            let weighted: Vec<f64> = sums.xy.iter().map(|value| value / noise).collect();
            let effects = precision.solve(&weighted);
            (precision, effects)
        };
        for _ in 0..ROUNDS {
            let (precision, effects) = solve(noise, &spreads);
            let covariance = precision.inverse();
            // What is left unexplained, and how much the effects could change it.
            let explained: f64 =
                (0..size).map(|i| dot(&sums.xx[i * size..][..size], &effects) * effects[i]).sum();
            let rest = (sums.yy - 2.0 * dot(&sums.xy, &effects) + explained).max(0.0);
            let doubt = dot(&sums.xx, &covariance);
            noise = (PRIOR_WEIGHT * NOISE * NOISE + rest + doubt) / (PRIOR_WEIGHT + sums.jobs);
            noise = noise.max(LEAST_NOISE * LEAST_NOISE);
            for (group, spread) in columns.groups.iter().zip(&mut spreads).skip(1) {
                let seen = group.columns.clone().filter(|&column| sums.xx[column * size + column] > 0.0);
                let (squares, count) = seen.fold((0.0, 0.0), |(squares, count), column| {
                    let square = effects[column] * effects[column] + covariance[column * size + column];
                    (squares + square, count + 1.0)
                });
                *spread = (PRIOR_WEIGHT * group.prior * group.prior + squares) / (PRIOR_WEIGHT + count);
            }
        }
        let (precision, effects) = solve(noise, &spreads);
        let (mean, freedom) = (sums.mean, PRIOR_WEIGHT + sums.jobs);
        Some(Self { columns, mean, effects, precision, noise, freedom })
    }

    /// The columns of what a profile adds to y.
    pub(super) fn profile_row(&self, profile: &Profile) -> Vec<usize> {
        self.columns.profile_row(profile)
    }

    /// The columns of what a worker adds to y.
    pub(super) fn seat_row(&self, seat: Seat) -> Vec<usize> {
        self.columns.seat_row(seat)
    }

    /// The most likely y of jobs with this profile on this worker.
    pub(super) fn likely(&self, profile: &Profile, seat: Seat) -> f64 {
        let effects = |row: Vec<usize>| row.into_iter().map(|column| self.effects[column]).sum::<f64>();
        self.mean + effects(self.profile_row(profile)) + effects(self.seat_row(seat))
    }

    /// Half the width of the interval around the likely y in which the truth lies nine times in ten.
    pub(super) fn interval(&self, profile: &Profile, seat: Seat) -> f64 {
        let mut row = vec![0.0; self.columns.count];
        for column in self.profile_row(profile).into_iter().chain(self.seat_row(seat)) {
            row[column] += 1.0;
        }
        WIDTH * (self.noise + dot(&row, &self.precision.solve(&row))).sqrt()
    }

    /// Effects and σ as they may be.
    pub(super) fn draw(&self, stream: &mut Stream) -> Drawn {
        // σ² ~ scaled inverse χ², by the cube of a normal (Wilson and Hilferty 1931).
        let third = 2.0 / (9.0 * self.freedom);
        let cube = (1.0 - third + third.sqrt() * stream.normal()).max(0.3).powi(3);
        let noise = self.noise / cube;
        let normal: Vec<f64> = (0..self.columns.count).map(|_| stream.normal()).collect();
        let scale = (noise / self.noise).sqrt();
        let errors = self.precision.backward(&normal);
        let effects = self.effects.iter().zip(errors).map(|(effect, error)| effect + scale * error).collect();
        Drawn { mean: self.mean, effects, noise: noise.sqrt() }
    }
}

/// One possibility.
#[derive(Debug)]
pub(super) struct Drawn {
    /// The mean of y.
    pub(super) mean: f64,
    effects: Vec<f64>,
    /// σ
    pub(super) noise: f64,
}

impl Drawn {
    /// What the effects in these columns add to y.
    pub(super) fn sum(&self, row: &[usize]) -> f64 {
        row.iter().map(|&column| self.effects[column]).sum()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
