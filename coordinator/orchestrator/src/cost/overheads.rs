//! What a job costs its worker besides its epochs: claiming, fetching, starting, uploading, committing. Learned from the
//! server's times of the books: from the end of the job before on the same worker, or from the claim of its first job,
//! to the end of a job, less its epochs.

use std::collections::{BTreeMap, VecDeque};

use shared::ids::JobId;
use shared::rng::Stream;

/// How many of the newest jobs tell.
const MOST: usize = 128;
/// Until there are so many, these times in seconds are believed in, too.
const ENOUGH: usize = 3;
const BELIEVED: [f64; 3] = [0.2, 0.8, 3.0];
/// A worker that idles longer than this before a claim waited for something else than its next job.
const IDLE: f64 = 5.0;
/// More than so many medians and seconds is not of the job: the worker was away.
const FAR: f64 = 5.0;
/// By so many seconds the clocks of a worker and of the server may differ over a job. One whose epochs took longer than
/// fits in went on from another job, and had them from there.
const CLOCKS: f64 = 1.0;

#[derive(Debug, Clone, Default)]
pub(super) struct Overheads {
    /// When each worker last finished a job, in server time.
    finished: BTreeMap<u32, i128>,
    /// When jobs were claimed by their first worker.
    claimed: BTreeMap<JobId, i128>,
    /// Seconds from one end to the next, of jobs whose epochs are not known yet.
    spans: BTreeMap<JobId, f64>,
    seconds: VecDeque<f32>,
}

impl Overheads {
    /// A job was claimed for the first time.
    pub(super) fn claimed(&mut self, job: JobId, nanos: i128) {
        self.claimed.insert(job, nanos);
    }

    /// A job that no other attempt had before was done on `worker`; `trained` are the seconds of its epochs, if known.
    pub(super) fn finished(&mut self, job: JobId, worker: u32, nanos: i128, trained: Option<f64>) {
        let (claimed, before) = (self.claimed.remove(&job), self.finished.insert(worker, nanos));
        let since = |start: i128| (nanos - start) as f64 / 1e9;
        let span = match (claimed.map(since), before.map(since)) {
            (Some(claim), Some(before)) => before.min(claim + IDLE),
            (Some(span), None) | (None, Some(span)) => span,
            (None, None) => return,
        };
        match trained {
            _ if span < 0.0 => {}
            Some(trained) => self.add(span - trained),
            None => drop(self.spans.insert(job, span)),
        }
    }

    /// A worker has done a job of which nothing else is known.
    pub(super) fn free(&mut self, worker: u32, nanos: i128) {
        self.finished.insert(worker, nanos);
    }

    /// A job ended without a clean span, because it was lost or trained again.
    pub(super) fn forget(&mut self, job: JobId) {
        self.claimed.remove(&job);
        self.spans.remove(&job);
    }

    /// The epochs of a job took so many seconds.
    pub(super) fn trained(&mut self, job: JobId, seconds: f64) {
        if let Some(span) = self.spans.remove(&job) {
            self.add(span - seconds);
        }
    }

    fn add(&mut self, seconds: f64) {
        if !seconds.is_finite() || seconds < -CLOCKS {
            return;
        }
        if self.seconds.len() == MOST {
            self.seconds.pop_front();
        }
        self.seconds.push_back(seconds.max(0.0) as f32);
    }

    pub(super) fn are_known(&self) -> bool {
        !self.seconds.is_empty()
    }

    /// What was measured, or is believed until then.
    pub(super) fn measured(&self) -> Vec<f64> {
        let mut measured: Vec<f64> = self.seconds.iter().copied().map(f64::from).collect();
        if measured.len() < ENOUGH {
            measured.extend(BELIEVED);
            return measured;
        }
        measured.sort_unstable_by(f64::total_cmp);
        let median = measured[measured.len() / 2];
        measured.retain(|&seconds| seconds <= FAR * (median + 1.0));
        measured
    }
}

/// Overheads as they may be.
#[derive(Debug)]
pub(super) struct Drawn<'a> {
    measured: &'a [f64],
    factor: f64,
}

impl<'a> Drawn<'a> {
    /// With few measured ones, their mean is uncertain.
    pub(super) fn of(measured: &'a [f64], stream: &mut Stream) -> Self {
        let doubt = 0.5 / (measured.len() as f64).sqrt();
        Self { measured, factor: (doubt * stream.normal()).exp() }
    }

    /// Of one job, in seconds.
    pub(super) fn seconds(&self, stream: &mut Stream) -> f64 {
        let index = stream.below(self.measured.len() as u64) as usize;
        self.factor * self.measured.get(index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> JobId {
        JobId::new(Uuid::from_u128(n))
    }

    #[test]
    fn the_time_between_two_ends_less_the_epochs_is_overhead() {
        let (mut overheads, second) = (Overheads::default(), 1_000_000_000);
        overheads.claimed(id(1), 100 * second);
        overheads.finished(id(1), 0, 112 * second, None);
        overheads.trained(id(1), 10.0);
        overheads.finished(id(2), 0, 125 * second, Some(12.0));
        // The next job was claimed before this one had ended: the worker had both.
        overheads.claimed(id(3), 120 * second);
        overheads.finished(id(3), 0, 130 * second, Some(4.0));
        // It was without work for an hour.
        overheads.claimed(id(4), 3730 * second);
        overheads.finished(id(4), 0, 3741 * second, Some(10.0));
        assert_eq!(overheads.seconds, [2.0, 1.0, 1.0, 6.0]);
    }

    #[test]
    fn times_of_an_absent_worker_are_left_out() {
        let mut overheads = Overheads::default();
        assert_eq!(overheads.measured(), BELIEVED);
        for seconds in [1.0, 2.0, 1.5, 3600.0] {
            overheads.add(seconds);
        }
        assert_eq!(overheads.measured(), [1.0, 1.5, 2.0]);
    }
}
