//! Workers that a user drains for a while. Pure.

use std::time::Duration;

use shared::rng::{Purpose, Stream};

/// A worker that takes no jobs from one time to another; `now` if it hands back what it trains.
#[derive(Debug, Clone)]
pub struct Drained {
    pub(super) worker: usize,
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) now: bool,
}

/// Which of so many workers are drained, and when, at most so often; all of them work again at the end, when the last fault
/// is over. Where a worker is bad, none may be: good jobs fail while the good workers are drained.
pub(super) fn draw(seed: u64, most: u64, workers: usize, end: Duration) -> Vec<Drained> {
    let mut draw = Stream::new(seed, Purpose::Simulation, &[5]);
    let drained = (0..draw.below(most + 1)).map(|_| {
        let worker = draw.below(workers as u64) as usize;
        let [from, to] = [(); 2].map(|()| end.mul_f64(draw.between(0.0, 1.0)));
        Drained { worker, from: from.min(to), to: from.max(to), now: draw.chance(0.5) }
    });
    drained.collect()
}
